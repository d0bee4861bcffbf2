import Foundation
import Serialization
import Testing

@testable import Checkpoints

@Suite("Checkpoint") struct CheckpointTests {
    let folder = TemporaryFolder()

    func saved(_ name: String = "model", seed: UInt64 = 1, dtype: WeightType = .f32, shardBytes: Int = 5_000_000_000) throws -> (TinyLlama, String) {
        let model = try TinyLlama(seed: seed)
        try CheckpointWriter.save(.init(config: model.config), tensors: model.sources, dtype: dtype, shardBytes: shardBytes, to: folder(name))
        return (model, folder(name))
    }
    func open(_ path: String) throws(CheckpointError) { _ = try Checkpoint.open(path) }

    @Test("what was saved is read, in one file or in shards", arguments: WeightType.allCases, [5_000_000_000, 10_000])
    func roundTrip(dtype: WeightType, shardBytes: Int) throws {
        let (model, path) = try saved(dtype: dtype, shardBytes: shardBytes)
        let read = try Checkpoint.open(path)
        #expect(read.tensors.count == model.weights.count)
        for (name, values) in model.weights {
            #expect(try read.floats(name) == values, "\(name) differs")  // the values are exact in every type
            #expect(read.tensors[name]?.dtype == dtype.rawValue)
        }
        #expect(read.config.raw["torch_dtype"]?.string == ["F32": "float32", "BF16": "bfloat16", "F16": "float16"][dtype.rawValue])
        #expect(read.generationConfig?["eos_token_id"]?.int == 2)
        let shards = try Files.names(in: path).filter { $0.hasSuffix(".safetensors") }
        #expect((shards.count > 1) == (shardBytes == 10_000) && shards.first == (shards.count > 1 ? "model-00001-of-000\(shards.count < 10 ? "0" : "")\(shards.count).safetensors" : "model.safetensors"), "\(shards)")
        try AtomicFolder.verifyManifest(path)
    }

    @Test("a weights file alone opens with its folder's config, a link to a GGUF file by its content") func otherPaths() throws {
        let (model, path) = try saved()
        #expect(try Checkpoint.open(path + "/model.safetensors").floats("model.norm.weight") == model.weights["model.norm.weight"]!)
        try FileManager.default.createDirectory(atPath: folder("g"), withIntermediateDirectories: true)
        folder.write("g/a.gguf", model.gguf().bytes())
        #expect(try Checkpoint.open(folder("g")).floats("model.norm.weight") == model.weights["model.norm.weight"]!)
        symlink(folder("g/a.gguf"), folder("blob"))
        #expect(try Checkpoint.open(folder("blob")).config.layers == 2)
    }

    @Test("several threads may read at once") func concurrent() async throws {
        let (model, path) = try saved(dtype: .bf16)
        let read = try Checkpoint.open(path)
        let gguf = try Checkpoint.open(folder.write("a.gguf", model.gguf(type: .q8_0).bytes()))
        let expected = try gguf.floats("model.layers.0.self_attn.q_proj.weight")
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<50 {
                        guard (try? read.floats("lm_head.weight")) == model.weights["lm_head.weight"]!,
                            (try? gguf.floats("model.layers.0.self_attn.q_proj.weight")) == expected
                        else { return false }
                    }
                    return true
                }
            }
            for await isSame in group { #expect(isSame) }
        }
    }

    @Test("paths that hold no checkpoint are named") func noCheckpoint() throws {
        #expect(fault { () throws(CheckpointError) in try open(folder("none")) } == .system(file: folder("none"), operation: "open", code: ENOENT))
        for setup in [{ folder.path }, { folder.write("x.txt", "hello") }] {
            let path = setup()
            guard case .notACheckpoint(path, _, _) = fault({ () throws(CheckpointError) in try open(path) }) else { Issue.record(Comment(rawValue: path)); continue }
        }
        folder.write("config.json", TinyLlama.configText)
        guard case .notACheckpoint = fault({ () throws(CheckpointError) in try open(folder.path) }) else { Issue.record("no weights"); return }
        folder.write("pytorch_model.bin", "x")
        guard case .unsupported(_, _, "weights", _, _) = fault({ () throws(CheckpointError) in try open(folder.path) }) else { Issue.record("pickle"); return }
        folder.write("config.json", "{")
        guard case .invalidJSON = fault({ () throws(CheckpointError) in try open(folder.path) }) else { Issue.record("JSON"); return }
        folder.write("config.json", "[]")
        guard case .invalidValue = fault({ () throws(CheckpointError) in try open(folder.path) }) else { Issue.record("array"); return }
        folder.write("config.json", String(repeating: " ", count: 17 << 20))
        guard case .malformed = fault({ () throws(CheckpointError) in try open(folder.path) }) else { Issue.record("17 MB of config"); return }
    }

    @Test("weights that do not fit the config are named") func mismatch() throws {
        let (_, path) = try saved()
        func reconfigure(_ key: String, _ value: JSON) throws -> CheckpointError? {
            var object = try JSON.parse(TinyLlama.configText).object!
            object[key] = value
            folder.write("model/config.json", JSON.object(object).text())
            return fault { () throws(CheckpointError) in try open(path) }
        }
        #expect(try reconfigure("vocab_size", 21) == .shapeMismatch(file: path, tensor: "model.embed_tokens.weight", expected: [21, 32], found: [20, 32]))
        #expect(try reconfigure("num_hidden_layers", 3) == .missingTensor(file: path, tensor: "model.layers.2.input_layernorm.weight", shape: [32]))
        #expect(try reconfigure("attention_bias", true) == .missingTensor(file: path, tensor: "model.layers.0.self_attn.q_proj.bias", shape: [32]))
        folder.write("model/config.json", TinyLlama.configText)
        let read = try Checkpoint.open(path)
        #expect(fault { () throws(CheckpointError) in _ = try read.floats("x") } == .missingTensor(file: path, tensor: "x", shape: []))
        folder.write("model/tokenizer.json", "[]")
        guard case .tokenizer = fault({ () throws(CheckpointError) in try open(path) }) else { Issue.record("tokenizer"); return }
    }

    @Test("integer weights are refused") func integers() throws {
        let (_, path) = try saved()
        var bytes = try InputFile.contents(path + "/model.safetensors", limit: 1 << 20)
        let header = 8..<(8 + Int(bytes[0]) + Int(bytes[1]) << 8)
        for i in header where bytes[i] == UInt8(ascii: "F") && bytes[i + 1] == UInt8(ascii: "3") { bytes[i] = UInt8(ascii: "I") }
        folder.write("model/model.safetensors", bytes)
        guard case .unsupported(_, _, "dtype of 'model.embed_tokens.weight'", "I32", _) = fault({ () throws(CheckpointError) in try open(path) }) else { Issue.record("I32 passed"); return }
    }

    @Test("an index must name plain files that hold what it says", arguments: [
        #"{"weight_map": {"lm_head.weight": "../model/model-00001-of-00002.safetensors"}}"#, #"{"weight_map": {"lm_head.weight": 7}}"#, #"{"weight_map": []}"#, "{}", "7",
    ])
    func index(text: String) throws {
        let (_, path) = try saved(shardBytes: 50_000)
        folder.write("model/model.safetensors.index.json", text)
        guard case .invalidValue = fault({ () throws(CheckpointError) in try open(path) }) else { Issue.record("not refused"); return }
        let shard = try #require(try Files.names(in: path).first { $0.hasSuffix(".safetensors") })
        folder.write("model/model.safetensors.index.json", "{\"weight_map\": {\"none\": \"\(shard)\"}}")
        #expect(fault { () throws(CheckpointError) in try open(path) } == .missingTensor(file: path + "/" + shard, tensor: "none", shape: []))
        folder.write("model/model.safetensors.index.json", "{\"weight_map\": {\"none\": \"gone.safetensors\"}}")
        #expect(fault { () throws(CheckpointError) in try open(path) } == .system(file: path + "/gone.safetensors", operation: "open", code: ENOENT))
    }
}

/// These set ALIGN_CACHE for the process, one after the other.
@Suite("Content hash", .serialized) struct ContentHashTests {
    let folder = TemporaryFolder()

    func withCache(_ body: (String) throws -> Void) throws {
        let before = getenv("ALIGN_CACHE").map { String(cString: $0) }
        setenv("ALIGN_CACHE", folder("cache"), 1)
        defer { if let before { setenv("ALIGN_CACHE", before, 1) } else { unsetenv("ALIGN_CACHE") } }
        try body(folder("cache/hashes.json"))
    }
    func save(_ name: String, seed: UInt64, shardBytes: Int = 5_000_000_000) throws -> Checkpoint {
        let model = try TinyLlama(seed: seed)
        try CheckpointWriter.save(.init(config: model.config), tensors: model.sources, dtype: .f32, shardBytes: shardBytes, to: folder(name))
        return try Checkpoint.open(folder(name))
    }

    @Test("equal content has an equal hash, other weights or another config another one") func content() throws {
        try withCache { _ in
            let a = try save("a", seed: 1).contentHash(), b = try save("b", seed: 1).contentHash(), c = try save("c", seed: 2).contentHash()
            #expect(a == b && a != c && a.count == 64, "\(a) \(b) \(c)")
            folder.write("b/config.json", TinyLlama.configText.replacingOccurrences(of: "1e-05", with: "1e-06"))
            #expect(try Checkpoint.open(folder("b")).contentHash() != a)
        }
    }

    @Test("the hash is remembered, until the file changes; a damaged or impossible cache is no error") func cache() throws {
        try withCache { cachePath in
            let model = try save("a", seed: 1, shardBytes: 30_000)
            let hash = try model.contentHash()
            let cached = try JSON.parse(FileManager.default.contents(atPath: cachePath)!)
            #expect(cached.object?.count == (try Files.names(in: model.path).count { $0.hasSuffix(".safetensors") }))
            // A remembered value is used: put another in its place and it shows.
            let text = cached.text(), known = try #require(cached.object?.members.first?.value["sha256"]?.string)
            folder.write("cache/hashes.json", text.replacingOccurrences(of: known, with: String(repeating: "0", count: 64)))
            #expect(try model.contentHash() != hash)
            for damaged in ["", "{", "[]", "{\"\(folder("a"))/model-00001-of-00003.safetensors\": 7}", String(text.prefix(text.count / 2))] {
                folder.write("cache/hashes.json", damaged)
                #expect(try model.contentHash() == hash)
            }
            // The file is replaced by another of the same size: inode and time tell.
            let other = try save("c", seed: 2, shardBytes: 30_000)
            let shard = try #require(try Files.names(in: model.path).first { $0.hasSuffix(".safetensors") })
            rename(other.path + "/" + shard, model.path + "/" + shard)
            #expect(try Checkpoint.open(folder("a")).contentHash() != hash)
            setenv("ALIGN_CACHE", "/dev/null/none", 1)
            #expect(try Checkpoint.open(folder("a")).contentHash().count == 64)
            #expect(Checkpoint.defaultModel() == nil)
        }
    }

    @Test("the default model is looked for in the cache folder") func defaultModel() throws {
        try withCache { _ in
            #expect(Checkpoint.defaultModel() == nil)
            try FileManager.default.createDirectory(atPath: folder("cache/models"), withIntermediateDirectories: true)
            let path = folder.write("cache/models/SmolLM2-135M-Instruct.Q4_1.gguf", "x")
            #expect(Checkpoint.defaultModel() == path)
        }
    }

    @Test("a cached model is found by its name or the beginning of it, unless two are called so") func named() throws {
        try withCache { _ in
            #expect(Checkpoint.cachedModel(named: "SmolLM2") == nil)
            try FileManager.default.createDirectory(atPath: folder("cache/models"), withIntermediateDirectories: true)
            let path = folder.write("cache/models/SmolLM2-135M-Instruct.Q4_1.gguf", "x")
            for name in ["SmolLM2", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"] {
                let found = Checkpoint.cachedModel(named: name)
                #expect(found == path, "\(name): \(found ?? "none")")
            }
            for name in ["", "Smol", "SmolLM2-135M-Inst", "/SmolLM2"] { #expect(Checkpoint.cachedModel(named: name) == nil, "\(name)") }
            folder.write("cache/models/SmolLM2-360M.gguf", "x")
            #expect(Checkpoint.cachedModel(named: "SmolLM2") == nil)
        }
    }
}
