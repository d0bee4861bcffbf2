import Foundation
import Testing

@testable import Checkpoints

@Suite("GGUFFile") struct GGUFTests {
    let folder = TemporaryFolder()

    func open(_ builder: GGUFBuilder, offsets: [UInt64]? = nil) throws(CheckpointError) -> GGUFFile {
        try GGUFFile(path: folder.write("file.gguf", builder.bytes(offsets: offsets)))
    }
    func checkpoint(_ builder: GGUFBuilder) throws(CheckpointError) -> Checkpoint {
        try Checkpoint.open(folder.write("file.gguf", builder.bytes()))
    }

    @Test("every metadata type is read", arguments: [UInt32(2), 3]) func metadata(version: UInt32) throws {
        var builder = GGUFBuilder(version: version)
        builder.put("u8", type: 0, raw: [200])
        builder.put("i8", type: 1, raw: [0xFF])
        builder.put("u16", type: 2, raw: little(UInt16(60000)))
        builder.put("i16", type: 3, raw: little(Int16(-2)))
        builder.put("u32", UInt32.max)
        builder.put("i32", type: 5, raw: little(Int32(-3)))
        builder.put("f32", Float(0.5))
        builder.put("bool", true)
        builder.put("string", "été")
        builder.put("u64", type: 10, raw: little(UInt64.max))
        builder.put("i64", type: 11, raw: little(Int64.min))
        builder.put("f64", type: 12, raw: little(0.1.bitPattern))
        builder.put("strings", strings: ["a", ""])
        builder.put("integers", integers: [1, -1])
        builder.put("floats", type: 9, raw: little(UInt32(6)) + little(UInt64(2)) + bytes(of: [1, 2.5]))
        builder.put("bools", type: 9, raw: little(UInt32(7)) + little(UInt64(2)) + [1, 0])
        builder.put("nested", type: 9, raw: little(UInt32(9)) + little(UInt64(1)) + little(UInt32(0)) + little(UInt64(3)) + [1, 2, 3])
        let file = try open(builder)
        let expected: [String: GGUFValue] = [
            "u8": .unsigned(200), "i8": .signed(-1), "u16": .unsigned(60000), "i16": .signed(-2), "u32": .unsigned(UInt64(UInt32.max)), "i32": .signed(-3),
            "f32": .float(0.5), "bool": .bool(true), "string": .string("été"), "u64": .unsigned(.max), "i64": .signed(.min), "f64": .float(0.1),
            "strings": .strings(["a", ""]), "integers": .integers([1, -1]), "floats": .floats([1, 2.5]), "bools": .bools([true, false]),
            "nested": .arrays([.integers([1, 2, 3])]),
        ]
        #expect(file.metadata == expected)
        #expect(file.version == Int(version) && file.metadata["u64"]?.int == nil && file.metadata["u8"]?.int == 200)
    }

    @Test("a llama is the same model as in the Hugging Face layout", arguments: [ElementType.f32, .f16, .bf16], [false, true])
    func llama(type: ElementType, tied: Bool) throws {
        let model = try TinyLlama(seed: 3, tied: tied)
        let read = try checkpoint(model.gguf(type: type))
        for (name, values) in model.weights { #expect(try read.floats(name) == values, "\(name) differs") }
        #expect(read.tensors.count == model.weights.count && read.config.tiesEmbeddings == tied)
        #expect(read.tensors["model.embed_tokens.weight"] == TensorInfo(name: "model.embed_tokens.weight", shape: [20, 32], dtype: type.rawValue))
        var (a, b) = (read.config, model.config)
        (a.raw, b.raw) = (.null, .null)
        #expect(a == b)
        #expect(read.tokenizer != nil && read.chatTemplate?.source == "{{ messages[0]['content'] }}")
        // What is written for it is read as the same model.
        var again = try ModelConfig(json: read.config.json(dtype: "F32"), file: "again")
        again.raw = .null
        #expect(again == a)
    }

    @Test("rope_freqs.weight are divisors; linear scaling and windows come from the metadata") func scaling() throws {
        var builder = try TinyLlama(seed: 4).gguf()
        builder.tensors.append(("rope_freqs.weight", [4], 0, bytes(of: [1, 2, 3.3, 8])))
        let read = try checkpoint(builder)
        #expect(read.config.ropeScaling == .divisors([1, 2, 3.3, 8]) && read.tensors["rope_freqs.weight"] == nil)
        #expect(try ModelConfig(json: read.config.json(dtype: "F32"), file: "again").ropeScaling == .divisors([1, 2, 3.3, 8]))

        builder = try TinyLlama(seed: 4).gguf()
        builder.put("llama.rope.scaling.type", "linear")
        builder.put("llama.rope.scaling.factor", Float(4))
        builder.put("llama.attention.sliding_window", UInt32(16))
        let other = try checkpoint(builder).config
        #expect(other.ropeScaling == .linear(factor: 4) && other.slidingWindows == [16, 16] && other.modelType == "mistral")
        builder.put("llama.rope.dimension_count", UInt32(4))
        guard case .unsupported(_, _, "llama.rope.dimension_count", "4", _) = fault({ () throws(CheckpointError) in _ = try checkpoint(builder) }) else { Issue.record("partial rotation passed"); return }
    }

    @Test("biases of q and k are put in order too") func biases() throws {
        let model = try TinyLlama(seed: 5)
        var builder = model.gguf()
        for layer in 0..<2 {
            for (name, size) in [("attn_q", 32), ("attn_k", 16), ("attn_v", 16)] {
                builder.tensors.append(("blk.\(layer).\(name).bias", [size], 0, bytes(of: (0..<size).map { Float($0) })))
            }
        }
        let read = try checkpoint(builder)
        #expect(read.config.attentionBias && !read.config.outputBias)
        // d = 8: row 2i + j of the file is row 4j + i
        #expect(try read.floats("model.layers.1.self_attn.q_proj.bias").prefix(8) == [0, 2, 4, 6, 1, 3, 5, 7])
        #expect(try read.floats("model.layers.1.self_attn.v_proj.bias") == (0..<16).map { Float($0) })
    }

    @Test("a file cut anywhere is truncated, never anything else") func cut() throws {
        let whole = try TinyLlama(seed: 6).gguf().bytes()
        for length in Array(stride(from: 0, to: whole.count, by: 97)) + [whole.count - 1] {
            let path = folder.write("cut.gguf", Array(whole[..<length]))
            guard case .truncated = fault({ () throws(CheckpointError) in _ = try GGUFFile(path: path) }) else { Issue.record("\(length) of \(whole.count) bytes passed"); continue }
        }
    }

    @Test("a head that lies is refused") func malformed() throws {
        let path = folder("file.gguf")
        func expectMalformed(_ what: Comment, _ change: (inout GGUFBuilder) -> Void, offsets: [UInt64]? = nil) {
            var builder = GGUFBuilder()
            builder.tensors = [("a", [32], 0, bytes(of: [Float](repeating: 1, count: 32))), ("b", [32], 0, bytes(of: [Float](repeating: 2, count: 32)))]
            change(&builder)
            guard case .malformed(path, _, _, _, _) = fault({ () throws(CheckpointError) in _ = try open(builder, offsets: offsets) }) else { Issue.record(what); return }
        }
        expectMalformed("overlap", { _ in }, offsets: [0, 64])
        expectMalformed("alignment", { _ in }, offsets: [0, 130])
        expectMalformed("tensor twice", { $0.tensors[1].name = "a" })
        expectMalformed("key twice", { $0.put("k", UInt32(1)); $0.put("k", UInt32(2)) })
        expectMalformed("no dimensions", { $0.tensors[0].shape = [] })
        expectMalformed("five dimensions", { $0.tensors[0].shape = [1, 1, 1, 1, 32] })
        expectMalformed("half a block", { $0.tensors[0] = ("a", [2, 16], 8, [UInt8](repeating: 0, count: 34)) })
        expectMalformed("overflow", { $0.tensors[0].shape = [1 << 40, 1 << 40] })
        expectMalformed("value type", { $0.put("k", type: 13, raw: []) })
        expectMalformed("element type", { $0.put("k", type: 9, raw: little(UInt32(99)) + little(UInt64(1))) })
        expectMalformed("boolean", { $0.put("k", type: 7, raw: [2]) })
        expectMalformed("string length", { $0.put("k", type: 8, raw: little(UInt64.max)) })
        expectMalformed("array length", { $0.put("k", type: 9, raw: little(UInt32(0)) + little(UInt64.max)) })
        expectMalformed("a large integer in an array", { $0.put("k", type: 9, raw: little(UInt32(10)) + little(UInt64(1)) + little(UInt64.max)) })
        let deep = (0..<8).reduce([UInt8]()) { bytes, _ in bytes + little(UInt32(9)) + little(UInt64(1)) }
        expectMalformed("deep arrays", { $0.put("k", type: 9, raw: deep + little(UInt32(0)) + little(UInt64(0)) + [UInt8](repeating: 0, count: 64)) })
        var builder = GGUFBuilder()
        builder.put("k", type: 9, raw: little(UInt32(8)) + little(UInt64(1 << 20)))
        guard case .truncated(_, "k", _, 8388608, _) = fault({ () throws(CheckpointError) in _ = try open(builder) }) else { Issue.record("an array longer than the file"); return }
        folder.write("file.gguf", "GGML" + String(repeating: "x", count: 100))
        guard case .malformed(_, "the magic number", 0, _, _) = fault({ () throws(CheckpointError) in _ = try GGUFFile(path: path) }) else { Issue.record("magic"); return }
    }

    @Test("versions, types, architectures and tensors not read here are named") func unsupported() throws {
        func key(_ change: (inout GGUFBuilder) -> Void) throws -> String {
            var builder = try TinyLlama(seed: 7).gguf()
            change(&builder)
            guard case let .unsupported(_, _, key, found, _) = fault({ () throws(CheckpointError) in _ = try checkpoint(builder) }) else { return "not refused" }
            return key + " " + found
        }
        #expect(try key { $0.version = 1 } == "version 1")
        #expect(try key { $0.version = UInt32(3).byteSwapped } == "version 3, big-endian")
        #expect(try key { $0.tensors[0].type = 10 } == "type of tensor 'token_embd.weight' Q2_K")
        #expect(try key { $0.metadata[0].bytes = little(UInt32(8)) + GGUFBuilder.string("gemma2") } == "general.architecture gemma2")
        #expect(try key { $0.tensors[3].name = "blk.0.ffn_gate_inp.weight" } == "tensor blk.0.ffn_gate_inp.weight")
        #expect(try key { $0.put("llama.expert_count", UInt32(8)) } == "llama.expert_count 8")
        #expect(try key { $0.put("llama.rope.scaling.type", "longrope") } == "llama.rope.scaling.type longrope")
        #expect(try key { $0.put("llama.attention.value_length", UInt32(4)) } == "llama.attention.value_length 4")
    }

    @Test("metadata that contradict the tensors or themselves are named") func invalid() throws {
        func key(_ name: String, _ bytes: [UInt8]?) throws -> String {
            var builder = try TinyLlama(seed: 8).gguf()
            builder.metadata.removeAll { $0.key == name }
            if let bytes { builder.metadata.append((name, bytes)) }
            guard case let .invalidValue(_, _, key, _, _) = fault({ () throws(CheckpointError) in _ = try checkpoint(builder) }) else { return "not refused" }
            return key
        }
        for name in ["llama.embedding_length", "llama.block_count", "llama.attention.head_count", "llama.feed_forward_length", "llama.attention.layer_norm_rms_epsilon"] {
            #expect(try key(name, nil) == name)
            #expect(try key(name, little(UInt32(4)) + little(UInt32.max)) == name)
            #expect(try key(name, little(UInt32(8)) + GGUFBuilder.string("x")) == name)
        }
        #expect(try key("general.alignment", little(UInt32(4)) + little(UInt32(48))) == "general.alignment")
        #expect(try key("tokenizer.ggml.tokens", nil) == "tokenizer.ggml.tokens")
        #expect(try key("tokenizer.ggml.token_type", little(UInt32(9)) + little(UInt32(5)) + little(UInt64(1)) + little(UInt32(1))) == "tokenizer.ggml.token_type")
        var builder = try TinyLlama(seed: 8).gguf()
        builder.tensors.removeAll { $0.name == "blk.1.attn_v.weight" }
        guard case .missingTensor(_, "model.layers.1.self_attn.v_proj.weight", [16, 32]) = fault({ () throws(CheckpointError) in _ = try checkpoint(builder) }) else { Issue.record("missing"); return }
        builder = try TinyLlama(seed: 8).gguf()
        builder.tensors[2].shape = [16, 64]
        guard case .shapeMismatch(_, _, [32, 32], [16, 64]) = fault({ () throws(CheckpointError) in _ = try checkpoint(builder) }) else { Issue.record("shape"); return }
    }
}
