import Foundation
import Models
import Tensors
import Testing

/// Whole distributions a few rows at a time, and the gradient that comes back through them.
@Suite("Distributions of scored tokens") struct DistributionTests {
    private func batch() -> SegmentTree {
        var batch = SegmentTree()
        let prompt = batch.append(tokens(9, seed: 1))
        for (index, count) in [14, 1, 23].enumerated() {
            batch.addRow(segment: batch.append(tokens(count, seed: 2 + UInt64(index)), parent: prompt), mask: (0..<count).map { ($0 + index) % 3 > 0 || count == 1 })
        }
        let root = tokens(8, seed: 9)
        batch.addRow(segment: batch.append(root))
        return batch
    }

    /// L = Σ c·log p(token) through logits and through log-probs: ∂L/∂logits = c·(onehot − softmax).
    @Test("logits and their gradient are those of log-probs, in any pieces", arguments: Precision.allCases, [(true, 3), (false, 7), (false, 1000)])
    func agrees(precision: Precision, shape: (tied: Bool, rows: Int)) throws {
        let batch = batch()
        let (plain, spread) = (try tinyModel(tinyConfig(tied: shape.tied), precision: precision), try tinyModel(tinyConfig(tied: shape.tied), precision: precision))
        let expected = try plain.logProbs(of: batch).logProbs.values
        let coefficients = expected.indices.map { 0.3 * sin(Double($0) + 0.4) }
        try plain.backward(coefficients)

        try spread.beginDistributions(of: batch, keeps: true)
        var found: [Double] = []
        for start in stride(from: 0, to: batch.scoredTokenCount, by: shape.rows) {
            let part = start..<min(start + shape.rows, batch.scoredTokenCount)
            let logits = try spread.logits(of: part)
            #expect(logits.rows == part.count && logits.columns == 61, "[\(logits.rows), \(logits.columns)]")
            for (i, row) in part.enumerated() {
                let z = (0..<61).map { Double(logits.pointer[i * logits.stride + $0]) }
                let top = z.max() ?? 0
                let sum = top + log(z.reduce(0) { $0 + exp($1 - top) })
                let target = Int(batch.targets[row])
                found.append(z[target] - sum)
                for j in 0..<61 { logits.pointer[i * logits.stride + j] = Float(coefficients[row] * ((j == target ? 1 : 0) - exp(z[j] - sum))) }
            }
            try spread.addGradient(logits, of: part)
        }
        try spread.endDistributions()
        let farthest = zip(found, expected).map { abs($0 - $1) }.max() ?? 1
        #expect(found.count == expected.count && farthest < 1e-5, "log-probs differ by \(farthest)")
        let distance = relativeDistance(spread.gradients.array, plain.gradients.array)
        #expect(distance < (precision == .bf16 ? 2e-2 : 1e-5), "gradients differ by \(distance)")
        #expect(plain.gradients.array.contains { $0 != 0 })
    }

    @Test("a model that keeps nothing gives the same logits") func frozen() throws {
        let batch = batch()
        let model = try tinyModel(tinyConfig())
        func logits(_ keeps: Bool) throws -> [Float] {
            try model.beginDistributions(of: batch, keeps: keeps)
            return try model.logits(of: 2..<9).array
        }
        #expect(try logits(true) == logits(false))
    }

    @Test("a model that only scores has no distributions") func refused() throws {
        let reward = try tinyModel(tinyConfig().scoring(outputs: 1))
        #expect(throws: ModelError.noLanguageHead(architecture: "LlamaForSequenceClassification")) { try reward.beginDistributions(of: batch(), keeps: false) }
    }
}
