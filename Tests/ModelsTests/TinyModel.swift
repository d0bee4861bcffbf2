import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// A small Llama with weights large enough that every mistake shows.
func tinyConfig(
    layers: Int = 2, vocabulary: Int = 61, window: Int? = nil, tied: Bool = true, heads: Int = 4, keyValueHeads: Int = 2, headSize: Int = 40
) throws -> ModelConfig {
    var json: JSON = [
        "architectures": [window == nil ? "LlamaForCausalLM" : "MistralForCausalLM"], "model_type": window == nil ? "llama" : "mistral",
        "vocab_size": .integer(vocabulary), "hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": .integer(layers),
        "num_attention_heads": .integer(heads), "num_key_value_heads": .integer(keyValueHeads), "head_dim": .integer(headSize),
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": .bool(tied), "hidden_act": "silu",
        "bos_token_id": 1, "eos_token_id": 2,
    ]
    if let window, case var .object(object) = json {
        object["sliding_window"] = .integer(window)
        json = .object(object)
    }
    return try ModelConfig(json: json, file: "config.json")
}

func tinyModel(
    _ config: ModelConfig, threads: Int = 1, path: KernelPath? = nil, precision: Precision = .fp32, recompute: Bool = false, seed: UInt64 = 7
) throws -> Transformer {
    try Transformer(
        random: config, deviation: 0.3, seed: seed, compute: Compute(threads: threads, path: path), precision: precision, recompute: recompute)
}

/// Token ids in [3, vocabulary).
func tokens(_ count: Int, vocabulary: Int = 61, seed: UInt64) -> [Int32] {
    var random = RandomStream(seed: seed, stream: 1, index: 0)
    return (0..<count).map { _ in Int32(3 + random.next() % UInt64(vocabulary - 3)) }
}

extension FloatBuffer {
    var array: [Float] { Array(UnsafeBufferPointer(start: base, count: count)) }
    func clear() { base.update(repeating: 0, count: count) }
}

func relativeDistance(_ a: [Float], _ b: [Float]) -> Double {
    let difference = zip(a, b).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
    return (difference / max(b.reduce(0.0) { $0 + pow(Double($1), 2) }, 1e-30)).squareRoot()
}
