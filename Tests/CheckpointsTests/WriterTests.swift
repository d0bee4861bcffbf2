import Foundation
import Serialization
import Testing

@testable import Checkpoints

@Suite("CheckpointWriter and AtomicFolder") struct WriterTests {
    let folder = TemporaryFolder()

    func save(_ model: TinyLlama, dtype: WeightType = .f32, replaces: Bool = false, extra: [String: [UInt8]] = [:], to name: String = "out") throws(CheckpointError) {
        try CheckpointWriter.save(.init(config: model.config), tensors: model.sources, dtype: dtype, extraFiles: extra, replaces: replaces, to: folder(name))
    }
    /// Nothing but `names` is in the folder, hidden files included.
    func expectOnly(_ names: [String]) throws { #expect(try Files.names(in: folder.path) == names) }

    @Test("the layout is what transformers loads") func layout() throws {
        let model = try TinyLlama(seed: 1)
        let gguf = try Checkpoint.open(folder.write("a.gguf", model.gguf().bytes()))
        let sources = model.sources.reversed().map { $0 }
        try CheckpointWriter.save(.init(gguf), tensors: sources, dtype: .bf16, extraFiles: ["note.txt": [65]], to: folder("new/out/"))
        #expect(try Files.names(in: folder("new/out")) == [
            "chat_template.jinja", "config.json", "generation_config.json", "manifest.json", "model.safetensors", "note.txt", "tokenizer.json", "tokenizer_config.json",
        ])
        let bytes = try InputFile.contents(folder("new/out/model.safetensors"), limit: 1 << 20)
        let length = Int(bytes[0]) | Int(bytes[1]) << 8
        #expect(length % 8 == 0, "the header has \(length) bytes")
        let file = try SafetensorsFile(path: folder("new/out/model.safetensors"))
        #expect(file.metadata == ["format": "pt"] && file.names == file.names.sorted())
        #expect(file.names.last.map { file.stored[$0]!.offset + file.stored[$0]!.bytes } == bytes.count)
        let config = try JSON.parse(InputFile.contents(folder("new/out/config.json"), limit: 1 << 20))
        #expect(config["architectures"] == ["LlamaForCausalLM"] && config["torch_dtype"]?.string == "bfloat16" && config["rope_theta"]?.double == 10000)
        #expect(config["hidden_size"]?.int == 32 && config["head_dim"]?.int == 8 && config["tie_word_embeddings"]?.bool == false)
        try AtomicFolder.verifyManifest(folder("new/out"))
    }

    @Test("tensors must be those of the config, before anything is written") func checked() throws {
        let model = try TinyLlama(seed: 1)
        var sources = model.sources
        let removed = sources.remove(at: 3)
        func save() throws(CheckpointError) { try CheckpointWriter.save(.init(config: model.config), tensors: sources, dtype: .f32, to: folder("out")) }
        #expect(fault { () throws(CheckpointError) in try save() } == .missingTensor(file: folder("out"), tensor: removed.name, shape: removed.shape))
        sources.append(TensorSource(name: removed.name, shape: [1, 1]) { (_, _) throws(CheckpointError) in })
        #expect(fault { () throws(CheckpointError) in try save() } == .shapeMismatch(file: folder("out"), tensor: removed.name, expected: removed.shape, found: [1, 1]))
        try expectOnly([])
    }

    @Test("a value beyond F16 is named, and nothing is left") func range() throws {
        var model = try TinyLlama(seed: 1)
        model.weights["model.norm.weight"]![5] = -70000
        let error = fault { () throws(CheckpointError) in try save(model, dtype: .f16) }
        #expect(error == .notRepresentable(tensor: "model.norm.weight", index: 5, value: -70000, dtype: "F16"))
        try expectOnly([])
        model.weights["model.norm.weight"]![5] = 65504
        try save(model, dtype: .f16)
    }

    @Test("an existing target is kept unless asked; only a saved folder is replaced") func existing() throws {
        let a = try TinyLlama(seed: 1), b = try TinyLlama(seed: 2)
        try save(a, extra: ["old.txt": []])
        #expect(fault { () throws(CheckpointError) in try save(b) } == .alreadyExists(path: folder("out")))
        #expect(try Checkpoint.open(folder("out")).floats("lm_head.weight") == a.weights["lm_head.weight"]!)
        try save(b, replaces: true)
        #expect(try Checkpoint.open(folder("out")).floats("lm_head.weight") == b.weights["lm_head.weight"]!)
        #expect(!Files.exists(folder("out/old.txt")))
        try FileManager.default.createDirectory(atPath: folder("precious"), withIntermediateDirectories: true)
        folder.write("precious/thesis.txt", "x")
        #expect(fault { () throws(CheckpointError) in try save(b, replaces: true, to: "precious") } == .alreadyExists(path: folder("precious")))
        folder.write("file", "x")
        #expect(fault { () throws(CheckpointError) in try save(b, replaces: true, to: "file") } == .alreadyExists(path: folder("file")))
        try expectOnly(["file", "out", "precious"])
    }

    @Test("a full disk is a typed error, and nothing is left") func fullDisk() throws {
        let target = folder("out")
        let error = fault { () throws(CheckpointError) in
            let atomic = try AtomicFolder(target)
            symlink("/dev/full", atomic.temporary + "/a.bin")
            try atomic.write("a.bin", [UInt8](repeating: 1, count: 100_000))
            try atomic.commit()
        }
        guard case .system(_, "write", ENOSPC) = error else { Issue.record("\(String(describing: error))"); return }
        try expectOnly([])
    }

    @Test("a folder that may not be written to is a typed error") func permission() {
        // /proc takes no folders from anyone, root included.
        guard case .system = fault({ () throws(CheckpointError) in _ = try AtomicFolder("/proc/align-test") }) else { Issue.record("/proc"); return }
        guard case .system = fault({ () throws(CheckpointError) in _ = try AtomicFolder("/dev/null/a/b") }) else { Issue.record("/dev/null"); return }
        guard case .notACheckpoint = fault({ () throws(CheckpointError) in _ = try AtomicFolder("/") }) else { Issue.record("/"); return }
    }

    @Test("without a commit nothing is left, and what a killed process left is removed") func leftovers() throws {
        try FileManager.default.createDirectory(atPath: folder(".out.999999999.0.partial"), withIntermediateDirectories: true)
        folder.write(".out.999999999.0.partial/big", "x")
        do {
            let atomic = try AtomicFolder(folder("out"))
            try atomic.write("a", [1])
            #expect(try Files.names(in: folder.path).count == 1)
        }
        try expectOnly([])
        let atomic = try AtomicFolder(folder("out"))
        try atomic.write("b", ["k": 1])
        try atomic.commit()
        try expectOnly(["out"])
        #expect(try Files.names(in: folder("out")) == ["b", "manifest.json"])
    }

    @Test("a file is replaced whole") func singleFile() throws {
        let path = folder("f.json")
        try AtomicFolder.writeFile(path, [1, 2])
        try AtomicFolder.writeFile(path, [3])
        #expect(try InputFile.contents(path, limit: 10) == [3])
        guard case .system = fault({ () throws(CheckpointError) in try AtomicFolder.writeFile("/dev/null/f", [1]) }) else { Issue.record("written"); return }
        try expectOnly(["f.json"])
    }

    @Test("verification names what is missing, of another size or of other content") func manifest() throws {
        try save(try TinyLlama(seed: 1))
        let out = folder("out"), weights = out + "/model.safetensors"
        func verify() -> CheckpointError? { fault { () throws(CheckpointError) in try AtomicFolder.verifyManifest(out) } }
        try AtomicFolder.verifyManifest(out)
        var bytes = try InputFile.contents(weights, limit: 1 << 20)
        bytes[bytes.count - 1] ^= 1
        folder.write("out/model.safetensors", bytes)
        guard case let .incomplete(weights, found, _) = verify(), found.hasPrefix("SHA-256") else { Issue.record("one bit"); return }
        truncate(weights, 100)
        #expect(verify() == .incomplete(file: weights, found: "100 bytes", expected: "\(bytes.count) bytes"))
        unlink(weights)
        #expect(verify() == .incomplete(file: weights, found: "no such file", expected: "\(bytes.count) bytes"))
        for text in [#"{"../x": {"size": 1, "sha256": "0"}}"#, #"{"x": 1}"#, "[]"] {
            folder.write("out/manifest.json", text)
            guard case .invalidValue = verify() else { Issue.record(Comment(rawValue: text)); continue }
        }
        folder.write("out/manifest.json", "{")
        guard case .invalidJSON = verify() else { Issue.record("JSON"); return }
        unlink(out + "/manifest.json")
        guard case .incomplete = verify() else { Issue.record("no manifest"); return }
    }

    @Test("a changed file is told from a full disk in words") func descriptions() {
        #expect(CheckpointError.changed(file: "a").description.contains("changed since"))
        #expect(CheckpointError.system(file: "a", operation: "write", code: ENOSPC).description.contains("Free some space"))
        #expect(CheckpointError.system(file: "a", operation: "open", code: EACCES).description.contains("permissions"))
        #expect(CheckpointError.unsupported(file: "a", line: 3, key: "k", found: "f", supported: ["x", "y"]).description == "a:3: \"k\" is \"f\"; this build reads x, y. Convert the checkpoint first.")
    }
}
