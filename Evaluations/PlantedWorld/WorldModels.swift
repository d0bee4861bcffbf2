import Serialization

extension PlantedWorld {
    /// Sizes of the world's Llama-shaped models, untied, context 32.
    public enum Size: String, CaseIterable, Sendable, Codable {
        case xs = "XS", s = "S", m = "M", l = "L", xl = "XL"

        /// Width, layers, heads, width of the feed-forward part.
        var shape: (width: Int, layers: Int, heads: Int, inner: Int) {
            switch self {
            case .xs: (48, 2, 2, 192)
            case .s: (96, 2, 4, 384)
            case .m: (128, 4, 4, 512)
            case .l: (256, 4, 8, 1024)
            case .xl: (320, 6, 8, 1280)
            }
        }

        /// Steps in which a start model of this size learns the writers.
        public var startSteps: Int { self == .xs || self == .s ? 800 : 1500 }
        public var rewardRate: Double { self == .xs || self == .s ? 5e-4 : 3e-4 }

        public var config: JSON {
            let (width, layers, heads, inner) = shape
            return [
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": .integer(PlantedWorld.vocabulary),
                "hidden_size": .integer(width), "intermediate_size": .integer(inner), "num_hidden_layers": .integer(layers),
                "num_attention_heads": .integer(heads), "num_key_value_heads": .integer(heads), "head_dim": .integer(width / heads),
                "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "hidden_act": "silu",
                "bos_token_id": .integer(Int(PlantedWorld.begin)), "eos_token_id": .integer(Int(PlantedWorld.end)),
                "pad_token_id": .integer(Int(PlantedWorld.padding)), "initializer_range": 0.02,
            ]
        }
    }
}

extension PlantedWorld.Size {
    /// Weights of a model of this size.
    public var parameters: Int {
        let (width, layers, _, inner) = shape
        return layers * (4 * width * width + 3 * width * inner + 2 * width) + 2 * PlantedWorld.vocabulary * width + width
    }
}
