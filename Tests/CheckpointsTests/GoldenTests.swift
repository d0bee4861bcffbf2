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

    @Test("a GGUF file saved in the Hugging Face layout is the same model: weights, tokens, template", arguments: ["llama-f32", "llama-q8_0", "llama-rope3-f16"])
    func saved(name: String) throws {
        guard let folder = sharedFolder("gguf") else { return }
        let temporary = TemporaryFolder()
        let gguf = try Checkpoint.open(folder + "/\(name).gguf")
        var values: [String: [Float]] = [:]
        for tensor in gguf.tensors.keys { values[tensor] = try gguf.floats(tensor) }
        let sources = gguf.tensors.values.map { tensor in
            TensorSource(name: tensor.name, shape: tensor.shape) { (range, buffer) throws(CheckpointError) in
                for (place, index) in range.enumerated() { buffer[place] = values[tensor.name]![index] }
            }
        }
        try CheckpointWriter.save(.init(gguf), tensors: sources, dtype: .f32, to: temporary("saved"))
        let read = try Checkpoint.open(temporary("saved"))
        for tensor in gguf.tensors.keys { #expect(try read.floats(tensor) == values[tensor]!, "\(tensor) differs") }
        var (a, b) = (read.config, gguf.config)
        (a.raw, b.raw) = (.null, .null)
        #expect(a == b, "\(a)\n\(b)")
        #expect(read.chatTemplate?.source == gguf.chatTemplate?.source && read.chatTemplate != nil)
        for text in ["Hello, world!  2 + 2 = 4\n", "<|im_start|>user\nété 日本語<|im_end|>"] {
            let expected = gguf.tokenizer?.encode(text), found = read.tokenizer?.encode(text)
            #expect(found == expected && found != nil, "\(String(describing: found)), expected \(String(describing: expected))")
        }
    }
}
