import Foundation
import Testing

@testable import Checkpoints

@Suite("Checkpoints against independent references") struct GoldenTests {
    @Test("blocks decode exactly, and encode as ggml's reference does", arguments: ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"])
    func blocks(name: String) throws {
        guard let folder = sharedFolder("gguf") else { return }
        let file = try SafetensorsFile(path: folder + "/quant.safetensors")
        let type = try #require(ElementType(rawValue: name)), bytes = try file.bytes(name + ".bytes"), expected = try file.floats(name + ".expected")
        var found = [Float](repeating: .nan, count: expected.count)
        #expect(type.bytes(of: expected.count) == bytes.count)
        bytes.withUnsafeBytes { type.decode($0.baseAddress!, into: &found, count: expected.count) }
        for (index, (a, b)) in zip(found, expected).enumerated() where a.bitPattern != b.bitPattern && a != b {
            Issue.record("\(name)[\(index)]: \(a), expected \(b)")
        }
        let source = try file.floats("source")
        guard source.count == expected.count, type.blockElements < 256 else { return }
        var encoded = [UInt8](repeating: 0, count: bytes.count)
        encoded.withUnsafeMutableBytes { #expect(type.encode(source, into: $0.baseAddress!, count: source.count)) }
        let differing = zip(encoded, bytes).count { $0 != $1 }
        #expect(differing == 0, "\(name): \(differing) of \(bytes.count) bytes differ from the reference's")
    }

    @Test("llama-f32.gguf holds exactly the weights of models/llama") func llama() throws {
        guard let folder = sharedFolder("gguf"), let models = sharedFolder("models") else { return }
        let gguf = try Checkpoint.open(folder + "/llama-f32.gguf"), model = try Checkpoint.open(models + "/llama")
        for name in model.tensors.keys.sorted() { #expect(try gguf.floats(name) == model.floats(name), "\(name) differs") }
        #expect(gguf.tensors.count == model.tensors.count && gguf.tokenizer != nil && gguf.chatTemplate?.source == model.chatTemplate?.source)
        var (a, b) = (gguf.config, model.config)
        (a.raw, b.raw) = (.null, .null)
        #expect(a == b, "\(a)\n\(b)")
    }

    @Test("llama-q8_0.gguf is within a quantisation step of models/llama") func quantised() throws {
        guard let folder = sharedFolder("gguf"), let models = sharedFolder("models") else { return }
        let gguf = try Checkpoint.open(folder + "/llama-q8_0.gguf"), model = try Checkpoint.open(models + "/llama")
        for name in model.tensors.keys.sorted() {
            let found = try gguf.floats(name), expected = try model.floats(name)
            let most = expected.map(abs).max() ?? 0, error = zip(found, expected).map { abs($0 - $1) }.max() ?? 0
            #expect(error <= most / 127 * 0.51 + most * 0x1p-11, "\(name): off by \(error), largest weight \(most)")
        }
    }

    @Test("rope_freqs.weight are the divisors of Llama 3's formula") func divisors() throws {
        guard let folder = sharedFolder("gguf"), let models = sharedFolder("models") else { return }
        let model = try Checkpoint.open(models + "/llama-rope3"), gguf = try Checkpoint.open(folder + "/llama-rope3-f16.gguf")
        guard case let .llama3(factor, low, high, original) = model.config.ropeScaling, case let .divisors(found) = gguf.config.ropeScaling else {
            Issue.record("\(model.config.ropeScaling) \(gguf.config.ropeScaling)")
            return
        }
        #expect(found.count == model.config.headDimension / 2)
        for (i, divisor) in found.enumerated() {
            let frequency = pow(model.config.ropeTheta, -2 * Double(i) / Double(model.config.headDimension))
            let turns = Double(original) * frequency / (2 * Double.pi)
            let share = min(1, max(0, (turns - low) / (high - low)))
            let expected = 1 / ((1 - share) / factor + share)
            #expect(abs(Double(divisor) - expected) < 1e-4 * expected, "pair \(i): \(divisor), expected \(expected)")
        }
        #expect(gguf.config.tiesEmbeddings && gguf.tensors["lm_head.weight"] == nil)
    }

    @Test("every model of the families read here opens; the others are named", arguments: [
        "llama", "llama-bf16", "llama-f16", "llama-rope3", "llama-reward", "mistral", "qwen2", "gemma2", "gpt2",
    ])
    func opens(name: String) throws {
        guard let models = sharedFolder("models") else { return }
        if name.hasPrefix("llama") || name == "mistral" {
            let model = try Checkpoint.open(models + "/" + name)
            #expect(model.config.scoresSequences == (name == "llama-reward") && model.tokenizer != nil && model.chatTemplate != nil)
            for tensor in model.tensors.keys { #expect(try model.floats(tensor).allSatisfy { $0.isFinite }) }
            #expect(try ModelConfig(json: model.config.json(dtype: "F32"), file: "again").requiredTensors().map(\.name) == model.config.requiredTensors().map(\.name))
            if name == "mistral" { #expect(model.config.slidingWindows == [12, 12, 12]) }
        } else {
            guard case .unsupported(_, _, "model_type", name, _) = fault({ () throws(CheckpointError) in _ = try Checkpoint.open(models + "/" + name) }) else { Issue.record("\(name) was not refused"); return }
        }
    }

    @Test("SmolLM2-135M loads with two threads (where the file is there); the time is printed") func realFile() async throws {
        guard let path = Checkpoint.defaultModel() else {
            print("note: no cached SmolLM2-135M-Instruct.Q4_1.gguf; its load time is not measured")
            return
        }
        let clock = ContinuousClock()
        let opening = clock.now
        let model = try Checkpoint.open(path)
        let opened = clock.now - opening
        #expect(model.config.hiddenSize == 576 && model.config.layers == 30 && model.config.tiesEmbeddings && model.config.vocabularySize == 49152)
        let names = model.tensors.keys.sorted(), counts = names.map { model.tensors[$0]!.count }
        let offsets = counts.reduce(into: [0]) { $0.append($0.last! + $1) }
        let total = offsets.last!
        for round in ["first", "second"] {
            nonisolated(unsafe) let weights = UnsafeMutableBufferPointer<Float>.allocate(capacity: total)  // each tensor has its own part
            defer { weights.deallocate() }
            let start = clock.now
            await withTaskGroup(of: CheckpointError?.self) { group in
                for half in 0..<2 {
                    group.addTask {
                        for index in stride(from: half, to: names.count, by: 2) {
                            do throws(CheckpointError) {
                                try model.read(names[index], into: UnsafeMutableBufferPointer(rebasing: weights[offsets[index]..<offsets[index + 1]]))
                            } catch { return error }
                        }
                        return nil
                    }
                }
                for await error in group { #expect(error == nil) }
            }
            print("SmolLM2-135M Q4_1: opened in \(opened), \(total) weights read with 2 threads in \(clock.now - start) (\(round) time)")
            #expect(weights.allSatisfy { $0.isFinite })
        }
        let start = clock.now
        let hash = try model.contentHash(), first = clock.now - start
        #expect(try model.contentHash() == hash)
        print("SmolLM2-135M Q4_1: content hash \(hash.prefix(12))… in \(first), again in \(clock.now - start - first)")
    }
}
