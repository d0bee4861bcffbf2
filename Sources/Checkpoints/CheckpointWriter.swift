import Serialization
import Tokenizers

/// Saves models in the Hugging Face layout, which transformers loads.
public struct CheckpointWriter {
    /// What is saved beside the weights.
    public struct Model: Sendable {
        public var config: ModelConfig
        public var tokenizer: Tokenizer?
        public var chatTemplate: ChatTemplate?
        /// `nil` writes one with the config's special tokens.
        public var generationConfig: JSON?
        /// In place of the tokenizer's own.
        public var paddingToken: String?

        public init(config: ModelConfig, tokenizer: Tokenizer? = nil, chatTemplate: ChatTemplate? = nil, generationConfig: JSON? = nil) {
            self.config = config
            self.tokenizer = tokenizer
            self.chatTemplate = chatTemplate
            self.generationConfig = generationConfig
        }

        /// All but the weights of a checkpoint.
        public init(_ checkpoint: Checkpoint) {
            self.init(
                config: checkpoint.config, tokenizer: checkpoint.tokenizer, chatTemplate: checkpoint.chatTemplate,
                generationConfig: checkpoint.generationConfig)
        }
    }

    /// Writes `config.json`, `model.safetensors` (shards with an index above `shardBytes`), `generation_config.json`, the tokenizer's files,
    /// `chat_template.jinja`, `extraFiles` and `manifest.json`, through an `AtomicFolder`. Weights pass through a buffer of a few MB.
    /// - Parameters:
    ///   - tensors: Those the config implies, in any order; others are written too. Stored in the order of names.
    ///   - dtype: The type of all tensors.
    ///   - extraFiles: Plain file names → contents.
    ///   - replaces: Whether a checkpoint that is there may be replaced.
    /// - Throws: `.missingTensor` or `.shapeMismatch` against the config before anything is written; `.alreadyExists`, `.system`,
    ///   `.notRepresentable`, after which nothing is left of the attempt.
    public static func save(
        _ model: Model, tensors: [TensorSource], dtype: WeightType, extraFiles: [String: [UInt8]] = [:], replaces: Bool = false,
        shardBytes: Int = 5_000_000_000, to directory: String
    ) throws(CheckpointError) {
        let given = Dictionary(tensors.map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
        for (name, shape) in model.config.requiredTensors() {
            guard let found = given[name] else { throw .missingTensor(file: directory, tensor: name, shape: shape) }
            guard found == shape else { throw .shapeMismatch(file: directory, tensor: name, expected: shape, found: found) }
        }
        let folder = try AtomicFolder(directory, replaces: replaces)
        try folder.write("config.json", model.config.json(dtype: dtype.rawValue))
        try folder.write("generation_config.json", model.generationConfig ?? generationConfig(model.config))
        if let tokenizer = model.tokenizer {
            try folder.write("tokenizer.json", tokenizer.json())
            var config = tokenizer.configJSON(chatTemplate: model.chatTemplate?.source)
            if let padding = model.paddingToken, var object = config.object {
                object["pad_token"] = .string(padding)
                config = .object(object)
            }
            try folder.write("tokenizer_config.json", config)
        }
        if let template = model.chatTemplate { try folder.write("chat_template.jinja", Array(template.source.utf8)) }
        for name in extraFiles.keys.sorted() { try folder.write(name, extraFiles[name] ?? []) }
        try write(tensors.sorted { $0.name < $1.name }, dtype: dtype, shardBytes: shardBytes, to: folder)
        try folder.commit()
    }

    private static func generationConfig(_ config: ModelConfig) -> JSON {
        var object = JSONObject([("_from_model_config", true)])
        if let id = config.bosID { object["bos_token_id"] = .integer(id) }
        if !config.eosIDs.isEmpty { object["eos_token_id"] = config.eosIDs.count == 1 ? .integer(config.eosIDs[0]) : .array(config.eosIDs.map { .integer($0) }) }
        if let id = config.padID { object["pad_token_id"] = .integer(id) }
        return .object(object)
    }

    /// One file, or consecutive shards of at most `shardBytes` (a larger tensor has its own) and their index.
    private static func write(_ tensors: [TensorSource], dtype: WeightType, shardBytes: Int, to folder: AtomicFolder) throws(CheckpointError) {
        var shards: [[TensorSource]] = [[]], filled = 0, total = 0
        for tensor in tensors {
            let bytes = tensor.count * dtype.bytes
            if filled + bytes > shardBytes && filled > 0 {
                shards.append([])
                filled = 0
            }
            shards[shards.count - 1].append(tensor)
            filled += bytes
            total += bytes
        }
        guard shards.count > 1 else { return try SafetensorsWriter.write(shards[0], dtype: dtype, to: folder, name: "model.safetensors") }
        func padded(_ number: Int) -> String { String(repeating: "0", count: max(0, 5 - "\(number)".count)) + "\(number)" }
        var map = JSONObject()
        for (index, shard) in shards.enumerated() {
            let name = "model-\(padded(index + 1))-of-\(padded(shards.count)).safetensors"
            try SafetensorsWriter.write(shard, dtype: dtype, to: folder, name: name)
            for tensor in shard { map[tensor.name] = .string(name) }
        }
        try folder.write("model.safetensors.index.json", ["metadata": ["total_size": .integer(total)], "weight_map": .object(map)])
    }
}
