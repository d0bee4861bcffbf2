import Models
import Testing

@testable import Training

@Suite("Loss gradients", .tags(.gradient)) struct LossGradientTests {
    /// Ragged rows, one of them a single token; reference sums near the policy's.
    static let logProbs = Ragged(rows: [[-0.7, -1.9, -0.2], [-2.5], [-1.1, -0.4, -0.9, -3.0], [-0.6, -0.05]])
    static let inputs = PairLogProbs(logProbs: logProbs, reference: [-3.1, -2.0, -5.0, -1.3])

    static let objectives: [any PairObjective] = [
        DPO(beta: 0.1), DPO(beta: 0.7, labelSmoothing: 0.1), DPO(beta: 5, labelSmoothing: 0.3), IPO(beta: 0.1), IPO(beta: 0.5, norm: .sum),
        IPO(beta: 2, norm: .mean),
    ]

    @Test("∂L/∂log π agrees with finite differences, token by token", arguments: objectives.indices)
    func pairGradient(index: Int) throws {
        let objective = Self.objectives[index]
        let step = StepTotals(pairs: 3)  // of a step larger than this micro-batch
        let analytic = try objective(Self.inputs, step: step).gradient
        for token in Self.logProbs.values.indices {
            let numeric = numericalDerivative(at: Self.logProbs.values[token]) { value in
                var inputs = Self.inputs
                inputs.logProbs.values[token] = value
                return (try? objective(inputs, step: step).value) ?? .nan
            }
            #expect(relativeError(analytic.values[token], numeric) < 1e-6, "token \(token): analytic \(analytic.values[token]), numeric \(numeric)")
        }
    }

    @Test("∂L/∂Δ agrees with finite differences", arguments: [-40, -2.5, -1e-3, 0, 0.7, 12, 40], [0, 0.1])
    func slope(delta: Double, labelSmoothing: Double) {
        let dpo = DPO(beta: 0.1, labelSmoothing: labelSmoothing)
        let analytic = dpo.pairLoss(delta).slope
        let numeric = numericalDerivative(at: delta) { dpo.pairLoss($0).loss }
        #expect(relativeError(analytic, numeric) < 1e-6, "analytic \(analytic), numeric \(numeric)")
    }

    @Test("cross-entropy's gradient is −1/N on every token") func crossEntropy() throws {
        let loss = try CrossEntropy()(Self.logProbs, step: StepTotals(tokens: 20))
        // (0.7+1.9+0.2 + 2.5 + 1.1+0.4+0.9+3.0 + 0.6+0.05)/20 = 11.35/20
        #expect(abs(loss.value - 0.5675) < 1e-12, "\(loss.value)")
        #expect(loss.gradient.values.allSatisfy { $0 == -0.05 }, "\(loss.gradient.values)")
    }

    @Test("an undecided pair costs log 2 and pulls with β/2") func undecidedPair() {
        #expect(abs(DPO().pairLoss(0).loss - 0.693147180559945) < 1e-12)  // −log σ(0) = log 2
        #expect(DPO().pairLoss(0).slope == -0.05)  // β·(½ − 1), β = 0.1
    }

    @Test("numbers worked by hand") func byHand() {
        // h = 2, β = 0.1: −log σ(0.2) = log(1 + e^−0.2) = 0.5981389; slope −0.1·σ(−0.2) = −0.0450166; ε = 0.1 adds 0.1·0.2.
        #expect(abs(DPO().pairLoss(2).loss - 0.5981389) < 1e-7)
        #expect(abs(DPO().pairLoss(2).slope + 0.0450166) < 1e-7)
        #expect(abs(DPO(beta: 0.1, labelSmoothing: 0.1).pairLoss(2).loss - 0.6181389) < 1e-7)
        // u = 0.4, β = 0.1: (0.4 − 5)² = 21.16, slope 2·(−4.6).
        #expect(abs(IPO().pairLoss(0.4).loss - 21.16) < 1e-12)
        #expect(abs(IPO().pairLoss(0.4).slope + 9.2) < 1e-12)
    }

    @Test("far tails stay finite", arguments: [-1e4, -800, 800, 1e4]) func tails(u: Double) {
        #expect(logSigmoid(u).isFinite && logSigmoid(u) <= 0, "log σ(\(u)) = \(logSigmoid(u))")
        #expect((0...1).contains(sigmoid(u)), "σ(\(u)) = \(sigmoid(u))")
    }

    @Test("a not-finite log-prob is an error that names the row") func notFinite() {
        var inputs = Self.inputs
        inputs.logProbs.values[3] = -.infinity  // row 1: pair 1's chosen completion
        #expect(throws: ObjectiveError.notFinite(objective: "sigmoid", quantity: "the log-ratio", row: 1)) { try DPO()(inputs, step: StepTotals(pairs: 2)) }
        #expect(throws: ObjectiveError.notFinite(objective: "ipo", quantity: "the log-ratio", row: 1)) { try IPO()(inputs, step: StepTotals(pairs: 2)) }
        #expect(throws: ObjectiveError.notFinite(objective: "sft", quantity: "log π", row: 1)) {
            try CrossEntropy()(inputs.logProbs, step: StepTotals(tokens: 9))
        }
    }

    @Test("a tie is no strict win, and half an accuracy") func ties() throws {
        let logProbs = Ragged(rows: [[-1.0], [-2.0], [-1.5], [-0.5]])
        let loss = try DPO()(PairLogProbs(logProbs: logProbs, reference: [-1, -2, -1.5, -1]), step: StepTotals(pairs: 2))
        #expect(loss.metrics["rewards/accuracies"] == 0)
        #expect(loss.metrics["accuracy"] == 0.25)  // one tie, one loss
        #expect(loss.metrics["logps/chosen"] == -1.5)
    }
}
