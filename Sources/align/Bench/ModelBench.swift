import Checkpoints
import Foundation
import Models
import Tensors
import Training

/// A model's training step and its decoding.
struct ModelBench {
    private let checkpoint: Checkpoint
    private let precision: Precision
    private let compute: Compute

    init(_ checkpoint: Checkpoint, precision: Precision, on compute: Compute) throws {
        (self.checkpoint, self.precision, self.compute) = (checkpoint, precision, compute)
    }

    private func tokens(_ count: Int, _ index: UInt64) -> [Int32] {
        var random = RandomStream(seed: 1, stream: 2, index: index)
        return (0..<count).map { _ in Int32(random.next() % UInt64(checkpoint.config.vocabularySize)) }
    }

    /// A whole DPO step: forward, backward, norm, AdamW, packing.
    /// - Parameter peak: GFLOP/s of the fastest product.
    func step(_ shape: (pairs: Int, prompt: Int, completion: Int), rounds: Int, peak: Double) throws -> [Figure] {
        let model = try Transformer(checkpoint, compute: compute, precision: precision)
        let optimizer = AdamW(model, settings: AdamW.Settings(), compute: compute)
        var batch = SegmentTree()
        for pair in 0..<shape.pairs {
            let prompt = batch.append(tokens(shape.prompt, UInt64(3 * pair)))
            for side in 1...2 { batch.addRow(segment: batch.append(tokens(shape.completion, UInt64(3 * pair + side)), parent: prompt)) }
        }
        // Half of the log-probs up, half down: the gradient of a pair's loss at the start.
        let gradient = (0..<2 * shape.pairs).flatMap { row in [Double](repeating: row % 2 == 0 ? -0.05 : 0.05, count: shape.completion) }
        let seconds = try Figure.seconds(rounds: rounds) {
            _ = try model.logProbs(of: batch)
            try model.backward(gradient)
            optimizer.update(model, learningRate: 1e-9, gradientNorm: optimizer.gradientNorm(of: model))
        }
        let operations = 3e-9 * Transformer.forwardOperations(config: checkpoint.config, batch: batch)
        let rate = Figure("", seconds.map { operations / $0 }, "GFLOP/s")
        return [
            Figure("training step, \(shape.pairs) pairs of \(shape.prompt)+\(shape.completion)", seconds.map { Double(batch.plainTokenCount) / $0 }, "tokens/s"),
            Figure("training step, arithmetic", rate.values, "GFLOP/s", note: peak > 0 ? formatted(100 * rate.median / peak, "%.0f %% of products") : ""),
        ]
    }

    /// Reading a prompt of 512 tokens, and 64 tokens after it, alone and 8 at a time.
    func decode(rounds: Int) throws -> [Figure] {
        let model = try Transformer(checkpoint, compute: compute, precision: precision, trains: false)
        var batch = SegmentTree()
        let root = batch.append(tokens(512, 0))
        batch.addRow(segment: root, mask: (0..<512).map { $0 == 511 })
        let prefill = try Figure.seconds(rounds: rounds) { _ = try model.scores(of: batch) }
        var figures = [Figure("prompt reading, 512 tokens", prefill.map { 512 / $0 }, "tokens/s")]
        for count in [1, 8] {
            var sampling = Sampling()
            (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, 64, [])
            let prompts = (0..<count).map { tokens(16, UInt64($0)) }
            let seconds = try Figure.seconds(rounds: rounds) { _ = try Generator(model: model).generate(prompts: prompts, sampling: sampling) }
            figures.append(Figure("decoding, \(count) at a time", seconds.map { 64 * Double(count) / $0 }, "tokens/s"))
        }
        return figures
    }
}
