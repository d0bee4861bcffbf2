import Foundation
import Models

/// REINFORCE leave-one-out with PPO's clipping of the whole completion's ratio.
///
///     ρ_i = π(y_i|x)/π_old(y_i|x)          L = −(1/B) Σ_i min(ρ_i·A_i, clip(ρ_i, 1−ε, 1+ε)·A_i)
///
/// The completion is one action; A are `Advantages.leaveOneOut` of rewards with the KL penalty in them. Source: Ahmadian et al. 2024,
/// §3; the clipping is TRL's. B counts the completions of the whole step (`StepTotals.pairs`).
public struct RLOO: Objective {
    public static let name = "rloo"
    public var clipRange: Double  // ε
    public init(clipRange: Double = 0.2) { self.clipRange = clipRange }

    public func callAsFunction(_ inputs: PolicyLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.logProbs)
        for row in 0..<inputs.logProbs.rows {
            try inputs.checked(Self.name, row)
            let term = clippedSurrogate(
                ratio: exp(inputs.logRatio(row)), advantage: inputs.advantage(row), low: clipRange, high: clipRange)
            loss.value += term.value / Double(step.pairs)
            loss.fill(row: row, with: term.slope / Double(step.pairs))
            loss.record("clip_ratio/region_mean", term.isClipped ? 1 : 0)
        }
        return loss
    }
}

/// REINFORCE: the completion is one action, a baseline is already taken off its reward.
///
///     L = −(1/B) Σ_i (R_i − b)·log π(y_i|x)          ∂L/∂log π_(i,t) = −(R_i − b)/B
///
/// Source: Williams 1992. B counts the completions of the whole step (`StepTotals.pairs`).
public struct REINFORCE: Objective {
    public static let name = "reinforce"
    public init() {}

    public func callAsFunction(_ inputs: PolicyLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.logProbs)
        for row in 0..<inputs.logProbs.rows {
            try inputs.checked(Self.name, row)
            loss.value -= inputs.advantage(row) * inputs.logProbs.sum(row) / Double(step.pairs)
            loss.fill(row: row, with: -inputs.advantage(row) / Double(step.pairs))
        }
        return loss
    }
}
