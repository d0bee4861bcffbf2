import Serialization

/// A decoder's architecture, as data: what `config.json` or a GGUF file's metadata say, validated.
///
/// Every size is positive and bounded, `heads` is a multiple of `keyValueHeads`, and `headDimension` is even.
public struct ModelConfig: Sendable, Equatable {
    /// `model_type`: the family, such as `llama`.
    public var modelType: String
    /// The first of `architectures`, such as `LlamaForCausalLM`.
    public var architecture: String
    public var vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layers: Int
    /// Query heads, and the key/value heads they share: query head `h` reads key/value head `h / (heads / keyValueHeads)`.
    public var heads: Int, keyValueHeads: Int
    /// The size of one head; not always `hiddenSize / heads`.
    public var headDimension: Int
    public var maxPositions: Int
    /// ε of RMSNorm.
    public var normEpsilon: Double
    public var activation: Activation
    public var ropeTheta: Double
    public var ropeScaling: RoPEScaling
    /// Per layer: the number of keys a position sees, itself included; `nil` sees all.
    public var slidingWindows: [Int?]
    /// Biases of q, k and v, of the output projection, and of the three MLP projections.
    public var attentionBias: Bool, outputBias: Bool, mlpBias: Bool
    /// Whether the output head is the embedding.
    public var tiesEmbeddings: Bool
    /// The factor of `q·k`.
    public var attentionScale: Double
    /// `c` in `c·tanh(x/c)`, applied to attention scores and to logits.
    public var attentionSoftCap: Double?, finalSoftCap: Double?
    /// The factor of looked-up embeddings.
    public var embeddingScale: Double
    /// Rows of `score.weight`: the labels of a model that scores sequences, 0 for others.
    public var scoreOutputs: Int
    /// Rows of `grading.weight`, which reward models trained with gradings have beside the score (ours; others leave it unread).
    public var gradingOutputs: Int
    public var bosID: Int?, eosIDs: [Int], padID: Int?
    /// `config.json` as it was read, or as it would be written for a GGUF file.
    public var raw: JSON

    public enum Activation: String, Sendable, CaseIterable {
        case silu
        case geluTanh = "gelu_pytorch_tanh"
        case gelu
    }

    static let vocabularyLimit = 10_000_000
    static let widthLimit = 1_000_000
    static let positionLimit = 1 << 30
    static let parameterLimit = 10_000_000_000_000
    static let modelTypes = ["llama", "mistral"]
    static let architectures = [
        "LlamaForCausalLM", "LlamaForSequenceClassification", "MistralForCausalLM", "MistralForSequenceClassification",
    ] + regressionArchitectures
    /// OpenRLHF's names for one output beside the backbone.
    static let regressionArchitectures = ["RewardModel", "CriticModel"]
    static let scoreLimit = 10_000

    /// Reads `config.json` as transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`) write it.
    /// - Parameter file: The name used in errors.
    /// - Throws: `.unsupported` for other families, `.invalidValue` for anything missing, of the wrong kind or out of bounds.
    public init(json: JSON, file: String) throws(CheckpointError) {
        guard let object = json.object else {
            throw .invalidValue(file: file, line: 1, key: "config", found: json.kind, expected: "an object")
        }
        try self.init(ConfigValues(object: object, file: file))
    }

    init(_ values: ConfigValues) throws(CheckpointError) {
        raw = .object(values.object)
        guard let type = try values.text("model_type") else {
            throw values.fault("model_type", "one of \(Self.modelTypes.joined(separator: ", "))")
        }
        guard Self.modelTypes.contains(type) else {
            throw .unsupported(
                file: values.file, line: values.line("model_type"), key: values.name("model_type"), found: type, supported: Self.modelTypes)
        }
        let isMistral = type == "mistral"
        modelType = type
        architecture = try Self.architecture(values, default: isMistral ? "MistralForCausalLM" : "LlamaForCausalLM")
        if values.has("quantization_config") {
            throw .unsupported(
                file: values.file, line: values.line("quantization_config"), key: "quantization_config", found: "present",
                supported: ["unquantised safetensors", "GGUF"])
        }

        // What is missing takes the value transformers gives it, but sizes that decide every shape must be there.
        vocabularySize = try values.integer("vocab_size", in: 1...Self.vocabularyLimit)
        hiddenSize = try values.integer("hidden_size", in: 1...Self.widthLimit)
        intermediateSize = try values.integer("intermediate_size", in: 1...(4 * Self.widthLimit))
        layers = try values.integer("num_hidden_layers", in: 1...1000)
        heads = try values.integer("num_attention_heads", in: 1...65536)
        keyValueHeads = try values.integer("num_key_value_heads", in: 1...65536, default: isMistral ? min(8, heads) : heads)
        guard heads % keyValueHeads == 0 else {
            throw values.fault("num_key_value_heads", "a divisor of num_attention_heads, \(heads)")
        }
        if !values.has("head_dim") && hiddenSize % heads != 0 {
            throw values.fault("head_dim", "a head size, since \(hiddenSize) / \(heads) leaves a remainder")
        }
        headDimension = try values.integer("head_dim", in: 1...65536, default: hiddenSize / heads)
        guard headDimension % 2 == 0, headDimension > 0 else { throw values.fault("head_dim", "an even number, for rotary positions") }
        guard heads * headDimension <= 4 * Self.widthLimit else {
            throw values.fault("head_dim", "at most \(4 * Self.widthLimit) over all \(heads) heads")
        }
        maxPositions = try values.integer("max_position_embeddings", in: 1...Self.positionLimit, default: isMistral ? 131072 : 2048)
        normEpsilon = try values.number("rms_norm_eps", in: 1e-30...1, default: 1e-6)

        let act = try values.text("hidden_act") ?? "silu"
        guard let known = [
            "silu": Activation.silu, "swish": .silu, "gelu": .gelu, "gelu_pytorch_tanh": .geluTanh, "gelu_new": .geluTanh,
        ][act] else {
            throw .unsupported(
                file: values.file, line: values.line("hidden_act"), key: "hidden_act", found: act,
                supported: ["silu", "gelu", "gelu_pytorch_tanh"])
        }
        activation = known

        var rope = try values.nested("rope_parameters")
        if rope == nil { rope = try values.nested("rope_scaling") }
        let thetaRange = 1e-3...1e12
        let outerTheta = try values.optionalNumber("rope_theta", in: thetaRange)
        ropeTheta = try rope?.optionalNumber("rope_theta", in: thetaRange) ?? outerTheta ?? 10000
        if let share = try values.optionalNumber("partial_rotary_factor", in: 0...1), share != 1 {
            throw values.fault("partial_rotary_factor", "1, rotation of whole heads")
        }
        if let rope {
            ropeScaling = try RoPEScaling(rope, pairs: headDimension / 2, maxPositions: maxPositions)
        } else {
            ropeScaling = .none
        }

        // transformers' MistralConfig has a window of 4096 unless the file says otherwise; null means none.
        var window: Int?
        if isMistral {
            window = values.object["sliding_window"] == nil ? 4096 : nil
            if values.has("sliding_window") { window = try values.integer("sliding_window", in: 1...Self.positionLimit) }
        }
        slidingWindows = Array(repeating: window, count: layers)

        attentionBias = isMistral ? false : try values.flag("attention_bias", default: false)
        outputBias = attentionBias
        mlpBias = isMistral ? false : try values.flag("mlp_bias", default: false)
        tiesEmbeddings = try values.flag("tie_word_embeddings", default: false)
        scoreOutputs = try Self.scoreOutputs(values, architecture: architecture)
        gradingOutputs = scoreOutputs == 0 ? 0 : try values.integer("align_grading_outputs", in: 0...Self.scoreLimit, default: 0)
        attentionScale = 1 / Double(headDimension).squareRoot()
        attentionSoftCap = nil
        finalSoftCap = nil
        embeddingScale = 1
        bosID = try values.tokens("bos_token_id", vocabulary: vocabularySize).first
        eosIDs = try values.tokens("eos_token_id", vocabulary: vocabularySize)
        // Padding ids outside the vocabulary (-1, or a token never given a row) are common, and never fed to the model.
        padID = values.object["pad_token_id"]?.int.flatMap { [vocabularySize] id in (0..<vocabularySize).contains(id) ? id : nil }

        guard parameterCount <= Self.parameterLimit else {
            throw values.fault("hidden_size", "sizes of at most \(Self.parameterLimit) parameters together, not \(parameterCount)")
        }
    }

    private static func architecture(_ values: ConfigValues, default fallback: String) throws(CheckpointError) -> String {
        guard values.has("architectures") else { return fallback }
        guard let list = values.object["architectures"]?.array, list.count <= 100 else {
            throw values.fault("architectures", "a list of names")
        }
        guard let first = list.first else { return fallback }
        guard let name = first.string else { throw values.fault("architectures", "a list of names") }
        guard architectures.contains(name) else {
            throw .unsupported(
                file: values.file, line: values.line("architectures"), key: values.name("architectures"), found: name,
                supported: architectures)
        }
        return name
    }

    /// The labels of a model that scores sequences: `num_labels`, or the entries of `id2label`; transformers has two where neither is given.
    private static func scoreOutputs(_ values: ConfigValues, architecture: String) throws(CheckpointError) -> Int {
        guard scoresSequences(architecture) else { return 0 }
        if values.has("normalize_reward"), try values.flag("normalize_reward", default: false) {
            throw .unsupported(
                file: values.file, line: values.line("normalize_reward"), key: "normalize_reward", found: "true", supported: ["scores as the head gives them"])
        }
        if values.has("num_labels") { return try values.integer("num_labels", in: 1...scoreLimit) }
        guard let labels = try values.nested("id2label") else { return regressionArchitectures.contains(architecture) ? 1 : 2 }
        guard (1...scoreLimit).contains(labels.object.count) else { throw values.fault("id2label", "from 1 to \(scoreLimit) labels") }
        return labels.object.count
    }

    /// Whether the head scores sequences (`score.weight`, one row a label) and not tokens.
    public var scoresSequences: Bool { Self.scoresSequences(architecture) }
    private static func scoresSequences(_ architecture: String) -> Bool {
        architecture.hasSuffix("ForSequenceClassification") || regressionArchitectures.contains(architecture)
    }

    /// The heads that are read at single tokens, by the names of their weights `[outputs, hiddenSize]`.
    public var scoreHeads: [(name: String, outputs: Int)] {
        [("score.weight", scoreOutputs), ("grading.weight", gradingOutputs)].filter { $0.1 > 0 }
    }

    /// This backbone with a score head in place of its language head, as transformers' `AutoModelForSequenceClassification` names it.
    public func scoring(outputs: Int = 1, gradingOutputs: Int = 0) -> ModelConfig {
        var config = self
        config.architecture = (modelType == "mistral" ? "Mistral" : "Llama") + "ForSequenceClassification"
        (config.scoreOutputs, config.gradingOutputs) = (outputs, gradingOutputs)
        return config
    }

    /// The number of weights the config implies, a tied head counted once.
    public var parameterCount: Int {
        requiredTensors().reduce(0) { $0 + $1.shape.reduce(1, *) }
    }

    /// The tensors a checkpoint of this config must hold, by their names in the Hugging Face layout, in layer order.
    public func requiredTensors() -> [(name: String, shape: [Int])] {
        let queries = heads * headDimension, keys = keyValueHeads * headDimension
        var tensors: [(name: String, shape: [Int])] = [("model.embed_tokens.weight", [vocabularySize, hiddenSize])]
        func linear(_ name: String, _ outputs: Int, _ inputs: Int, bias: Bool) {
            tensors.append((name + ".weight", [outputs, inputs]))
            if bias { tensors.append((name + ".bias", [outputs])) }
        }
        for layer in 0..<layers {
            let prefix = "model.layers.\(layer)."
            tensors.append((prefix + "input_layernorm.weight", [hiddenSize]))
            linear(prefix + "self_attn.q_proj", queries, hiddenSize, bias: attentionBias)
            linear(prefix + "self_attn.k_proj", keys, hiddenSize, bias: attentionBias)
            linear(prefix + "self_attn.v_proj", keys, hiddenSize, bias: attentionBias)
            linear(prefix + "self_attn.o_proj", hiddenSize, queries, bias: outputBias)
            tensors.append((prefix + "post_attention_layernorm.weight", [hiddenSize]))
            linear(prefix + "mlp.gate_proj", intermediateSize, hiddenSize, bias: mlpBias)
            linear(prefix + "mlp.up_proj", intermediateSize, hiddenSize, bias: mlpBias)
            linear(prefix + "mlp.down_proj", hiddenSize, intermediateSize, bias: mlpBias)
        }
        tensors.append(("model.norm.weight", [hiddenSize]))
        if !scoresSequences && !tiesEmbeddings { tensors.append(("lm_head.weight", [vocabularySize, hiddenSize])) }
        for head in scoreHeads { tensors.append((head.name, [head.outputs, hiddenSize])) }
        return tensors
    }
}
