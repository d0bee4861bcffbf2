import Checkpoints
import Models
import Serialization

/// `rope/rope.json`: inverse frequencies and attention factors of the rotary scalings.
struct RotaryPart: VerifyPart {
    static let folder = "rope"

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            context.guarded("rope/\(name)") {
                let file = try GoldenFile("\(folder)/\(name)")
                let tolerance = file.root.tolerance(default: 1e-6)
                for (index, node) in try file.root.member("cases").elements().enumerated() {
                    let label = node.json["name"]?.string ?? "\(index)"
                    let length = node.json["seq_len"]?.int.map { " at \($0)" } ?? ""
                    let name = "rope/\(label)\(length)"
                    context.test(name) { try compare(node, .relative(tolerance), &$0) }
                    if context.cases.last?.verdict == .notYet { node.markRead() }
                }
                context.remember(uncompared: file.uncompared(), of: "rope/\(name)")
            }
        }
    }

    /// The same reading of a model's config.json that loading does.
    private func config(_ node: GoldenNode) throws -> ModelConfig {
        let parameters = try node.member("rope_parameters")
        let head = try node.member("head_dim").integer()
        let positions = try node.member("max_position_embeddings").integer()
        parameters.markRead()
        return try ModelConfig(
            json: [
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": .integer(head),
                "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
                "head_dim": .integer(head), "max_position_embeddings": .integer(positions), "rms_norm_eps": 1e-5, "hidden_act": "silu",
                "rope_parameters": parameters.json,
            ], file: node.file.path)
    }

    private func compare(_ node: GoldenNode, _ tolerance: Tolerance, _ recorder: inout CaseRecorder) throws {
        let frequencies = RotaryFrequencies(try config(node))
        let length = try node.optional("seq_len")?.integer()
        recorder.compare("inv_freq", frequencies.inverse(sequenceLength: length), golden: try node.member("inv_freq").numbers(), tolerance)
        recorder.compare("attention_factor", frequencies.attentionFactor, golden: try node.member("attention_factor").number(), tolerance)
    }
}
