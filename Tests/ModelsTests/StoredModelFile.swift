import Foundation
import Tensors

@testable import Checkpoints

/// A small Llama as a GGUF file, its matrices in one type and its embedding in another.
/// - Parameter scale: Of types that are only read, whose quants are drawn.
func storedModel(_ type: ElementType, embedding: ElementType = .q8_0, heads: Int = 4, keyValueHeads: Int = 2, headSize: Int = 64, vocabulary: Int = 61, scale: Float16 = 0.0005) throws -> String {
    let (d, m, layers) = (256, 512, 2)
    var head = Data(), table = Data(), data = Data()
    func put<T>(_ value: T, to data: inout Data) { withUnsafeBytes(of: value) { data.append(contentsOf: $0) } }
    func put(_ text: String, to data: inout Data) {
        put(UInt64(text.utf8.count), to: &data)
        data.append(contentsOf: text.utf8)
    }
    var keys = 0
    func put(_ key: String, _ value: Int) {
        put(key, to: &head)
        put(UInt32(4), to: &head)
        put(UInt32(value), to: &head)
        keys += 1
    }
    put("general.architecture", to: &head)
    put(UInt32(8), to: &head)
    put("llama", to: &head)
    put("llama.attention.layer_norm_rms_epsilon", to: &head)
    put(UInt32(6), to: &head)
    put(Float(1e-5), to: &head)
    keys += 2
    for (key, value) in [
        ("embedding_length", d), ("feed_forward_length", m), ("block_count", layers), ("attention.head_count", heads),
        ("attention.head_count_kv", keyValueHeads), ("attention.key_length", headSize), ("attention.value_length", headSize), ("context_length", 512),
    ] { put("llama." + key, value) }

    var random = RandomStream(seed: 5, stream: 3, index: 0), tensors = 0
    func tensor(_ name: String, _ shape: [Int], _ type: ElementType) {
        let count = shape.reduce(1, *)
        let values = (0..<count).map { _ in shape.count == 1 ? Float(1) : Float(random.normal() * 0.15) }
        put(name, to: &table)
        put(UInt32(shape.count), to: &table)
        for size in shape.reversed() { put(UInt64(size), to: &table) }
        put(UInt32(type.ggml!), to: &table)
        data.append(Data(count: (32 - data.count % 32) % 32))
        put(UInt64(data.count), to: &table)
        var bytes = [UInt8](repeating: 0, count: type.bytes(of: count)!)
        bytes.withUnsafeMutableBytes {
            if type.encode(values, into: $0.baseAddress!, count: count) { return }
            // Types that are only read: random quants under scales that keep weights small.
            let scale = scale.bitPattern
            for i in 0..<$0.count { $0[i] = UInt8(truncatingIfNeeded: random.next()) }
            for block in 0..<$0.count / type.blockBytes {
                for at in type == .q6_K ? [208] : [0, 2] { $0.storeBytes(of: scale, toByteOffset: block * type.blockBytes + at, as: UInt16.self) }
            }
        }
        data.append(contentsOf: bytes)
        tensors += 1
    }
    tensor("token_embd.weight", [vocabulary, d], embedding)
    tensor("output_norm.weight", [d], .f32)
    for l in 0..<layers {
        let (q, kv) = (heads * headSize, keyValueHeads * headSize)
        for (name, rows, columns) in [("attn_q", q, d), ("attn_k", kv, d), ("attn_v", kv, d), ("attn_output", d, q), ("ffn_gate", m, d), ("ffn_up", m, d), ("ffn_down", d, m)] {
            // As converters mix them.
            tensor("blk.\(l).\(name).weight", [rows, columns], name == "attn_v" && type == .q4_K ? .q6_K : type)
        }
        for name in ["attn_norm", "ffn_norm"] { tensor("blk.\(l).\(name).weight", [d], .f32) }
    }
    var file = Data("GGUF".utf8)
    put(UInt32(3), to: &file)
    put(UInt64(tensors), to: &file)
    put(UInt64(keys), to: &file)
    file.append(head)
    file.append(table)
    file.append(Data(count: (32 - file.count % 32) % 32))
    file.append(data)
    let path = NSTemporaryDirectory() + "stored-\(UUID().uuidString).gguf"
    try file.write(to: URL(fileURLWithPath: path))
    return path
}
