import Checkpoints
import Foundation
import Models
import Tensors
import Testing

/// bf16 products and activations beside fp32's.
@Suite("bf16", .serialized) struct HalfPrecisionTests {
    /// Pairs of a prompt and two completions, and the gradient of a preference loss at its start.
    func gradient(_ model: Transformer, pairs: Int, prompt: Int, completion: Int) throws -> [Float] {
        let vocabulary = model.config.vocabularySize
        var batch = SegmentTree()
        for pair in 0..<UInt64(pairs) {
            let root = batch.append(tokens(prompt, vocabulary: vocabulary, seed: 3 * pair))
            for side in 1...2 { batch.addRow(segment: batch.append(tokens(completion, vocabulary: vocabulary, seed: 3 * pair + UInt64(side)), parent: root)) }
        }
        model.gradients.clear()
        let scores = try model.logProbs(of: batch).logProbs
        try model.backward((0..<scores.rows).flatMap { row in [Double](repeating: row % 2 == 0 ? -0.05 : 0.05, count: scores.count(row)) })
        return model.gradients.array
    }

    /// ‖a‖/‖b‖ and the cosine of the angle between them.
    func compared(_ a: [Float], _ b: [Float]) -> (norms: Double, cosine: Double) {
        var (aa, bb, ab) = (0.0, 0.0, 0.0)
        for (x, y) in zip(a, b) {
            aa += Double(x) * Double(x)
            bb += Double(y) * Double(y)
            ab += Double(x) * Double(y)
        }
        return ((aa / bb).squareRoot(), ab / (aa * bb).squareRoot())
    }

    @Test("SmolLM2's gradient (where the file is there) is fp32's within 2 % in norm and 0.999 in cosine, the same for 1 and 2 threads") func real() throws {
        guard let path = Checkpoint.defaultModel() else { return print("note: no cached SmolLM2-135M-Instruct.Q4_1.gguf; its bf16 gradient is not compared") }
        let checkpoint = try Checkpoint.open(path)
        func run(_ precision: Precision, threads: Int) throws -> [Float] {
            let model = try Transformer(checkpoint, compute: Compute(threads: threads), precision: precision)
            // Rows enough for results to be handed on from the cache with two threads.
            return try gradient(model, pairs: 2, prompt: 160, completion: 160)
        }
        let half = try run(.bf16, threads: 2)
        #expect(try half == run(.bf16, threads: 1), "1 and 2 threads differ")
        let (norms, cosine) = compared(half, try run(.fp32, threads: 2))
        print("SmolLM2's bf16 gradient over fp32's: norm \(norms), cosine \(cosine)")
        #expect(abs(norms - 1) < 0.02, "norms' ratio \(norms)")
        #expect(cosine > 0.999, "cosine \(cosine)")
    }

    @Test("a tiny model's gradient is fp32's to a few parts in a hundred", arguments: KernelPath.available) func tiny(path: KernelPath) throws {
        let config = try tinyConfig()
        let half = try gradient(tinyModel(config, threads: 2, path: path, precision: .bf16), pairs: 4, prompt: 90, completion: 60)
        #expect(try half == gradient(tinyModel(config, threads: 1, path: path, precision: .bf16), pairs: 4, prompt: 90, completion: 60), "\(path): 1 and 2 threads differ")
        let (norms, cosine) = try compared(half, gradient(tinyModel(config, threads: 2, path: path), pairs: 4, prompt: 90, completion: 60))
        #expect(abs(norms - 1) < 0.03 && cosine > 0.998, "\(path): norms' ratio \(norms), cosine \(cosine)")
    }
}
