import Glibc
import Serialization
import Tokenizers

/// A model on disk: architecture, tokenizer, and weights that are read on demand under their Hugging Face names.
///
/// A folder in the Hugging Face layout (one safetensors file, or shards with an index), a single `.safetensors` file with its `config.json`
/// beside it, a `.gguf` file, or a folder holding one. Opening checks that every tensor the config implies is there with its shape.
public final class Checkpoint: Sendable {
    /// As given to `open`.
    public let path: String
    public let config: ModelConfig
    /// Tokenizer and chat template.
    public let text: CheckpointText
    /// `generation_config.json`, an object.
    public let generationConfig: JSON?
    /// By Hugging Face name; `dtype` is the stored type.
    public let tensors: [String: TensorInfo]
    let weights: Weights
    /// Of an adapter's folder: the model it belongs to, and what `read` adds to that model's weights. Both nil for a model of its own.
    public let base: Checkpoint?
    public let adapter: AdapterFile?

    enum Weights: Sendable {
        /// `place[name]` is the index of the file that holds the tensor.
        case safetensors([SafetensorsFile], place: [String: Int])
        /// `names[name]` is the name in the file.
        case gguf(GGUFFile, names: [String: String])

        var files: [InputFile] {
            switch self {
            case let .safetensors(files, _): files.map(\.file)
            case let .gguf(file, _): [file.file]
            }
        }
    }

    static let expected = "a folder with config.json and safetensors weights, a .safetensors file beside its config.json, or a .gguf file"
    static let weightTypes = ["F64", "F32", "F16", "BF16"]

    /// Opens a checkpoint; weights are not read yet.
    /// - Throws: Any `CheckpointError` of a file that is missing, damaged, inconsistent or of a kind not read.
    public static func open(_ path: String) throws(CheckpointError) -> Checkpoint { try open(path, adapters: 0) }

    /// - Parameter adapters: On the way to this base.
    private static func open(_ path: String, adapters: Int) throws(CheckpointError) -> Checkpoint {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .system(file: path, operation: "open", code: errno) }
        if status.st_mode & S_IFMT == S_IFDIR {
            let names = try Files.names(in: path)
            if names.contains("config.json") { return try Checkpoint(folder: path, names: names) }
            if names.contains(AdapterFile.configName) { return try adapted(AdapterFile(folder: path), adapters: adapters + 1) }
            let ggufs = names.filter { $0.hasSuffix(".gguf") }
            guard ggufs.count == 1 else {
                throw .notACheckpoint(path: path, found: "a folder with \(ggufs.count) .gguf files and no config.json", expected: expected)
            }
            return try Checkpoint(path: path, gguf: Files.join(path, ggufs[0]))
        }
        if path.hasSuffix(".safetensors") {
            let folder = Files.parent(of: path)
            return try Checkpoint(folder: folder, names: try Files.names(in: folder), weights: path)
        }
        if path.hasSuffix(".gguf") { return try Checkpoint(path: path, gguf: path) }
        let magic = try InputFile(path).bytes(at: 0, count: 4, field: "the magic number")
        guard magic == Array("GGUF".utf8) else { throw .notACheckpoint(path: path, found: "a file of another kind", expected: expected) }
        return try Checkpoint(path: path, gguf: path)
    }

    /// A folder in the Hugging Face layout, or one weights file in it.
    private init(folder: String, names: [String], weights: String? = nil) throws(CheckpointError) {
        path = weights ?? folder
        (base, adapter) = (nil, nil)
        let configPath = Files.join(folder, "config.json")
        let configText = try InputFile.contents(configPath, limit: 16 << 20)
        guard let object = try Files.parse(configText, configPath).object else {
            throw .invalidValue(file: configPath, line: 1, key: "config", found: "another JSON value", expected: "an object")
        }
        config = try ModelConfig(ConfigValues(object: object, file: configPath, text: configText))
        let opened = try Self.safetensors(folder: folder, names: names, single: weights)
        self.weights = opened
        tensors = try Self.checked(opened, config: config, path: weights ?? folder)

        if names.contains("generation_config.json") {
            let path = Files.join(folder, "generation_config.json")
            let json = try Files.parse(try InputFile.contents(path, limit: 256 << 20), path)
            generationConfig = json.object == nil ? nil : json
        } else {
            generationConfig = nil
        }
        text = try CheckpointText(folder: folder, names: names, path: path)
    }

    private init(path: String, gguf: String) throws(CheckpointError) {
        self.path = path
        (base, adapter) = (nil, nil)
        let file = try GGUFFile(path: gguf)
        let llama = try GGUFLlama(file)
        config = llama.config
        weights = .gguf(file, names: llama.names)
        tensors = try Self.checked(weights, config: config, path: gguf)
        generationConfig = nil
        text = try CheckpointText(gguf: file, path: path)
    }

    /// Adapters that may lie on each other: more are a circle of paths.
    private static let adapterLimit = 8

    /// An adapter with its base.
    /// - Throws: `.incomplete` for a base of other content than the adapter was trained on.
    private static func adapted(_ adapter: AdapterFile, adapters: Int) throws(CheckpointError) -> Checkpoint {
        let path = try adapter.basePath()
        guard adapters <= adapterLimit else {
            throw .unsupported(file: adapter.folder, line: 0, key: "base_model_name_or_path", found: "an adapter on \(adapters) adapters", supported: ["up to \(adapterLimit)"])
        }
        let base = try open(path, adapters: adapters)
        if let hash = adapter.baseHash, try base.contentHash() != hash {
            throw .incomplete(file: base.path, found: "another content than the adapter \(adapter.folder) was trained on", expected: "content hash \(hash)")
        }
        return try Checkpoint(base: base, adapter: adapter)
    }

    /// The base's weights as the adapter changes them.
    /// - Throws: What of the adapter does not fit the base.
    public init(base: Checkpoint, adapter: AdapterFile) throws(CheckpointError) {
        let config = adapter.completed(base.config)
        try adapter.check(against: config)
        (path, self.config, text, generationConfig) = (adapter.folder, config, base.text, base.generationConfig)
        tensors = base.tensors.merging(adapter.replaced) { _, own in own }
        (weights, self.base, self.adapter) = (base.weights, base, adapter)
    }

    private static func safetensors(folder: String, names: [String], single: String?) throws(CheckpointError) -> Weights {
        let indexPath = Files.join(folder, "model.safetensors.index.json")
        let only = names.filter { $0.hasSuffix(".safetensors") }
        if let single = single ?? (names.contains("model.safetensors") ? Files.join(folder, "model.safetensors") : nil) {
            let file = try SafetensorsFile(path: single)
            return .safetensors([file], place: Dictionary(uniqueKeysWithValues: file.names.map { ($0, 0) }))
        }
        guard names.contains("model.safetensors.index.json") else {
            if only.count == 1 { return try safetensors(folder: folder, names: names, single: Files.join(folder, only[0])) }
            if let pickle = names.first(where: { $0.hasSuffix(".bin") || $0.hasSuffix(".pt") || $0.hasSuffix(".pth") }) {
                throw .unsupported(file: Files.join(folder, pickle), line: 0, key: "weights", found: "a Python pickle", supported: ["safetensors", "GGUF"])
            }
            throw .notACheckpoint(path: folder, found: "config.json without weights", expected: expected)
        }
        let index = try Files.parse(try InputFile.contents(indexPath, limit: 64 << 20), indexPath)
        guard let map = index["weight_map"]?.object else {
            throw .invalidValue(file: indexPath, line: 1, key: "weight_map", found: index["weight_map"]?.kind ?? "absent", expected: "an object of file names")
        }
        var files: [SafetensorsFile] = [], opened: [String: Int] = [:], place: [String: Int] = [:]
        for (tensor, value) in map.members {
            guard let name = value.string, Files.isPlain(name), opened[name] != nil || opened.count < 1000 else {
                throw .invalidValue(
                    file: indexPath, line: 0, key: String(tensor.prefix(200)), found: String(value.text().prefix(80)), expected: "the name of one of at most 1000 files in this folder")
            }
            if opened[name] == nil {
                opened[name] = files.count
                files.append(try SafetensorsFile(path: Files.join(folder, name)))
            }
            let file = opened[name]!
            guard files[file].stored[tensor] != nil else {
                throw .missingTensor(file: files[file].path, tensor: String(tensor.prefix(200)), shape: [])
            }
            place[tensor] = file
        }
        return .safetensors(files, place: place)
    }

    /// The tensors' infos, once those the config implies are known to be there, in their shapes, as floating-point numbers.
    private static func checked(_ weights: Weights, config: ModelConfig, path: String) throws(CheckpointError) -> [String: TensorInfo] {
        var tensors: [String: TensorInfo] = [:]
        switch weights {
        case let .safetensors(files, place):
            for (name, file) in place { tensors[name] = files[file].info(name) }
            if config.scoresSequences { try adoptHead(&tensors, path: path) }
        case let .gguf(file, names):
            for (name, stored) in names {
                guard let info = file.info(stored) else { continue }
                tensors[name] = TensorInfo(name: name, shape: info.shape, dtype: info.dtype)
            }
        }
        for (name, shape) in config.requiredTensors() {
            guard let tensor = tensors[name] else {
                if name == "score.weight", let other = tensors.keys.sorted().first(where: { $0.hasPrefix("v_head.") }) {
                    throw .unsupported(
                        file: path, line: 0, key: "tensor", found: "\(other), TRL's value head, which has a bias", supported: ["score.weight", "value_head.weight"])
                }
                throw .missingTensor(file: path, tensor: name, shape: shape)
            }
            guard tensor.shape == shape else { throw .shapeMismatch(file: path, tensor: name, expected: shape, found: tensor.shape) }
            if case .safetensors = weights, !weightTypes.contains(tensor.dtype) {
                throw .unsupported(file: path, line: 0, key: "dtype of '\(name)'", found: tensor.dtype, supported: weightTypes)
            }
        }
        return tensors
    }

    /// The name of `score.weight` in OpenRLHF's older checkpoints.
    private static let olderHead = "value_head.weight"

    /// Other tools' names for the score head; a head with a bias is not ours to leave out.
    private static func adoptHead(_ tensors: inout [String: TensorInfo], path: String) throws(CheckpointError) {
        if tensors["score.weight"] == nil, let head = tensors[olderHead] {
            tensors["score.weight"] = TensorInfo(name: "score.weight", shape: head.shape, dtype: head.dtype)
            tensors[olderHead] = nil
        }
        if let bias = ["score.bias", "value_head.bias"].first(where: { tensors[$0] != nil }) {
            throw .unsupported(file: path, line: 0, key: "tensor", found: "\(bias)", supported: ["score heads without bias"])
        }
    }

    /// `nil` where the checkpoint has no tokenizer.
    public var tokenizer: Tokenizer? { text.tokenizer }
    public var chatTemplate: ChatTemplate? { text.chatTemplate }
    /// Why a chat template that is there could not be used.
    public var chatTemplateFault: String? { text.chatTemplateFault }

    var files: [InputFile] { (base?.files ?? weights.files) + (adapter.map { [$0.file.file] } ?? []) }

    /// The files that hold the weights, in the order of their paths.
    public var weightFiles: [(path: String, bytes: Int)] {
        files.map { (path: $0.path, bytes: $0.size) }.sorted { $0.path < $1.path }
    }

    /// Reads a tensor as `Float`, row-major in the Hugging Face layout: converts and dequantises, and puts the q and k rows of a GGUF file
    /// back in order. Several threads may read at once; the same bytes give the same floats on every machine.
    /// - Parameter destination: Exactly as many floats as the tensor has elements; overwritten.
    /// - Throws: `.missingTensor` for an unknown name; `.truncated`, `.changed`, `.system` if the file is no longer what was opened.
    public func read(_ name: String, into destination: UnsafeMutableBufferPointer<Float>) throws(CheckpointError) {
        if let base, let adapter {
            if let own = adapter.replaced[name] { return try adapter.readReplaced(name, shape: own.shape, into: destination) }
            try base.read(name, into: destination)
            return try adapter.merge(name, into: destination)
        }
        switch weights {
        case let .safetensors(files, place):
            let stored = name == "score.weight" && place[name] == nil ? Self.olderHead : name
            guard let file = place[stored] else { throw .missingTensor(file: path, tensor: name, shape: []) }
            try files[file].read(stored, into: destination)
        case let .gguf(file, names):
            guard let stored = names[name] else { throw .missingTensor(file: path, tensor: name, shape: []) }
            if name.hasPrefix("model.layers."), name.contains(".self_attn.q_proj.") {
                try file.readPermuted(stored, heads: config.heads, into: destination)
            } else if name.hasPrefix("model.layers."), name.contains(".self_attn.k_proj.") {
                try file.readPermuted(stored, heads: config.keyValueHeads, into: destination)
            } else {
                try file.read(stored, into: destination)
            }
        }
    }
}
