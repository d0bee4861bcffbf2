import Foundation
import Serialization
import Testing

@testable import Checkpoints

@Suite("ModelConfig") struct ModelConfigTests {
    func config(_ changes: [(String, JSON?)] = [], from text: String = TinyLlama.configText) throws -> ModelConfig {
        var object = try JSON.parse(text).object!
        for (key, value) in changes { object[key] = value }
        return try ModelConfig(json: .object(object), file: "config.json")
    }

    @Test("the keys of transformers 4 are read") func version4() throws {
        let config = try config()
        #expect(config.vocabularySize == 20 && config.hiddenSize == 32 && config.intermediateSize == 64 && config.layers == 2)
        #expect(config.heads == 4 && config.keyValueHeads == 2 && config.headDimension == 8 && config.maxPositions == 128)
        #expect(config.normEpsilon == 1e-5 && config.ropeTheta == 10000 && config.ropeScaling == .none && config.activation == .silu)
        #expect(config.slidingWindows == [nil, nil] && !config.attentionBias && !config.outputBias && !config.mlpBias && !config.tiesEmbeddings)
        #expect(config.attentionScale == 1 / 8.0.squareRoot() && config.embeddingScale == 1)
        #expect(config.bosID == 1 && config.eosIDs == [2] && config.padID == nil)
        // 20·32 twice, 32 last norm, 2 layers of 2·32 norms + (32+16+16+32)·32 attention + 3·64·32 MLP = 1280 + 32 + 2·9280
        #expect(config.parameterCount == 19872, "\(config.parameterCount) parameters, 19872 expected")
    }

    @Test("the keys of transformers 5 are read") func version5() throws {
        let rope: JSON = [
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        ]
        let config = try config([("rope_theta", nil), ("torch_dtype", nil), ("dtype", "bfloat16"), ("rope_parameters", rope)])
        #expect(config.ropeTheta == 500000)
        #expect(config.ropeScaling == .llama3(factor: 8, low: 1, high: 4, original: 64))
        let written = config.json(dtype: "F16")
        #expect(written["dtype"]?.string == "float16" && written["torch_dtype"] == nil && written["rope_parameters"] == rope)
    }

    @Test("every kind of rotary scaling is read, and written so that it reads the same", arguments: [
        #"{"type": "linear", "factor": 2}"#, #"{"rope_type": "dynamic", "factor": 4.0}"#,
        #"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "attention_factor": 1.1, "beta_fast": 16, "truncate": false, "mscale": 0.7, "mscale_all_dim": 0.5}"#,
        #"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#,
        #"{"rope_type": "longrope", "short_factor": [1, 1, 1, 1.5], "long_factor": [1, 2, 3, 4], "original_max_position_embeddings": 64}"#,
        #"{"rope_type": "longrope", "short_factor": [1, 2, 3, 4.5], "long_factor": [1, 2, 3, 4.5], "attention_factor": 1.0, "factor": 1.0}"#,
        #"{"rope_type": "default"}"#,
    ])
    func scaling(text: String) throws {
        let read = try config([("rope_scaling", try JSON.parse(text))])
        #expect((read.ropeScaling == .none) == text.contains("default"))
        var again = read
        again.raw = .object(JSONObject())  // nothing to fall back on: everything must be written
        #expect(try ModelConfig(json: again.json(dtype: "F32"), file: "again").ropeScaling == read.ropeScaling)
        if text.contains("4.5") { #expect(read.ropeScaling == .divisors([1, 2, 3, 4.5])) }
    }

    @Test("mistral has a sliding window: as given, 4096 if not given, none if null") func mistral() throws {
        let base: [(String, JSON?)] = [("model_type", "mistral"), ("architectures", ["MistralForCausalLM"])]
        #expect(try config(base + [("sliding_window", 12)]).slidingWindows == [12, 12])
        #expect(try config(base).slidingWindows == [4096, 4096])
        #expect(try config(base + [("sliding_window", .null)]).slidingWindows == [nil, nil])
    }

    @Test("missing keys take transformers' defaults") func defaults() throws {
        let config = try config([
            ("num_key_value_heads", nil), ("head_dim", nil), ("max_position_embeddings", nil), ("rms_norm_eps", nil), ("rope_theta", nil),
            ("tie_word_embeddings", nil), ("architectures", nil), ("bos_token_id", .null), ("eos_token_id", [2, 3]), ("pad_token_id", -1),
        ])
        #expect(config.keyValueHeads == 4 && config.headDimension == 8 && config.maxPositions == 2048 && config.normEpsilon == 1e-6)
        #expect(config.ropeTheta == 10000 && !config.tiesEmbeddings && config.architecture == "LlamaForCausalLM")
        #expect(config.bosID == nil && config.eosIDs == [2, 3] && config.padID == nil)
    }

    @Test("what was read is written back, with the type and what was changed") func writing() throws {
        var config = try config([("attention_bias", true), ("my_note", "kept")])
        #expect(config.outputBias && config.attentionBias)
        #expect(config.json(dtype: "float32") == config.raw)
        config.tiesEmbeddings = true
        config.maxPositions = 64
        let written = config.json(dtype: "BF16")
        #expect(written["torch_dtype"]?.string == "bfloat16" && written["tie_word_embeddings"]?.bool == true && written["my_note"]?.string == "kept")
        #expect(written["max_position_embeddings"]?.int == 64)
        config = config.scoring()
        #expect(config.json(dtype: "F32")["id2label"] == ["0": "LABEL_0"])
        #expect(config.requiredTensors().last?.name == "score.weight")
    }

    @Test("a value out of bounds or of the wrong kind is named", arguments: [
        ("vocab_size", "0"), ("vocab_size", "10000001"), ("hidden_size", "-1"), ("hidden_size", "\"32\""), ("hidden_size", "2000000"),
        ("intermediate_size", "1e300"), ("num_hidden_layers", "1001"), ("num_hidden_layers", "2.5"), ("num_attention_heads", "null"),
        ("num_key_value_heads", "3"), ("head_dim", "7"), ("head_dim", "0"), ("max_position_embeddings", "[]"), ("rms_norm_eps", "0"), ("rms_norm_eps", "NaN"),
        ("rope_theta", "0"), ("rope_theta", "Infinity"), ("tie_word_embeddings", "1"), ("eos_token_id", "20"), ("eos_token_id", "[\"x\"]"),
        ("architectures", "{}"), ("model_type", "7"), ("rope_scaling", "[1]"), ("partial_rotary_factor", "0.5"),
    ])
    func invalid(key: String, value: String) throws {
        let json = try JSON.parse(value)
        var object = try JSON.parse(TinyLlama.configText).object!
        object[key] = json
        let error = fault { () throws(CheckpointError) in _ = try ModelConfig(json: .object(object), file: "config.json") }
        guard case let .invalidValue(file, _, found, _, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(file == "config.json" && found == key)
    }

    @Test("a wrong member of rope_scaling is named", arguments: [
        (#"{"rope_type": "linear"}"#, "factor"), (#"{"rope_type": "linear", "factor": -1}"#, "factor"),
        (#"{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}"#, "high_freq_factor"),
        (#"{"rope_type": "longrope", "short_factor": [1], "long_factor": [1, 1, 1, 1]}"#, "short_factor"),
        (#"{"rope_type": "longrope", "short_factor": [1, 1, 1, 0], "long_factor": [1, 1, 1, 1]}"#, "short_factor"),
    ])
    func invalidScaling(text: String, key: String) throws {
        let scaling = try JSON.parse(text)
        #expect(throws: CheckpointError.self) { _ = try config([("rope_scaling", scaling)]) }
        do { _ = try config([("rope_scaling", scaling)]) } catch let error as CheckpointError {
            guard case let .invalidValue(_, _, found, _, _) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(found == key)
        }
    }

    @Test("what this build does not read is named with its line and the alternatives") func unsupported() throws {
        func error(_ text: String) -> CheckpointError? {
            let folder = TemporaryFolder()
            folder.write("config.json", text)
            return fault { () throws(CheckpointError) in _ = try Checkpoint.open(folder.path) }
        }
        guard case let .unsupported(_, line, key, found, supported) = error(TinyLlama.configText.replacingOccurrences(of: "\"llama\"", with: "\"gpt2\"")) else {
            Issue.record("not refused")
            return
        }
        #expect(line == 3 && key == "model_type" && found == "gpt2" && supported == ["llama", "mistral"])
        for (key, value) in [("hidden_act", "\"relu\""), ("architectures", "[\"LlamaForTokenClassification\"]"), ("quantization_config", "{}"), ("rope_scaling", "{\"rope_type\": \"x\"}")] {
            var object = try JSON.parse(TinyLlama.configText).object!
            object[key] = try JSON.parse(value)
            guard case .unsupported = error(JSON.object(object).text()) else {
                Issue.record("\(key) \(value) was not refused")
                continue
            }
        }
        let notObject = fault { () throws(CheckpointError) in _ = try ModelConfig(json: [1], file: "c") }
        #expect(notObject == .invalidValue(file: "c", line: 1, key: "config", found: "an array", expected: "an object"))
    }

    @Test("sizes that multiply beyond reason are refused") func product() throws {
        #expect(throws: CheckpointError.self) {
            _ = try config([("hidden_size", 1_000_000), ("intermediate_size", 4_000_000), ("num_hidden_layers", 1000), ("head_dim", 250_000)])
        }
    }
}
