import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// A folder of its own, removed with its owner, and in it a model small enough to run by the dozen.
final class TinyFolder {
    let path: String
    var model: String { path + "/model" }
    /// First and last token of a turn, and the vocabulary's size.
    static let (begin, end, vocabulary) = (Int32(256), Int32(257), 258)
    static let template =
        "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"

    init(hasTemplate: Bool = true, architecture: String = "LlamaForCausalLM") throws {
        path = FileManager.default.temporaryDirectory.path + "/align-commands-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let config = try ModelConfig(json: TinyFolder.config(architecture: architecture), file: "config.json")
        let transformer = try Transformer(random: config, deviation: 0.3, seed: 7, compute: Compute(threads: 1), precision: .fp32)
        let tensors = transformer.parameters.map { parameter in
            let values = Array(UnsafeBufferPointer(start: transformer.weights.base + parameter.offset, count: parameter.count))
            return TensorSource(name: parameter.name, shape: parameter.shape) { (range, buffer) throws(CheckpointError) in
                for (place, index) in range.enumerated() { buffer[place] = values[index] }
            }
        }
        var extra = ["tokenizer.json": TinyFolder.tokenizer, "tokenizer_config.json": TinyFolder.tokenizerConfig].mapValues { Array($0.text().utf8) }
        if hasTemplate { extra["chat_template.jinja"] = Array(TinyFolder.template.utf8) }
        try CheckpointWriter.save(.init(config: config), tensors: tensors, dtype: .f32, extraFiles: extra, to: model)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a file and returns its path.
    func write(_ name: String, _ text: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        return path + "/" + name
    }

    /// The model as the library sees it.
    func transformer(threads: Int = 1) throws -> Transformer {
        try Transformer(Checkpoint.open(model), compute: Compute(threads: threads), precision: .fp32, trains: false)
    }

    // MARK: Its files

    private static func config(architecture: String) -> JSON {
        [
            "architectures": [.string(architecture)], "model_type": "llama", "vocab_size": .integer(vocabulary), "hidden_size": 32,
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu",
            "num_labels": 1, "bos_token_id": .integer(Int(begin)), "eos_token_id": .integer(Int(end)),
        ]
    }

    private static let tokenizerConfig: JSON = ["bos_token": "<s>", "eos_token": "</s>"]

    /// One token a byte, `<s>` and `</s>`.
    private static var tokenizer: JSON {
        let printable = Array(33...126) + Array(161...172) + Array(174...255)
        var others = 256
        let tokens = (0..<256).map { byte -> (String, JSON) in
            var scalar = byte
            if !printable.contains(byte) { (scalar, others) = (others, others + 1) }
            return (String(Unicode.Scalar(UInt32(scalar)).map { Character($0) } ?? " "), .integer(byte))
        }
        func special(_ id: Int32, _ content: String) -> JSON {
            ["id": .integer(Int(id)), "content": .string(content), "special": true, "normalized": false]
        }
        return [
            "version": "1.0", "added_tokens": [special(begin, "<s>"), special(end, "</s>")], "normalizer": nil,
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true],
            "post_processor": [
                "type": "TemplateProcessing",
                "single": [["SpecialToken": ["id": "<s>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]]],
                "special_tokens": ["<s>": ["id": "<s>", "ids": [.integer(Int(begin))], "tokens": ["<s>"]]],
            ],
            "decoder": ["type": "ByteLevel"], "model": ["type": "BPE", "vocab": .object(JSONObject(tokens)), "merges": []],
        ]
    }
}
