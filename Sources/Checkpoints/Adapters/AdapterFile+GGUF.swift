import Serialization

/// Adapters as llama.cpp applies them to an untouched base: GGUF files of `general.type` "adapter".
extension AdapterFile {
    private static let alphaKey = "adapter.lora.alpha"

    /// Writes the adapter for `base`. llama.cpp scales every module by alpha/rank, and B's rows of q and k follow the base's order there.
    /// - Parameter type: F32, F16 or BF16.
    /// - Throws: `.unsupported` for DoRA and saved heads, which llama.cpp's adapters cannot hold: merge these.
    public func saveGGUF(base: ModelConfig, type: ElementType, to target: String) throws(CheckpointError) {
        if config.isDoRA || !replaced.isEmpty {
            throw .unsupported(
                file: folder, line: 0, key: config.isDoRA ? "use_dora" : "modules_to_save", found: config.isDoRA ? "true" : replaced.keys.sorted().joined(separator: ", "),
                supported: ["plain and rank-stabilised LoRA; merge this adapter, then convert the model"])
        }
        // One alpha for all: another module's share goes into its B.
        let alpha = modules.first.map { $0.scale * Double($0.rank) } ?? config.alpha
        var tensors: [GGUFTensor] = []
        for module in modules {
            guard let stored = GGUFLlama.storedName(module.name + ".weight") else {
                throw .unsupported(file: file.path, line: 0, key: "adapted module", found: module.name, supported: ["linear layers of a dense llama"])
            }
            let factor = alpha == 0 ? 0 : Float(module.scale * Double(module.rank) / alpha)
            var b = try b(module)
            if factor != 1 { b = b.map { $0 * factor } }
            if let heads = GGUFLlama.interleavedHeads(module.name, base) { b = GGUFLlama.interleaved(b, rows: module.outputs, heads: heads) }
            tensors.append(.values(try a(module), name: stored + ".lora_a", shape: [module.rank, module.inputs], type: type))
            tensors.append(.values(b, name: stored + ".lora_b", shape: [module.outputs, module.rank], type: type))
        }
        let metadata: [(String, GGUFValue)] = [
            ("general.architecture", .string("llama")), ("general.type", .string("adapter")), ("general.name", .string(Files.name(of: folder))),
            ("adapter.type", .string("lora")), (Self.alphaKey, .float(alpha)),
        ]
        try GGUFWriter.write(target, metadata: metadata, tensors: tensors)
    }

    /// Whether a file is an adapter's.
    public static func isGGUF(_ file: GGUFFile) -> Bool { file.metadata["general.type"]?.string == "adapter" }

    /// Turns a GGUF adapter into a folder in PEFT's layout.
    /// - Throws: `.unsupported`, `.missingTensor`, `.shapeMismatch` for a file that is no adapter of `base`.
    public static func saveFolder(_ file: GGUFFile, base: Checkpoint, dtype: WeightType, to directory: String) throws(CheckpointError) {
        guard isGGUF(file), file.metadata["adapter.type"]?.string == "lora", let alpha = file.metadata[alphaKey]?.double else {
            throw .unsupported(file: file.path, line: 0, key: "adapter.type", found: file.metadata["adapter.type"]?.string ?? "absent", supported: ["lora"])
        }
        var tensors: [TensorSource] = [], ranks: [String: Int] = [:]
        for name in file.names where name.hasSuffix(".lora_a") {
            let stored = String(name.dropLast(".lora_a".count)), other = stored + ".lora_b"
            guard let weight = GGUFLlama.name(stored), let shape = base.tensors[weight]?.shape, shape.count == 2 else {
                throw .unsupported(file: file.path, line: 0, key: "adapted tensor", found: stored, supported: ["linear layers of the base"])
            }
            guard let a = file.info(name), let b = file.info(other) else { throw .missingTensor(file: file.path, tensor: other, shape: shape) }
            guard a.shape.count == 2, b.shape == [shape[0], a.shape[0]], a.shape[1] == shape[1] else {
                throw .shapeMismatch(file: file.path, tensor: name, expected: [a.shape.first ?? 0, shape[1]], found: a.shape)
            }
            let module = String(weight.dropLast(".weight".count))
            ranks[module] = a.shape[0]
            tensors.append(TensorSource(name: prefix + module + ".lora_A.weight", shape: a.shape, whole: try file.floats(name)))
            var values = try file.floats(other)
            if let heads = GGUFLlama.interleavedHeads(weight, base.config) { values = GGUFLlama.plain(values, rows: shape[0], heads: heads) }
            tensors.append(TensorSource(name: prefix + module + ".lora_B.weight", shape: b.shape, whole: values))
        }
        guard let rank = ranks.values.max() else { throw .missingTensor(file: file.path, tensor: "*.lora_a", shape: []) }
        // llama.cpp takes alpha 0 for a scale of 1.
        var config = AdapterConfig(rank: rank, alpha: alpha == 0 ? Double(rank) : alpha, targets: .modules(ranks.keys.sorted()))
        for (module, own) in ranks where own != rank {
            config.rankPattern[module.replacing(".", with: "\\.")] = own
            if alpha == 0 { config.alphaPattern[module.replacing(".", with: "\\.")] = Double(own) }
        }
        try save(config, base: base, tensors: tensors, dtype: dtype, to: directory)
    }
}

extension GGUFTensor {
    /// A tensor that is in memory.
    static func values(_ values: [Float], name: String, shape: [Int], type: ElementType) -> GGUFTensor {
        GGUFTensor(name: name, shape: shape, type: type) { (range, buffer) throws(CheckpointError) in _ = buffer.update(fromContentsOf: values[range]) }
    }
}

extension TensorSource {
    /// A tensor that is in memory.
    init(name: String, shape: [Int], whole values: [Float]) {
        self.init(name: name, shape: shape) { (range, buffer) throws(CheckpointError) in _ = buffer.update(fromContentsOf: values[range]) }
    }
}

extension GGUFFile {
    /// A tensor's values in the file's order.
    func floats(_ name: String) throws(CheckpointError) -> [Float] {
        guard let info = info(name) else { throw .missingTensor(file: path, tensor: name, shape: []) }
        var values = [Float](repeating: 0, count: info.count)
        var fault: CheckpointError?
        values.withUnsafeMutableBufferPointer { buffer in
            do throws(CheckpointError) { try read(name, into: buffer) } catch { fault = error }
        }
        if let fault { throw fault }
        return values
    }
}
