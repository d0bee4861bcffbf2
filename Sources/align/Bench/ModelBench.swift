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
            optimizer.clearGradients(of: model)
        }
        let operations = 3e-9 * Transformer.forwardOperations(config: checkpoint.config, batch: batch)
        let rate = Figure("", seconds.map { operations / $0 }, "GFLOP/s")
        return [
            Figure("training step, \(shape.pairs) pairs of \(shape.prompt)+\(shape.completion)", seconds.map { Double(batch.plainTokenCount) / $0 }, "tokens/s"),
            Figure("training step, arithmetic", rate.values, "GFLOP/s", note: peak > 0 ? formatted(100 * rate.median / peak, "%.0f %% of products") : ""),
        ]
    }

    /// Reading a prompt of 512 tokens, and 64 tokens after a short one, alone, 8 and 32 at a time.
    ///
    /// Decoding one sequence is bounded by reading the weights: memory is measured beside it, round by round, and the share given.
    /// - Parameter stored: Whether the weights stay as the file stores them.
    func decode(rounds: Int, stored: Bool) throws -> [Figure] {
        let decoder = try stored ? Decoder(stored: checkpoint, compute: compute) : Decoder(Transformer(checkpoint, compute: compute, precision: precision, trains: false))
        let kind = stored ? "as stored" : precision.rawValue
        let memory = MemoryRead(on: compute)
        func run(_ prompts: [[Int32]], tokens: Int) throws -> (reading: Double, decoding: Double) {
            var sampling = Sampling()
            (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, tokens, [])
            let start = ContinuousClock.now
            var (first, drawn) = (start, 0)
            _ = try Generator(decoder: decoder).generate(prompts: prompts, sampling: sampling) { _, _ in
                drawn += 1
                if drawn == prompts.count { first = ContinuousClock.now }
                return true
            }
            return ((first - start) / .seconds(1), (ContinuousClock.now - first) / .seconds(1))
        }
        var figures: [Figure] = []
        let prompt = [tokens(512, 0)]
        _ = try run(prompt, tokens: 1)
        figures.append(Figure("prompt reading, 512 tokens, \(kind)", try (0..<rounds).map { _ in 512 / (try run(prompt, tokens: 1).reading) }, "tokens/s"))
        for count in [1, 8, 32] {
            let prompts = (0..<count).map { tokens(16, UInt64($0)) }
            _ = try run(prompts, tokens: 8)
            var (rates, shares) = ([Double](), [Double]())
            for _ in 0..<rounds {
                let read = memory.gigabytesPerSecond()
                let steps = 63 / (try run(prompts, tokens: 64).decoding)
                rates.append(steps * Double(count))
                shares.append(100e-9 * steps * Double(decoder.weightBytes) / read)
            }
            let share = Figure("", shares, "").median
            figures.append(Figure("decoding, \(count) at a time, \(kind)", rates, "tokens/s", note: count > 1 ? "" : formatted(share, "weights at %.0f %% of memory read")))
        }
        return figures
    }
}
