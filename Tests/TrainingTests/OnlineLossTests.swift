import Foundation
import Models
import Tensors
import Testing

@testable import Training

@Suite("Online objective gradients", .tags(.gradient)) struct OnlineLossTests {
    static let lengths = [2, 4, 1, 3]

    /// Ratios inside and outside the clip range, none within a step of its edge, advantages of both signs.
    static func inputs(seed: UInt64, perToken: Bool = false) -> PolicyLogProbs {
        var drawn = DrawnNumbers(seed)
        let logProbs = drawn.logProbs(lengths)
        var old = logProbs, reference = logProbs, advantages = logProbs
        for t in old.values.indices {
            let size = t % 2 == 0 ? drawn.uniform(0.02...0.12) : drawn.uniform(0.4...0.7)
            old.values[t] += t % 3 == 0 ? -size : size
            reference.values[t] += drawn.uniform(-1...1)
            advantages.values[t] = drawn.uniform(0.2...2) * (t % 4 < 2 ? 1 : -1)
        }
        if !perToken { for row in lengths.indices { for t in advantages.range(row) { advantages.values[t] = row % 2 == 0 ? 1.3 : -0.8 } } }
        return PolicyLogProbs(logProbs: logProbs, old: old, reference: reference, advantages: advantages)
    }
    static let step = StepTotals(pairs: 5, tokens: 13)

    private func check<Loss: Objective>(_ name: String, _ objective: Loss, _ inputs: PolicyLogProbs) throws where Loss.Inputs == PolicyLogProbs {
        let loss = try objective(inputs, step: Self.step)
        expectGradient(name, at: inputs.logProbs.values, loss.gradient.values) { values in
            var moved = inputs
            moved.logProbs.values = values
            return try? objective(moved, step: Self.step).value
        }
        #expect(loss.gradient.values.contains { $0 != 0 }, "\(name) has no gradient")
    }

    @Test("PPO, RLOO, REINFORCE", arguments: [1, 2] as [UInt64]) func clipped(seed: UInt64) throws {
        try check("ppo", PPO(clipRange: 0.25), Self.inputs(seed: seed, perToken: true))
        try check("rloo", RLOO(clipRange: 0.27), Self.inputs(seed: seed))
        try check("reinforce", REINFORCE(), Self.inputs(seed: seed))
    }

    @Test("GRPO's family", arguments: GRPO.Variant.allCases, GRPO.Importance.allCases) func grpo(variant: GRPO.Variant, importance: GRPO.Importance) throws {
        var objective = GRPO(variant)
        (objective.importance, objective.clipLow, objective.clipHigh, objective.beta) = (importance, 0.23, 0.31, 0.07)
        (objective.maxCompletionLength, objective.temperatures) = (9, (1.2, 0.8))
        if variant == .cispo {
            // The ratio before log π is a constant: differences see it only where it is held by its bound.
            objective.clipHigh = 0.01
        }
        try check("\(variant) \(importance)", objective, Self.inputs(seed: 4))
        objective.ratioLimit = 1.15
        try check("\(variant) \(importance), bounded", objective, Self.inputs(seed: 5))
    }

    @Test("mirror descent", arguments: MDPO.Ratio.allCases, MDPO.Divergence.allCases) func mdpo(ratio: MDPO.Ratio, divergence: MDPO.Divergence) throws {
        var objective = MDPO(gamma: 0.6)
        (objective.ratio, objective.divergence) = (ratio, divergence)
        try check("\(ratio) \(divergence)", objective, Self.inputs(seed: 6))
        objective.normalisesLength = true
        try check("\(ratio) \(divergence), per token", objective, Self.inputs(seed: 7))
    }

    @Test("mirror descent far from its start", arguments: [-14.0, -9.7, 9.7, 14]) func far(u: Double) {
        for divergence in MDPO.Divergence.allCases {
            var objective = MDPO(gamma: 0.5)
            objective.divergence = divergence
            let analytic = objective.term(logRatio: u, advantage: -0.7).slope
            let numeric = numericalDerivative(at: u) { objective.term(logRatio: $0, advantage: -0.7).value }
            #expect(relativeError(analytic, numeric) < 1e-6, "analytic \(analytic), numeric \(numeric)")
        }
    }

    @Test("an exact divergence from the policy that sampled", arguments: [false, true]) func exact(perToken: Bool) throws {
        let (policy, sampled) = (TablePolicy(vocabulary: 5, seed: 1), TablePolicy(vocabulary: 5, seed: 2))
        let (gamma, temperature, updated) = (0.4, 1.3, 3.0)
        let compute = try Compute()
        let anchor = Anchor(.init(weight: gamma, normalisesLength: perToken), policy: TablePolicy(vocabulary: 5, seed: 7), temperature: temperature, compute: compute)
        anchor.follow(sampled)
        let completions: [[Int32]] = [[0, 3], [4, 4, 1]]
        let experience = Experience(
            prompts: [[2]], samples: completions.map { .init(group: 0, tokens: $0, score: 0, isWhole: true) }, old: Ragged(rows: completions.map { $0.map { _ in 0 } }),
            reference: nil, beta: 0)
        /// γ/B·Σ_i (1/n_i)·Σ_t KL, by the definition.
        func expected() -> Double {
            completions.reduce(0) { sum, tokens in
                let steps = zip([2] + tokens.dropLast(), tokens).reduce(0.0) { sum, step in
                    func logs(_ table: TablePolicy) -> [Double] {
                        let z = (0..<5).map { Double(table.weights.base[Int(step.0) * 5 + $0]) / temperature }
                        let normaliser = log(z.map(exp).reduce(0, +))
                        return z.map { $0 - normaliser }
                    }
                    return sum + zip(logs(policy), logs(sampled)).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
                }
                return sum + gamma / updated * steps / (perToken ? Double(tokens.count) : 1)
            }
        }
        var metrics = Metrics()
        let found = try anchor.accumulate([0, 1], experience, of: policy, step: StepTotals(pairs: Int(updated)), into: &metrics)
        #expect(abs(found - expected()) < 1e-9, "found \(found), expected \(expected())")
        for i in 0..<25 {
            let (start, width) = (policy.weights.base[i], Float(1e-2))
            policy.weights.base[i] = start + width
            let above = expected()
            policy.weights.base[i] = start - width
            let numeric = (above - expected()) / Double(2 * width)
            policy.weights.base[i] = start
            let analytic = Double(policy.gradients.base[i])
            #expect(abs(analytic - numeric) < 1e-5, "weight \(i): analytic \(analytic), numeric \(numeric)")
        }
    }

    @Test("values") func values() throws {
        let values = Ragged(rows: [[0.1, 0.9, -0.4], [0.5, -0.6]]), old = Ragged(rows: [[0.05, 0.3, -0.45], [1.2, -0.55]])
        let returns = Ragged(rows: [[1, 1.1, -1], [0.9, 0.2]])  // the second is held
        let objective = ValueLoss(clipRange: 0.2)
        let loss = try objective(.init(values: values, old: old, returns: returns), step: StepTotals(tokens: 7))
        expectGradient("value", at: values.values, loss.gradient.values) {
            try? objective(.init(values: Ragged(values: $0, offsets: values.offsets), old: old, returns: returns), step: StepTotals(tokens: 7)).value
        }
    }

    @Test("KL estimators", arguments: KLEstimator.allCases) func kl(estimator: KLEstimator) {
        let numeric = numericalDerivative(at: -0.9) { estimator($0, reference: -1.3).value }
        #expect(relativeError(estimator(-0.9, reference: -1.3).slope, numeric) < 1e-6)
        // p = 0.5, p_ref = 0.4: d = log 0.8
        let byHand: [KLEstimator: Double] = [.k1: 0.2231436, .k2: 0.0248965, .k3: 0.0231436]
        let expected = byHand[estimator] ?? 0
        #expect(abs(estimator(log(0.5), reference: log(0.4)).value - expected) < 1e-7)
    }

    static let distillations: [any DistributionObjective] = [
        GKD(beta: 0, temperature: 1.7), GKD(beta: 1, temperature: 1.7), GKD(beta: 0.3, temperature: 0.8), SoftCrossEntropy(.label(smoothing: 0.15), zCoefficient: 0.02),
        SoftCrossEntropy(.teacher, zCoefficient: 0.01), SoftCrossEntropy(.teacherTop(2)), SoftCrossEntropy(.blend(0.9)), HintonDistillation(temperature: 2.5, weight: 0.3),
        TailBucketDistillation(k: 2), TailBucketDistillation(k: 9),
    ]

    @Test("distillation", arguments: distillations.indices) func distillation(index: Int) {
        let objective = Self.distillations[index]
        var drawn = DrawnNumbers(UInt64(index))
        let (student, teacher) = ((0..<6).map { _ in drawn.uniform(-2...2) }, (0..<6).map { _ in drawn.uniform(-2...2) })
        let (_, gradient) = objective.token(student: student, teacher: teacher, label: 4)
        expectGradient("\(objective)", at: student, gradient) { objective.token(student: $0, teacher: teacher, label: 4).value }
        #expect(abs(gradient.reduce(0, +)) < 1e-12 || index == 3 || index == 4, "a shift of all logits changes nothing: \(gradient.reduce(0, +))")
    }

    // MARK: By hand

    @Test("advantages by hand") func advantages() {
        let rewards = Ragged(rows: [[0, 0, 1]]), values = Ragged(rows: [[0.2, 0.4, 0.5]])
        for (lambda, expected) in [(0.95, [0.74625, 0.575, 0.5]), (1.0, [0.8, 0.6, 0.5]), (0.0, [0.2, 0.1, 0.5])] {
            let found = Advantages.generalized(rewards: rewards, values: values, gamma: 1, lambda: lambda).advantages.values
            for (a, b) in zip(found, expected) { #expect(abs(a - b) < 1e-12, "λ = \(lambda): \(found)") }
        }
        // R = 1, 2, 3, 6: the others of 1 have mean 11/3.
        for (a, b) in zip(Advantages.leaveOneOut([1, 2, 3, 6], groupSize: 4), [-8.0 / 3, -4.0 / 3, 0, 4]) { #expect(abs(a - b) < 1e-12, "\(a), \(b)") }
        // Mean 3, deviation √(14/3) = 2.1602469
        for (a, b) in zip(Advantages.groupRelative([1, 2, 3, 6], groupSize: 4), [-0.92578, -0.46289, 0, 1.38867]) { #expect(abs(a - b) < 1e-5, "\(a), \(b)") }
        #expect(Advantages.groupRelative([5, 5, 5], groupSize: 3) == [0, 0, 0] && Advantages.leaveOneOut([5], groupSize: 1) == [0])
        #expect(Advantages.whitened(Ragged(rows: [[3]])).values == [3])
        let rewarded = Advantages.tokenRewards(sampled: Ragged(rows: [[-1, -2], []]), reference: Ragged(rows: [[-1.5, -1], []]), scores: [4, 9], klCoefficient: 0.1)
        // −0.1·0.5, and −0.1·(−1) with the score
        #expect(abs(rewarded.values[0] + 0.05) < 1e-12 && abs(rewarded.values[1] - 4.1) < 1e-12, "\(rewarded.values)")
        var controller = AdaptiveKL(coefficient: 0.1)
        controller.update(kl: 12, samples: 100)  // twice the target: e is clipped to 0.2
        #expect(abs(controller.coefficient - 0.1002) < 1e-12)
    }

    @Test("mirror descent by hand, and as RLOO at its start") func mirrorDescent() throws {
        // Â = 1, γ = 0.5, u = 0.3: −e^0.3 + 0.5·(0.3·e^0.3 − e^0.3 + 1); e^0.3·(0.15 − 1)
        let term = MDPO(gamma: 0.5).term(logRatio: 0.3, advantage: 1)
        #expect(abs(term.value + 1.3223094) < 1e-7 && abs(term.slope + 1.1473800) < 1e-7, "\(term)")
        let logProbs = Ragged(rows: [[-1, -2], [-0.5]])
        let inputs = PolicyLogProbs(logProbs: logProbs, old: logProbs, advantages: [0.7, -0.7])
        for ratio in MDPO.Ratio.allCases {
            var objective = MDPO(gamma: 3)
            objective.ratio = ratio
            let mdpo = try objective(inputs, step: StepTotals(pairs: 2)), rloo = try RLOO()(inputs, step: StepTotals(pairs: 2))
            #expect(mdpo.gradient == rloo.gradient, "\(mdpo.gradient.values), \(rloo.gradient.values)")
        }
        #expect(MDPO(gamma: 0.5).term(logRatio: 1.4, advantage: 0.7).slope == 0)  // u = Â/γ
    }

    @Test("at ratio 1 the clipped losses are REINFORCE with their advantages") func onPolicy() throws {
        let logProbs = Ragged(rows: [[-1, -2], [-0.5]])
        let inputs = PolicyLogProbs(logProbs: logProbs, old: logProbs, advantages: [0.7, -0.7])
        let reinforce = try REINFORCE()(inputs, step: StepTotals(pairs: 2)).gradient
        #expect(try RLOO()(inputs, step: StepTotals(pairs: 2)).gradient == reinforce)
        #expect(try GRPO(.luspo)(inputs, step: StepTotals(pairs: 2)).gradient == reinforce)
        #expect(try PPO()(inputs, step: StepTotals(tokens: 2)).gradient == reinforce)
    }

    @Test("a not-finite log-prob names its completion") func notFinite() {
        let logProbs = Ragged(rows: [[-1], [-.infinity]]), old = Ragged(rows: [[-1], [-1]])
        let inputs = PolicyLogProbs(logProbs: logProbs, old: old, advantages: [1, 1])
        #expect(throws: ObjectiveError.notFinite(objective: "grpo", quantity: "the log-ratio", row: 1)) { try GRPO()(inputs, step: StepTotals(pairs: 2, tokens: 2)) }
    }
}
