import Checkpoints
import Foundation
import Models
import Tensors
import Testing

/// Read-outs of a score head: their gradient, and that a score depends on its own tokens alone.
@Suite("Score head") struct ReadoutTests {
    func rewardModel(
        outputs: Int = 1, threads: Int = 1, path: KernelPath? = nil, precision: Precision = .fp32, tied: Bool = true, recompute: Bool = false
    ) throws -> Transformer {
        try tinyModel(tinyConfig(tied: tied).scoring(outputs: outputs), threads: threads, path: path, precision: precision, recompute: recompute)
    }

    let prompts = [tokens(33, seed: 1), tokens(70, seed: 2), tokens(5, seed: 3)]
    let completions = [[tokens(12, seed: 4), tokens(40, seed: 5)], [tokens(3, seed: 6), tokens(90, seed: 7)], [tokens(20, seed: 8), tokens(1, seed: 9)]]

    func batch(_ rows: Range<Int> = 0..<3, shares: Bool = true) -> SegmentTree {
        var batch = SegmentTree()
        for row in rows {
            let shared = shares ? batch.append(prompts[row]) : -1
            for side in completions[row] {
                if shares {
                    batch.addReadout(segment: batch.append(side, parent: shared))
                } else {
                    batch.addReadout(segment: batch.append(prompts[row] + side))
                }
            }
        }
        return batch
    }

    /// L = Σ c·score with fixed c, at several tokens of one chain, and its derivative along a direction of each parameter's weights.
    @Test("∂L/∂θ of read-outs agrees with finite differences", arguments: [1, 3], [true, false]) func finiteDifferences(outputs: Int, tied: Bool) throws {
        let model = try rewardModel(outputs: outputs, tied: tied)
        var batch = batch()
        for offset in [0, 7, 7, 20] { batch.addReadout(segment: 0, at: offset) }
        #expect(!model.parameters.contains { $0.name == "lm_head.weight" })
        var random = RandomStream(seed: 5, stream: 0, index: 0)
        let coefficients = (0..<batch.readoutPoints.count * outputs).map { _ in random.normal() / 10 }
        func loss() throws -> Double { zip(try model.scores(of: batch).readouts, coefficients).reduce(0) { $0 + $1.0 * $1.1 } }
        _ = try model.logProbs(of: batch)
        try model.backward(ScoreGradient(readouts: coefficients))
        try expectDerivatives(of: model, loss: loss, changed: model.weightsChanged)
    }

    @Test("a score's bits are those of the row alone: packed or not, prompt shared or not", arguments: Precision.allCases) func alone(precision: Precision) throws {
        let model = try rewardModel(precision: precision)
        let packed = try model.scores(of: batch()).readouts
        let unshared = try model.scores(of: batch(shares: false)).readouts
        var alone: [Double] = []
        for (prompt, sides) in zip(prompts, completions) {
            for side in sides {
                var one = SegmentTree()
                one.addReadout(segment: one.append(prompt + side))
                alone += try model.scores(of: one).readouts
            }
        }
        #expect(packed == alone && unshared == alone, "packed \(packed), unshared \(unshared), alone \(alone)")
    }

    @Test("tokens after the one read out change nothing") func padding() throws {
        let model = try rewardModel()
        let ids = prompts[0] + completions[0][0]
        var plain = SegmentTree(), padded = SegmentTree()
        plain.addReadout(segment: plain.append(ids))
        padded.addReadout(segment: padded.append(ids + [Int32](repeating: 0, count: 50)), at: ids.count - 1)
        let (a, b) = (try model.scores(of: plain).readouts, try model.scores(of: padded).readouts)
        #expect(a == b, "\(a) and \(b)")
    }

    @Test("threads change no bit of scores and gradient", arguments: KernelPath.available, Precision.allCases)
    func threads(path: KernelPath, precision: Precision) throws {
        func run(_ threads: Int) throws -> ([Double], [Float]) {
            let model = try rewardModel(outputs: 2, threads: threads, path: path, precision: precision)
            let scores = try model.logProbs(of: batch()).readouts
            try model.backward(ScoreGradient(readouts: scores.indices.map { 0.1 * sin(Double($0)) }))
            return (scores, model.gradients.array)
        }
        let (one, two) = (try run(1), try run(2))
        #expect(one.0 == two.0, "\(one.0) and \(two.0)")
        #expect(one.1 == two.1, "gradients differ by \(relativeDistance(one.1, two.1))")
    }

    @Test("recomputed activations give the same bits") func recomputed() throws {
        let gradients = try [false, true].map { recompute in
            let model = try rewardModel(recompute: recompute)
            let scores = try model.logProbs(of: batch()).readouts
            try model.backward(ScoreGradient(readouts: scores.map { _ in 0.3 }))
            return model.gradients.array
        }
        #expect(gradients[0] == gradients[1], "relative distance \(relativeDistance(gradients[0], gradients[1]))")
    }

    @Test("a batch may be one pack or several: gradients add up") func accumulated() throws {
        let whole = try rewardModel(), parts = try rewardModel()
        let scores = try whole.logProbs(of: batch()).readouts
        try whole.backward(ScoreGradient(readouts: scores.indices.map { 0.1 * sin(Double($0)) }))
        for row in 0..<3 {
            _ = try parts.logProbs(of: batch(row..<row + 1))
            try parts.backward(ScoreGradient(readouts: (0..<2).map { 0.1 * sin(Double(2 * row + $0)) }))
        }
        let distance = relativeDistance(whole.gradients.array, parts.gradients.array)
        #expect(distance < 1e-5, "gradients differ by \(distance)")
    }

    @Test("log-probs of a model that only scores, and scores of one that does not, are refused") func refused() throws {
        var rows = SegmentTree()
        rows.addRow(segment: rows.append(prompts[0]))
        let reward = try rewardModel()
        #expect(throws: ModelError.noLanguageHead(architecture: "LlamaForSequenceClassification")) { try reward.scores(of: rows) }
        #expect(throws: ModelError.noLanguageHead(architecture: "LlamaForSequenceClassification")) { try reward.logits(of: prompts[0]) }
        let language = try tinyModel(tinyConfig())
        #expect(throws: ModelError.noScoreHead(architecture: "LlamaForCausalLM")) { try language.scores(of: batch()) }
    }

    @Test("plain tokens are those of every leaf's chain") func plainTokens() {
        #expect(batch().plainTokenCount == batch(shares: false).plainTokenCount, "\(batch().plainTokenCount), \(batch(shares: false).plainTokenCount)")
        #expect(batch(shares: false).plainTokenCount == 2 * (33 + 70 + 5) + 12 + 40 + 3 + 90 + 20 + 1)
    }
}
