import Serialization
import Tokenizers

/// What a GGUF file of architecture `llama` (Llama, Mistral, SmolLM2) means in the Hugging Face layout.
struct GGUFLlama {
    let config: ModelConfig
    /// Names in the Hugging Face layout → names in the file.
    let names: [String: String]

    static let outer = [
        "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight",
    ]
    static let inner = [
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    ]

    /// The name in the Hugging Face layout; `nil` for a tensor that has no place there.
    static func name(_ name: String) -> String? {
        if let name = outer[name] { return name }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0] == "blk", let layer = Int(parts[1]), layer >= 0, String(layer) == parts[1],
            let part = inner[String(parts[2])], parts[3] == "weight" || parts[3] == "bias"
        else { return nil }
        return "model.layers.\(layer).\(part).\(parts[3])"
    }

    init(_ file: GGUFFile) throws(CheckpointError) {
        let architecture = file.metadata["general.architecture"]?.string ?? "none"
        guard architecture == "llama" else {
            throw .unsupported(file: file.path, line: 0, key: "general.architecture", found: String(architecture.prefix(80)), supported: ["llama"])
        }
        if let experts = file.metadata["llama.expert_count"], experts.int != 0 {
            throw .unsupported(file: file.path, line: 0, key: "llama.expert_count", found: experts.kind, supported: ["dense models (0 experts)"])
        }
        var names: [String: String] = [:]
        for name in file.names where name != "rope_freqs.weight" && !name.hasSuffix(".attn_rot_embd") {
            // A tensor left out would be a model computed wrongly: better refused.
            guard let target = Self.name(name) else {
                throw .unsupported(file: file.path, line: 0, key: "tensor", found: String(name.prefix(80)), supported: ["the tensors of a dense llama"])
            }
            names[target] = name
        }
        self.names = names
        config = try Self.config(file)
    }

    private static func config(_ file: GGUFFile) throws(CheckpointError) -> ModelConfig {
        let metadata = file.metadata
        var members = JSONObject(), keys: [String: String] = [:]
        func put(_ key: String, _ name: String) {
            keys[key] = name
            switch metadata[name] {
            case nil: break
            case let value? where value.int != nil: members[key] = value.int.map { .integer($0) }
            case let value?: members[key] = value.double.map { .number($0) } ?? .string(value.kind)
            }
        }
        let window = metadata["llama.attention.sliding_window"]?.int ?? 0
        members["architectures"] = window > 0 ? ["MistralForCausalLM"] : ["LlamaForCausalLM"]
        members["model_type"] = window > 0 ? "mistral" : "llama"
        put("hidden_size", "llama.embedding_length")
        put("intermediate_size", "llama.feed_forward_length")
        put("num_hidden_layers", "llama.block_count")
        put("num_attention_heads", "llama.attention.head_count")
        put("num_key_value_heads", "llama.attention.head_count_kv")
        if members["num_key_value_heads"] == nil { members["num_key_value_heads"] = members["num_attention_heads"] }
        put("head_dim", "llama.attention.key_length")
        put("max_position_embeddings", "llama.context_length")
        put("rms_norm_eps", "llama.attention.layer_norm_rms_epsilon")
        put("rope_theta", "llama.rope.freq_base")
        put("vocab_size", "llama.vocab_size")
        if let rows = file.stored["token_embd.weight"]?.shape.first { members["vocab_size"] = .integer(rows) }
        if window > 0 { put("sliding_window", "llama.attention.sliding_window") }
        for key in ["hidden_size", "rms_norm_eps", "num_attention_heads"] where members[key] == nil {
            throw .invalidValue(file: file.path, line: 0, key: keys[key] ?? key, found: "absent", expected: "a number")
        }
        // The stored single-precision epsilon stands for a short decimal: 1e-5 comes as 9.999999747378752e-06.
        if let epsilon = members["rms_norm_eps"]?.double, let short = Double("\(Float(epsilon))") { members["rms_norm_eps"] = .number(short) }

        members["hidden_act"] = "silu"
        members["attention_bias"] = .bool(file.stored["blk.0.attn_q.bias"] != nil)
        members["mlp_bias"] = .bool(file.stored["blk.0.ffn_gate.bias"] != nil)
        members["tie_word_embeddings"] = .bool(file.stored["output.weight"] == nil)
        put("bos_token_id", "tokenizer.ggml.bos_token_id")
        put("eos_token_id", "tokenizer.ggml.eos_token_id")
        put("pad_token_id", "tokenizer.ggml.padding_token_id")
        if let turn = metadata["tokenizer.ggml.eot_token_id"]?.int, let eos = members["eos_token_id"]?.int, turn != eos {
            members["eos_token_id"] = [.integer(eos), .integer(turn)]
        }
        if let scaling = try scaling(file, maxPositions: members["max_position_embeddings"] ?? .null) {
            members["rope_scaling"] = .object(JSONObject(scaling))
        }
        var config = try ModelConfig(ConfigValues(object: members, file: file.path, names: keys))
        config.outputBias = file.stored["blk.0.attn_output.bias"] != nil

        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            if let value = metadata[key], value.int != config.headDimension {
                throw .unsupported(file: file.path, line: 0, key: key, found: value.kind, supported: ["\(config.headDimension), the size of a head"])
            }
        }
        return config
    }

    /// Rotary scaling from `rope_freqs.weight` (Llama 3), else from `llama.rope.scaling.*`.
    private static func scaling(_ file: GGUFFile, maxPositions: JSON) throws(CheckpointError) -> [(String, JSON)]? {
        if let tensor = file.stored["rope_freqs.weight"] {
            guard tensor.count <= 32768 else {
                throw .shapeMismatch(file: file.path, tensor: "rope_freqs.weight", expected: [32768], found: tensor.shape)
            }
            let divisors = UnsafeMutableBufferPointer<Float>.allocate(capacity: tensor.count)
            defer { divisors.deallocate() }
            try tensor.read(from: file.file, name: "rope_freqs.weight", into: divisors)
            if divisors.allSatisfy({ $0 == 1 }) { return nil }
            return RoPEScaling.divisors(Array(divisors)).members(maxPositions: maxPositions.int ?? 1)
        }
        let prefix = "llama.rope.scaling."
        guard let type = file.metadata[prefix + "type"]?.string, type != "none" else { return nil }
        guard type == "linear" || type == "yarn" else {
            throw .unsupported(file: file.path, line: 0, key: prefix + "type", found: type, supported: ["none", "linear", "yarn", "rope_freqs.weight"])
        }
        var members: [(String, JSON)] = [("rope_type", .string(type))]
        func put(_ key: String, _ name: String) {
            if let value = file.metadata[prefix + name] { members.append((key, value.int.map { .integer($0) } ?? .number(value.double ?? .nan))) }
        }
        put("factor", "factor")
        if type == "yarn" {
            put("original_max_position_embeddings", "original_context_length")
            put("beta_fast", "yarn_beta_fast")
            put("beta_slow", "yarn_beta_slow")
        }
        return members
    }

    /// The tokenizer's part of the metadata; `nil` for a file without one.
    /// - Throws: `.invalidValue` for keys of the wrong kind or lists of different lengths.
    static func vocabulary(_ file: GGUFFile) throws(CheckpointError) -> GGUFVocabulary? {
        let prefix = "tokenizer.ggml."
        guard let model = file.metadata[prefix + "model"]?.string, model != "none" else { return nil }
        func value<Kind>(_ key: String, _ expected: String, _ convert: (GGUFValue) -> Kind?) throws(CheckpointError) -> Kind? {
            guard let value = file.metadata[prefix + key] else { return nil }
            guard let converted = convert(value) else {
                throw .invalidValue(file: file.path, line: 0, key: prefix + key, found: value.kind, expected: expected)
            }
            return converted
        }
        guard let tokens = try value("tokens", "strings", \.strings) else {
            throw .invalidValue(file: file.path, line: 0, key: prefix + "tokens", found: "absent", expected: "strings")
        }
        guard tokens.count <= ModelConfig.vocabularyLimit else {
            throw .invalidValue(file: file.path, line: 0, key: prefix + "tokens", found: "\(tokens.count) tokens", expected: "at most \(ModelConfig.vocabularyLimit)")
        }
        func perToken<Element>(_ key: String, _ values: [Element]?) throws(CheckpointError) -> [Element] {
            guard let values else { return [] }
            guard values.count == tokens.count else {
                throw .invalidValue(file: file.path, line: 0, key: prefix + key, found: "\(values.count) values", expected: "one a token, \(tokens.count)")
            }
            return values
        }
        func token(_ key: String) throws(CheckpointError) -> Int? {
            guard let id = try value(key, "a token id", \.int) else { return nil }
            return tokens.indices.contains(id) ? id : nil  // some writers put -1 or 2^32 − 1 for "none"
        }
        return GGUFVocabulary(
            model: model, pre: try value("pre", "a string", \.string) ?? "default", tokens: tokens,
            types: try perToken("token_type", try value("token_type", "integers", \.integers)).map { Int32(truncatingIfNeeded: $0) },
            scores: try perToken("scores", try value("scores", "numbers", \.floats)).map { Float($0) },
            merges: try value("merges", "strings", \.strings) ?? [],
            bos: try token("bos_token_id"), eos: try token("eos_token_id"), unknown: try token("unknown_token_id"),
            padding: try token("padding_token_id"),
            addBOS: try value("add_bos_token", "a boolean", \.bool), addEOS: try value("add_eos_token", "a boolean", \.bool))
    }
}
