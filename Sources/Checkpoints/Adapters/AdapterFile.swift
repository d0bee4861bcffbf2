import Glibc
import Serialization

/// A low-rank adapter in PEFT's layout: a folder with `adapter_config.json` and `adapter_model.safetensors`.
public struct AdapterFile: Sendable {
    /// One adapted linear layer.
    public struct Module: Sendable, Equatable {
        /// As the base's weight is named, without `.weight`: `model.layers.0.self_attn.q_proj`.
        public var name: String
        public var rank: Int
        /// s of s·B·A.
        public var scale: Double
        public var inputs: Int, outputs: Int
        public var hasMagnitude: Bool
    }

    public static let configName = "adapter_config.json", weightsName = "adapter_model.safetensors"
    /// What PEFT puts before the base's names.
    public static let prefix = "base_model.model."
    /// Where the weights' file names the base's content.
    static let hashKey = "base_content_hash"

    public let folder: String
    public let config: AdapterConfig
    /// In the order of their names.
    public let modules: [Module]
    /// Tensors of the base that the adapter replaces whole, by the base's names.
    public let replaced: [String: TensorInfo]
    public let file: SafetensorsFile
    /// In the file: the tensor of DoRA's magnitude, by module.
    private let magnitudes: [String: String]
    /// Content hash of the base it was trained on; PEFT's own files have none.
    public var baseHash: String? { file.metadata[Self.hashKey] }

    /// Whether `path` is an adapter's folder.
    public static func exists(at path: String) -> Bool {
        Files.exists(Files.join(path, configName)) && !Files.exists(Files.join(path, "config.json"))
    }

    /// - Throws: `.unsupported` for other kinds of adapters; `.shapeMismatch`, `.missingTensor`, `.malformed` for tensors that make no adapter.
    public init(folder: String) throws(CheckpointError) {
        let configPath = Files.join(folder, Self.configName)
        let text = try InputFile.contents(configPath, limit: 16 << 20)
        guard let object = try Files.parse(text, configPath).object else {
            throw .invalidValue(file: configPath, line: 1, key: "config", found: "another JSON value", expected: "an object")
        }
        self.folder = folder
        config = try AdapterConfig(ConfigValues(object: object, file: configPath, text: text))
        let file = try SafetensorsFile(path: Files.join(folder, Self.weightsName))
        self.file = file
        var modules: [Module] = [], replaced: [String: TensorInfo] = [:], magnitudes: [String: String] = [:], factors = Set<String>()
        for name in file.names.sorted() {
            guard name.hasPrefix(Self.prefix), let info = file.info(name) else {
                throw .unsupported(file: file.path, line: 0, key: "tensor", found: String(name.prefix(200)), supported: ["names that begin with \(Self.prefix)"])
            }
            guard Checkpoint.weightTypes.contains(info.dtype) else {
                throw .unsupported(file: file.path, line: 0, key: "dtype of '\(name)'", found: info.dtype, supported: Checkpoint.weightTypes)
            }
            let own = String(name.dropFirst(Self.prefix.count))
            if own.hasSuffix(".lora_A.weight") {
                let module = String(own.dropLast(".lora_A.weight".count)), other = Self.prefix + module + ".lora_B.weight"
                guard let b = file.info(other) else { throw .missingTensor(file: file.path, tensor: other, shape: []) }
                guard info.shape.count == 2, b.shape.count == 2, info.shape[0] >= 1, info.shape[0] <= AdapterConfig.rankLimit, b.shape[1] == info.shape[0] else {
                    throw .shapeMismatch(file: file.path, tensor: other, expected: [b.shape.first ?? 0, info.shape.first ?? 0], found: b.shape)
                }
                let rank = info.shape[0]
                guard try rank == config.rank(of: module) else {
                    throw .shapeMismatch(file: file.path, tensor: name, expected: [try config.rank(of: module), info.shape[1]], found: info.shape)
                }
                let magnitude = [".lora_magnitude_vector", ".lora_magnitude_vector.weight"].lazy.map { Self.prefix + module + $0 }.first { file.info($0) != nil }
                if config.isDoRA {
                    guard let magnitude, let m = file.info(magnitude) else {
                        throw .missingTensor(file: file.path, tensor: Self.prefix + module + ".lora_magnitude_vector", shape: [b.shape[0]])
                    }
                    guard m.count == b.shape[0] else { throw .shapeMismatch(file: file.path, tensor: magnitude, expected: [b.shape[0]], found: m.shape) }
                    magnitudes[module] = magnitude
                }
                factors.formUnion([name, other] + (magnitude.map { [$0] } ?? []))
                modules.append(Module(
                    name: module, rank: rank, scale: try config.scale(of: module, rank: rank), inputs: info.shape[1], outputs: b.shape[0],
                    hasMagnitude: config.isDoRA))
            }
        }
        for name in file.names where !factors.contains(name) {
            let own = String(name.dropFirst(Self.prefix.count))
            guard !own.contains(".lora_"), !own.contains("lora_embedding") else {
                throw .unsupported(file: file.path, line: 0, key: "tensor", found: String(name.prefix(200)), supported: ["lora_A and lora_B of linear layers, lora_magnitude_vector with use_dora"])
            }
            replaced[own] = file.info(name).map { TensorInfo(name: own, shape: $0.shape, dtype: $0.dtype) }
        }
        (self.modules, self.replaced, self.magnitudes) = (modules, replaced, magnitudes)
    }

    public func module(_ name: String) -> Module? { modules.first { $0.name == name } }

    /// A, `[rank, inputs]`.
    public func a(_ module: Module) throws(CheckpointError) -> [Float] { try file.floats(Self.prefix + module.name + ".lora_A.weight") }
    /// B, `[outputs, rank]`.
    public func b(_ module: Module) throws(CheckpointError) -> [Float] { try file.floats(Self.prefix + module.name + ".lora_B.weight") }
    /// m, `[outputs]`; nil without DoRA.
    public func magnitude(_ module: Module) throws(CheckpointError) -> [Float]? {
        guard let name = magnitudes[module.name] else { return nil }
        return try file.floats(name)
    }

    /// Reads a tensor that the adapter brings whole, by the base's name.
    /// - Throws: `.missingTensor`, `.shapeMismatch`.
    public func readReplaced(_ name: String, shape: [Int], into destination: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        guard let info = replaced[name] else { throw .missingTensor(file: file.path, tensor: Self.prefix + name, shape: shape) }
        guard info.shape == shape else { throw .shapeMismatch(file: file.path, tensor: Self.prefix + name, expected: shape, found: info.shape) }
        try file.read(Self.prefix + name, into: destination)
    }

    /// The base's config with the score head that the adapter brings, if it brings one.
    func completed(_ base: ModelConfig) -> ModelConfig {
        guard let score = replaced["score.weight"]?.shape.first else { return base }
        return base.scoring(outputs: score, gradingOutputs: replaced["grading.weight"]?.shape.first ?? 0)
    }

    /// Checks that every module is a linear layer of `config`, in its shape.
    func check(against config: ModelConfig) throws(CheckpointError) {
        let required = Dictionary(config.requiredTensors().map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
        for module in modules {
            guard let shape = required[module.name + ".weight"], module.name.hasPrefix("model.layers.") else {
                throw .unsupported(
                    file: file.path, line: 0, key: "adapted module", found: String(module.name.prefix(200)),
                    supported: ["linear layers of the base's blocks: \(AdapterConfig.linearNames.joined(separator: ", "))"])
            }
            guard shape == [module.outputs, module.inputs] else {
                throw .shapeMismatch(file: file.path, tensor: module.name, expected: shape, found: [module.outputs, module.inputs])
            }
        }
        for name in replaced.keys.sorted() {
            guard let found = replaced[name]?.shape else { continue }
            guard let shape = required[name] else { throw .unsupported(file: file.path, line: 0, key: "saved module", found: String(name.prefix(200)), supported: ["tensors of the base"]) }
            guard shape == found else { throw .shapeMismatch(file: file.path, tensor: name, expected: shape, found: found) }
        }
    }

    /// The config whose targets are the modules that are here: the file's own words where they say the same.
    public func config(for model: ModelConfig) throws(CheckpointError) -> AdapterConfig {
        var adapted: [String] = []
        for (name, _) in model.requiredTensors() where name.hasPrefix("model.layers.") && name.hasSuffix("_proj.weight") {
            let module = String(name.dropLast(".weight".count))
            if try config.adapts(module) { adapted.append(module) }
        }
        var config = config
        if adapted.sorted() != modules.map(\.name) { config.targets = .modules(modules.map(\.name)) }
        return config
    }

    /// The base's path: as the config names it, or beside the adapter.
    public func basePath() throws(CheckpointError) -> String {
        let configPath = Files.join(folder, Self.configName)
        guard let base = config.base, !base.isEmpty else {
            throw .invalidValue(file: configPath, line: 0, key: "base_model_name_or_path", found: "absent", expected: "the path of the adapter's base")
        }
        let candidates = base.hasPrefix("/") ? [base] : [Files.join(folder, base), base]
        guard let found = candidates.first(where: { access($0, R_OK) == 0 }) else {
            throw .invalidValue(
                file: configPath, line: 0, key: "base_model_name_or_path", found: base, expected: "the path of a checkpoint that is there; put the base there, or correct the path")
        }
        return found
    }

    /// Turns a weight of the base into the merged one, in place; others are left alone.
    /// - Parameter weight: `[outputs, inputs]`, row-major.
    func merge(_ name: String, into weight: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        guard name.hasSuffix(".weight"), let module = module(String(name.dropLast(".weight".count))), let base = weight.baseAddress else { return }
        precondition(weight.count == module.outputs * module.inputs, "\(weight.count) floats for [\(module.outputs), \(module.inputs)]")
        let (a, b, magnitude) = (try a(module), try b(module), try magnitude(module))
        let (n, rank, scale) = (module.inputs, module.rank, Float(module.scale))
        a.withUnsafeBufferPointer { a in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: n) { delta in
                for row in 0..<module.outputs {
                    let own = base + row * n
                    delta.update(repeating: 0)
                    for j in 0..<rank {
                        let (factor, source) = (b[row * rank + j], a.baseAddress! + j * n)
                        for i in 0..<n { delta[i] += factor * source[i] }
                    }
                    for i in 0..<n { own[i] += scale * delta[i] }
                    guard let magnitude else { continue }
                    var squares = 0.0
                    for i in 0..<n { squares += Double(own[i]) * Double(own[i]) }
                    let factor = Float(Double(magnitude[row]) / squares.squareRoot())
                    for i in 0..<n { own[i] *= factor }
                }
            }
        }
    }

    /// Writes an adapter's folder.
    /// - Parameters:
    ///   - base: The model it belongs to: named by its absolute path and its content hash.
    ///   - tensors: By PEFT's names. Those without a rank are heads, which PEFT calls `modules_to_save`.
    /// - Throws: As `CheckpointWriter.save`.
    public static func save(
        _ config: AdapterConfig, base: Checkpoint, tensors: [TensorSource], dtype: WeightType, replaces: Bool = false, to directory: String
    ) throws(CheckpointError) {
        var config = config
        config.base = Files.absolute(base.path)
        config.savedModules = tensors.filter { !$0.name.contains(".lora_") }.map { String($0.name.dropFirst(prefix.count).prefix { $0 != "." }) }.sorted()
        let folder = try AtomicFolder(directory, replaces: replaces)
        try folder.write(configName, config.json(scoresSequences: base.config.scoresSequences || config.savedModules.contains("score")))
        try SafetensorsWriter.write(
            tensors.sorted { $0.name < $1.name }, dtype: dtype, metadata: ["format": "pt", hashKey: try base.contentHash()], to: folder, name: weightsName)
        try folder.commit()
    }
}
