import Checkpoints
import Foundation
import Models
import Tensors
import Testing

@Suite("Transformer gradient") struct TransformerGradientTests {
    /// Two pairs that share their prompts, and a document with a mask.
    func batch() -> SegmentTree {
        var batch = SegmentTree()
        for pair in 0..<2 {
            let prompt = batch.append(tokens(9 + pair, seed: UInt64(pair)))
            for side in 0..<2 {
                let completion = batch.append(tokens(5 + 3 * side, seed: UInt64(10 + 2 * pair + side)), parent: prompt)
                batch.addRow(segment: completion)
            }
        }
        let document = batch.append(tokens(70, seed: 99))
        batch.addRow(segment: document, mask: (0..<70).map { $0 % 3 != 0 })
        return batch
    }

    /// L = Σ c·log p with fixed c, and its derivative along a random direction of one parameter's weights.
    @Test("∂L/∂θ agrees with finite differences along random directions", arguments: [nil, 6], [true, false])
    func finiteDifferences(window: Int?, tied: Bool) throws {
        let model = try tinyModel(tinyConfig(window: window, tied: tied))
        var batch = batch()
        batch.temperature = tied ? 1 : 0.7
        var random = RandomStream(seed: 5, stream: 0, index: 0)
        let coefficients = (0..<batch.scoredTokenCount).map { _ in random.normal() / 10 }
        func loss() throws -> Double { zip(try model.scores(of: batch).logProbs.values, coefficients).reduce(0) { $0 + $1.0 * $1.1 } }
        _ = try model.logProbs(of: batch)
        try model.backward(coefficients)
        try expectDerivatives(of: model, loss: loss, changed: model.weightsChanged)
    }

    @Test("a temperature of 2 is a head of half the weights") func temperature() throws {
        let model = try tinyModel(tinyConfig(tied: false))
        var batch = batch()
        batch.temperature = 2
        let hot = try model.scores(of: batch)
        let head = try #require(model.parameters.first { $0.name == "lm_head.weight" })
        for i in head.range { model.weights.base[i] /= 2 }
        model.weightsChanged()
        batch.temperature = 1
        let halved = try model.scores(of: batch)
        #expect(hot.logProbs == halved.logProbs, "\(hot.logProbs.values.prefix(3)), \(halved.logProbs.values.prefix(3))")
        #expect(hot.entropies == halved.entropies, "\(hot.entropies.prefix(3)), \(halved.entropies.prefix(3))")
    }

    @Test("recomputed activations give the same bits") func recomputed() throws {
        let config = try tinyConfig()
        var gradients: [[Float]] = []
        for recompute in [false, true] {
            let model = try tinyModel(config, recompute: recompute)
            let batch = batch()
            _ = try model.logProbs(of: batch)
            try model.backward((0..<batch.scoredTokenCount).map { 0.01 * Double($0 % 7) - 0.02 })
            gradients.append(model.gradients.array)
        }
        #expect(gradients[0] == gradients[1], "relative distance \(relativeDistance(gradients[0], gradients[1]))")
    }
}
