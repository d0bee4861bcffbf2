import Foundation
import Serialization
import Testing

@testable import Checkpoints

/// SplitMix64: the tests' own stream of numbers.
struct TestGenerator: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }
    /// In [-2, 2), of few bits, so that F16 and BF16 hold it exactly.
    mutating func value() -> Float { Float(below(256) - 128) / 64 }
}

/// A folder that goes away with the value.
final class TemporaryFolder {
    let path: String
    init() {
        var template = Array((NSTemporaryDirectory() + "align-checkpoints-XXXXXX").utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }
    deinit { Files.remove(path) }
    func callAsFunction(_ name: String) -> String { path + "/" + name }
    @discardableResult func write(_ name: String, _ bytes: [UInt8]) -> String {
        _ = FileManager.default.createFile(atPath: self(name), contents: Data(bytes))
        return self(name)
    }
    @discardableResult func write(_ name: String, _ text: String) -> String { write(name, Array(text.utf8)) }
}

/// The shared folder of fixtures; `nil`, with a note, where it is missing.
func sharedFolder(_ part: String, file: String = #filePath) -> String? {
    let root = file.split(separator: "/").dropLast(3).joined(separator: "/")
    let shared = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? "/\(root)/../shared"
    let path = shared + "/fixtures/" + part
    if FileManager.default.fileExists(atPath: path) { return path }
    print("note: \(path) is missing; the comparison with it is skipped (ALIGN_SHARED names the shared folder)")
    return nil
}

/// The error `body` throws; an issue if it throws none.
func fault(_ body: () throws(CheckpointError) -> Void, _ location: SourceLocation = #_sourceLocation) -> CheckpointError? {
    do throws(CheckpointError) {
        try body()
        Issue.record("no error was thrown", sourceLocation: location)
        return nil
    } catch {
        #expect(!error.description.isEmpty, sourceLocation: location)
        return error
    }
}

func little(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
func bytes(of floats: [Float]) -> [UInt8] { floats.withUnsafeBytes { Array($0) } }

/// A safetensors file from a header's text and data.
func safetensors(header: String, data: [UInt8]) -> [UInt8] { little(UInt64(header.utf8.count)) + Array(header.utf8) + data }

/// A GGUF file, built value by value.
struct GGUFBuilder {
    var version: UInt32 = 3
    var alignment = 32
    var metadata: [(key: String, bytes: [UInt8])] = []
    var tensors: [(name: String, shape: [Int], type: UInt32, data: [UInt8])] = []

    static func string(_ text: String) -> [UInt8] { little(UInt64(text.utf8.count)) + Array(text.utf8) }
    mutating func put(_ key: String, _ value: UInt32) { metadata.append((key, little(UInt32(4)) + little(value))) }
    mutating func put(_ key: String, _ value: Float) { metadata.append((key, little(UInt32(6)) + little(value.bitPattern))) }
    mutating func put(_ key: String, _ value: String) { metadata.append((key, little(UInt32(8)) + Self.string(value))) }
    mutating func put(_ key: String, _ value: Bool) { metadata.append((key, little(UInt32(7)) + [value ? 1 : 0])) }
    mutating func put(_ key: String, strings: [String]) {
        metadata.append((key, little(UInt32(9)) + little(UInt32(8)) + little(UInt64(strings.count)) + strings.flatMap(Self.string)))
    }
    mutating func put(_ key: String, integers: [Int32]) {
        metadata.append((key, little(UInt32(9)) + little(UInt32(5)) + little(UInt64(integers.count)) + integers.flatMap { little($0) }))
    }
    mutating func put(_ key: String, type: UInt32, raw: [UInt8]) { metadata.append((key, little(type) + raw)) }

    func bytes(offsets: [UInt64]? = nil) -> [UInt8] {
        var out = Array("GGUF".utf8) + little(version) + little(UInt64(tensors.count)) + little(UInt64(metadata.count))
        for (key, bytes) in metadata { out += Self.string(key) + bytes }
        var offset = 0
        for (index, tensor) in tensors.enumerated() {
            out += Self.string(tensor.name) + little(UInt32(tensor.shape.count))
            for size in tensor.shape.reversed() { out += little(UInt64(size)) }
            out += little(tensor.type) + little(offsets?[index] ?? UInt64(offset))
            offset = (offset + tensor.data.count + alignment - 1) / alignment * alignment
        }
        for tensor in tensors {
            while out.count % alignment != 0 { out.append(0) }
            out += tensor.data
        }
        return out
    }
}

/// A llama of random weights, small enough to write by the thousand.
struct TinyLlama {
    var config: ModelConfig
    var weights: [String: [Float]] = [:]

    static let configText = """
        {
          "architectures": ["LlamaForCausalLM"],
          "model_type": "llama",
          "vocab_size": 20,
          "hidden_size": 32,
          "intermediate_size": 64,
          "num_hidden_layers": 2,
          "num_attention_heads": 4,
          "num_key_value_heads": 2,
          "head_dim": 8,
          "max_position_embeddings": 128,
          "rms_norm_eps": 1e-05,
          "rope_theta": 10000.0,
          "tie_word_embeddings": false,
          "bos_token_id": 1,
          "eos_token_id": 2,
          "torch_dtype": "float32"
        }
        """

    init(seed: UInt64, tied: Bool = false) throws {
        var json = try JSON.parse(Self.configText).object!
        json["tie_word_embeddings"] = .bool(tied)
        config = try ModelConfig(json: .object(json), file: "config.json")
        var generator = TestGenerator(seed)
        for (name, shape) in config.requiredTensors() {
            weights[name] = (0..<shape.reduce(1, *)).map { _ in generator.value() }
        }
    }

    /// The tensors, to be saved.
    var sources: [TensorSource] {
        config.requiredTensors().map { name, shape in
            let values = weights[name]!
            return TensorSource(name: name, shape: shape) { (range, buffer) throws(CheckpointError) in
                for (place, index) in range.enumerated() { buffer[place] = values[index] }
            }
        }
    }

    /// HF row `j·d/2 + i` of each head → GGUF row `2i + j`, as llama.cpp's converter does.
    static func permuted(_ values: [Float], heads: Int, rows: Int) -> [Float] {
        let columns = values.count / rows, d = rows / heads
        var out = values
        for head in 0..<heads {
            for i in 0..<(d / 2) {
                for j in 0..<2 {
                    let from = (head * d + j * d / 2 + i) * columns, to = (head * d + 2 * i + j) * columns
                    out.replaceSubrange(to..<(to + columns), with: values[from..<(from + columns)])
                }
            }
        }
        return out
    }

    /// The same model as a GGUF file; matrices are stored in `type`.
    func gguf(type: ElementType = .f32) -> GGUFBuilder {
        var builder = GGUFBuilder()
        builder.put("general.architecture", "llama")
        builder.put("llama.context_length", UInt32(config.maxPositions))
        builder.put("llama.embedding_length", UInt32(config.hiddenSize))
        builder.put("llama.block_count", UInt32(config.layers))
        builder.put("llama.feed_forward_length", UInt32(config.intermediateSize))
        builder.put("llama.attention.head_count", UInt32(config.heads))
        builder.put("llama.attention.head_count_kv", UInt32(config.keyValueHeads))
        builder.put("llama.attention.key_length", UInt32(config.headDimension))
        builder.put("llama.attention.layer_norm_rms_epsilon", Float(config.normEpsilon))
        builder.put("llama.rope.freq_base", Float(config.ropeTheta))
        builder.put("tokenizer.ggml.model", "gpt2")
        builder.put("tokenizer.ggml.pre", "gpt-2")
        builder.put("tokenizer.ggml.tokens", strings: ["<unk>", "<s>", "</s>"] + "abcdefghijklmnop".map { String($0) } + ["ab"])
        builder.put("tokenizer.ggml.token_type", integers: [2, 3, 3] + [Int32](repeating: 1, count: 17))
        builder.put("tokenizer.ggml.merges", strings: ["a b"])
        builder.put("tokenizer.ggml.bos_token_id", UInt32(1))
        builder.put("tokenizer.ggml.eos_token_id", UInt32(2))
        builder.put("tokenizer.ggml.add_bos_token", false)
        builder.put("tokenizer.chat_template", "{{ messages[0]['content'] }}")
        let names = ["model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"]
        let parts = [
            "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
        ]
        for (name, shape) in config.requiredTensors() {
            var values = weights[name]!
            let stem = String(name.dropLast(".weight".count)), pieces = stem.split(separator: ".", maxSplits: 3)
            let target = names[stem] ?? "blk.\(pieces[2]).\(parts[String(pieces[3])]!)"
            if stem.hasSuffix("q_proj") { values = Self.permuted(values, heads: config.heads, rows: shape[0]) }
            if stem.hasSuffix("k_proj") { values = Self.permuted(values, heads: config.keyValueHeads, rows: shape[0]) }
            let stored = shape.count == 1 ? ElementType.f32 : type
            var data = [UInt8](repeating: 0, count: stored.bytes(of: values.count)!)
            data.withUnsafeMutableBytes { _ = stored.encode(values, into: $0.baseAddress!, count: values.count) }
            builder.tensors.append((target + ".weight", shape, UInt32(stored.ggml!), data))
        }
        return builder
    }
}

extension Checkpoint {
    func floats(_ name: String) throws(CheckpointError) -> [Float] {
        var values = [Float](repeating: .nan, count: tensors[name]?.count ?? 0), fault: CheckpointError?
        values.withUnsafeMutableBufferPointer { buffer in
            do throws(CheckpointError) { try read(name, into: buffer) } catch { fault = error }
        }
        if let fault { throw fault }
        return values
    }
}

extension GGUFFile {
    func floats(_ name: String) throws(CheckpointError) -> [Float] {
        var values = [Float](repeating: .nan, count: info(name)?.count ?? 0), fault: CheckpointError?
        values.withUnsafeMutableBufferPointer { buffer in
            do throws(CheckpointError) { try read(name, into: buffer) } catch { fault = error }
        }
        if let fault { throw fault }
        return values
    }
}
