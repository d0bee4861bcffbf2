import Foundation
import Tensors
import Testing

@testable import Checkpoints
@testable import Models

/// Decoding, from weights as stored and from a transformer's: equal to a full forward by definition.
@Suite("Decoder") struct DecoderTests {
    static let types: [ElementType] = [.f32, .f16, .q4_0, .q4_1, .q8_0, .q4_K, .q6_K]

    @Test("weights as stored give the logits of the dequantised ones, bit for bit", arguments: types) func stored(type: ElementType) throws {
        let path = try storedModel(type, embedding: type == .q4_K ? .q6_K : .q8_0)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.isQuantized)
        let compute = try Compute(threads: 2)
        let (decoder, model) = (try Decoder(stored: checkpoint, compute: compute), try Transformer(checkpoint, compute: compute, precision: .fp32, trains: false))
        let (prompt, continuation) = (tokens(37, seed: 1), tokens(40, seed: 2))
        let stored = try decoder.logits(prompt: prompt, continuation: continuation).array
        let full = try model.logits(of: prompt + continuation).rows(36..<76).array
        let largest = zip(stored, full).map { abs($0 - $1) }.max() ?? 0
        #expect(stored == full, "\(type): logits differ by \(largest): \(stored[0]) and \(full[0])")
        #expect(full.allSatisfy(\.isFinite) && Set(full).count > 100, "logits such as \(full.prefix(3))")
    }

    @Test("a step's logits do not depend on the batch, the threads or the path's neighbours", arguments: KernelPath.available) func batched(path: KernelPath) throws {
        let file = try storedModel(.q4_1, heads: 6, keyValueHeads: 2, headSize: 32)
        defer { try? FileManager.default.removeItem(atPath: file) }
        let checkpoint = try Checkpoint.open(file)
        let prompts = (0..<9).map { tokens(5 + 13 * $0, seed: UInt64($0)) }
        var sampling = Sampling()
        (sampling.maxNewTokens, sampling.topK, sampling.topP) = (20, 20, 0.95)
        let together = try Generator(decoder: Decoder(stored: checkpoint, compute: Compute(threads: 3, path: path))).generate(prompts: prompts, sampling: sampling)
        let single = Generator(decoder: try Decoder(stored: checkpoint, compute: Compute(threads: 1, path: path)))
        for (i, prompt) in prompts.enumerated() {
            let alone = try single.generate(prompts: [prompt], firstPrompt: i, sampling: sampling)[0]
            #expect(alone == together[i], "prompt \(i): \(alone.tokens) and \(together[i].tokens)")
        }
    }

    @Test("steps under bf16 stay near the training kernels") func bf16() throws {
        let model = try tinyModel(tinyConfig(), threads: 2, precision: .bf16)
        let (prompt, continuation) = (tokens(33, seed: 1), tokens(30, seed: 2))
        let decoded = try model.decodingLogits(prompt: prompt, continuation: continuation).array
        let full = try model.logits(of: prompt + continuation).rows(32..<62).array
        let distance = relativeDistance(decoded, full)
        #expect(distance < 1e-2, "logits differ by \(distance) relative: \(decoded[0]) and \(full[0])")
    }

    @Test("truncated weights and unknown tokens are typed errors") func errors() throws {
        let path = try storedModel(.q4_1)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let checkpoint = try Checkpoint.open(path)
        let decoder = try Decoder(stored: checkpoint, compute: Compute(threads: 1))
        #expect(throws: ModelError.tokenOutOfRange(token: 61, vocabulary: 61)) { try Generator(decoder: decoder).generate(prompts: [[3, 61]], sampling: Sampling()) }
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: 100_000)
        try handle.close()
        #expect(throws: CheckpointError.changed(file: path)) { try Decoder(stored: checkpoint, compute: Compute(threads: 2)) }
        #expect(throws: CheckpointError.self) { try Checkpoint.open(path) }
    }

    /// The rule as it is stated, over all weights in double precision.
    private func expectedSet(_ z: [Float], _ s: Sampling) -> Set<Int32> {
        let top = z.max()!, w = z.map { Double(exp(($0 - top) / Float(s.temperature))) }
        var order = z.indices.sorted { w[$0] > w[$1] }
        if s.topK > 0, s.topK < z.count { order = Array(order.prefix(s.topK)) }
        let mass = order.reduce(0) { $0 + w[$1] }
        var (sum, kept) = (0.0, Set<Int32>())
        for i in order {
            if w[i] >= s.minP { kept.insert(Int32(i)) }
            sum += w[i]
            if s.topP < 1, sum >= s.topP * mass { break }
        }
        return kept
    }

    @Test("filters keep what they say", arguments: [(0, 0.9, 0.0), (5, 1, 0), (50, 0.7, 0), (0, 1, 0.1), (300, 0.99, 0.001), (0, 0.999999, 0), (7000, 1, 0)])
    func filters(topK: Int, topP: Double, minP: Double) throws {
        let logits = Matrix(rows: 2, columns: 8000)
        var random = RandomStream(seed: 1, stream: 1, index: 1)
        // A peaked and an almost flat row.
        for i in 0..<8000 { (logits.pointer[i], logits.pointer[8000 + i]) = (Float(random.normal() * 3), Float(random.normal() * 0.01)) }
        var sampling = Sampling()
        (sampling.topK, sampling.topP, sampling.minP) = (topK, topP, minP)
        let drawing = Drawing(rows: 400, vocabulary: 8000, compute: try Compute(threads: 2)), rules = drawing.rules(sampling)
        for row in 0..<400 { drawing.ask(row: row, logits: row % 2, rules: rules, stream: UInt64(row), index: 0) }
        drawing.draw(logits, rows: 400)
        for parity in 0..<2 {
            let z = Array(logits.array[parity * 8000..<parity * 8000 + 8000]), kept = expectedSet(z, sampling)
            let drawn = (0..<400).filter { $0 % 2 == parity }.map { drawing.drawn[$0] }
            let strays = drawn.filter { !kept.contains($0.token) }
            #expect(strays.isEmpty, "row \(parity): \(strays.prefix(3)) drawn, \(kept.count) kept")
            #expect(Set(drawn.map(\.token)).count > min(kept.count / 4, 20), "\(Set(drawn.map(\.token)).count) different of \(kept.count)")
            let top = z.max()!, total = z.reduce(0) { $0 + exp(Double($1 - top)) }
            for (token, logProb) in drawn {
                let expected = Double(z[Int(token)] - top) - log(total)
                #expect(abs(logProb - expected) < 1e-5, "log-prob \(logProb), expected \(expected)")
            }
        }
    }
}
