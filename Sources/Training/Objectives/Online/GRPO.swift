import Foundation
import Models

/// Group relative policy optimization, and what has been made of it: one loss per token, and ways to average.
///
///     grpo, bnpo, dr_grpo, dapo, luspo   −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A)
///     cispo                              −min(ρ, ε_high)·A·log π, the factor before log π constant
///     sapo                               −A·(4/τ)·σ(τ·(ρ − 1)), τ by the sign of A
///     all                                + β·k3(π_ref)
///
/// ρ is of the token, or (`importance` sequence, GSPO) e^mean of the completion's log-ratio, shared by its tokens.
/// Averages: grpo, sapo: over completions of their means per token; bnpo, dapo, cispo: over all tokens of the step; dr_grpo: over
/// completions × `maxCompletionLength`; luspo: over completions of their sums. TRL averages bnpo per micro-batch; here the
/// step's tokens are the divisor, so that accumulation changes nothing.
///
/// Source: Shao et al. 2024 (GRPO), eq. 3; Liu et al. 2025 (Dr. GRPO); Yu et al. 2025 (DAPO); Zheng et al. 2025 (GSPO); MiniMax
/// 2025 (CISPO); Gao et al. 2025 (SAPO); constants as in TRL.
public struct GRPO: Objective {
    public enum Variant: String, CaseIterable, Sendable, Codable { case grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo }
    public enum Importance: String, CaseIterable, Sendable, Codable { case token, sequence }

    public static let name = "grpo"
    public var variant: Variant
    public var importance = Importance.token
    public var clipLow = 0.2, clipHigh = 0.2
    /// ρ is held below it; nil: it is not.
    public var ratioLimit: Double?
    public var beta = 0.0
    /// Tokens, for dr_grpo.
    public var maxCompletionLength = 512
    /// sapo's τ for A > 0 and for the others.
    public var temperatures = (positive: 1.0, other: 1.05)
    public init(_ variant: Variant = .grpo) { self.variant = variant }

    public func callAsFunction(_ inputs: PolicyLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        precondition(beta == 0 || inputs.reference != nil, "β is \(beta) and there is no reference")
        var loss = Loss(gradientLike: inputs.logProbs)
        for row in 0..<inputs.logProbs.rows {
            try inputs.checked(Self.name, row)
            let weight = tokenWeight(count: inputs.logProbs.count(row), step: step)
            if importance == .sequence { addShared(row, inputs, weight, to: &loss) } else { addTokens(row, inputs, weight, to: &loss) }
            addPenalty(row, inputs, weight, to: &loss)
        }
        return loss
    }

    /// What each token's loss is multiplied by in a completion of `count` tokens.
    private func tokenWeight(count: Int, step: StepTotals) -> Double {
        switch variant {
        case .grpo, .sapo: 1 / Double(max(1, count)) / Double(step.pairs)
        case .bnpo, .dapo, .cispo: 1 / Double(max(1, step.tokens))
        case .dr_grpo: 1 / Double(step.pairs) / Double(maxCompletionLength)
        case .luspo: 1 / Double(step.pairs)
        }
    }

    private func addTokens(_ row: Int, _ inputs: PolicyLogProbs, _ weight: Double, to loss: inout Loss) {
        for t in inputs.logProbs.range(row) {
            let ratio = exp(inputs.logProbs.values[t] - inputs.old.values[t])
            let term = self.term(ratio: ratio, advantage: inputs.advantages.values[t], logProb: inputs.logProbs.values[t])
            loss.value += weight * term.value
            loss.gradient.values[t] += weight * (term.slope + term.direct)
            if let isClipped = term.isClipped { loss.record("clip_ratio/region_mean", isClipped ? 1 : 0) }
        }
    }

    /// One ratio for all tokens of the row: each of them moves it by 1/|y|.
    private func addShared(_ row: Int, _ inputs: PolicyLogProbs, _ weight: Double, to loss: inout Loss) {
        let count = Double(max(1, inputs.logProbs.count(row)))
        let ratio = exp(inputs.logRatio(row) / count)
        var (slope, isClipped) = (0.0, Bool?.none)
        for t in inputs.logProbs.range(row) {
            let term = self.term(ratio: ratio, advantage: inputs.advantages.values[t], logProb: inputs.logProbs.values[t])
            loss.value += weight * term.value
            loss.gradient.values[t] += weight * term.direct
            slope += weight * term.slope
            isClipped = term.isClipped
        }
        for t in inputs.logProbs.range(row) { loss.gradient.values[t] += slope / count }
        if let isClipped { loss.record("clip_ratio/region_mean", isClipped ? 1 : 0) }
    }

    /// A token's loss; its derivative with respect to the log of the ratio; and with respect to log π beside the ratio.
    private func term(ratio: Double, advantage: Double, logProb: Double) -> (value: Double, slope: Double, direct: Double, isClipped: Bool?) {
        switch variant {
        case .grpo, .bnpo, .dr_grpo, .dapo, .luspo:
            let term = clippedSurrogate(ratio: ratio, advantage: advantage, low: clipLow, high: clipHigh, limit: ratioLimit)
            return (term.value, term.slope, 0, term.isClipped)
        case .cispo:
            let factor = min(ratio, clipHigh) * advantage
            return (-factor * logProb, 0, -factor, nil)
        case .sapo:
            let temperature = advantage > 0 ? temperatures.positive : temperatures.other
            let u = temperature * (ratio - 1)
            return (-advantage * 4 / temperature * sigmoid(u), -advantage * 4 * sigmoid(u) * sigmoid(-u) * ratio, 0, nil)
        }
    }

    private func addPenalty(_ row: Int, _ inputs: PolicyLogProbs, _ weight: Double, to loss: inout Loss) {
        guard beta != 0, let reference = inputs.reference else { return }
        for t in inputs.logProbs.range(row) {
            let kl = KLEstimator.k3(inputs.logProbs.values[t], reference: reference.values[t])
            loss.value += weight * beta * kl.value
            loss.gradient.values[t] += weight * beta * kl.slope
            loss.record("kl", kl.value)
        }
    }
}
