import Foundation
import Models

/// Proximal policy optimization: the clipped surrogate, averaged over the step's tokens.
///
///     ρ_t = π(y_t)/π_old(y_t)          L = (1/N) Σ_t max(−A_t·ρ_t, −A_t·clip(ρ_t, 1−ε, 1+ε))
///     ∂L/∂log π_t = −A_t·ρ_t/N, or 0 where A_t > 0 and ρ_t > 1+ε, or A_t < 0 and ρ_t < 1−ε
///
/// Source: Schulman et al. 2017, eq. 7. N counts the tokens of the whole step.
public struct PPO: Objective {
    public static let name = "ppo"
    public var clipRange: Double  // ε
    public init(clipRange: Double = 0.2) { self.clipRange = clipRange }

    public func callAsFunction(_ inputs: PolicyLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.logProbs)
        let N = Double(max(1, step.tokens))
        for row in 0..<inputs.logProbs.rows {
            try inputs.checked(Self.name, row)
            for t in inputs.logProbs.range(row) {
                let difference = inputs.logProbs.values[t] - inputs.old.values[t]
                let term = clippedSurrogate(ratio: exp(difference), advantage: inputs.advantages.values[t], low: clipRange, high: clipRange)
                loss.value += term.value / N
                loss.gradient.values[t] = term.slope / N
                loss.record("policy/approxkl_avg", difference * difference / 2)
                loss.record("policy/clipfrac_avg", term.isClipped ? 1 : 0)
                loss.record("val/ratio", exp(difference))
            }
        }
        return loss
    }
}

/// The value loss of PPO, clipped around the old values.
///
///     v̄ = V_old + clip(V − V_old, −ε, ε)          L = (1/2N) Σ_t max((V_t − G_t)², (v̄_t − G_t)²)
///     ∂L/∂V_t = (V_t − G_t)/N, or where the clipped square is larger (v̄_t − G_t)·[|V_t − V_old,t| < ε]/N
///
/// Source: the reference code of Schulman et al. 2017. N counts the tokens of the whole step.
public struct ValueLoss: Objective {
    public static let name = "value"
    public var clipRange: Double  // ε
    public init(clipRange: Double = 0.2) { self.clipRange = clipRange }

    /// All of one layout, one entry a token.
    public struct Inputs: Sendable {
        public var values: Ragged
        /// Of the value model before the step's first update, and G; constants.
        public var old: Ragged, returns: Ragged
        public init(values: Ragged, old: Ragged, returns: Ragged) {
            precondition(values.offsets == old.offsets && values.offsets == returns.offsets, "\(values.values.count) values, \(returns.values.count) returns")
            (self.values, self.old, self.returns) = (values, old, returns)
        }
    }

    /// - Returns: The gradient is with respect to the values, in their layout.
    public func callAsFunction(_ inputs: Inputs, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.values)
        let N = Double(max(1, step.tokens))
        for row in 0..<inputs.values.rows {
            guard inputs.values.sum(row).isFinite else { throw .notFinite(objective: Self.name, quantity: "V", row: row) }
            for t in inputs.values.range(row) {
                let (value, old, target) = (inputs.values.values[t], inputs.old.values[t], inputs.returns.values[t])
                let clipped = old + min(clipRange, max(-clipRange, value - old))
                let (free, held) = ((value - target) * (value - target), (clipped - target) * (clipped - target))
                loss.value += max(free, held) / 2 / N
                loss.gradient.values[t] = free >= held ? (value - target) / N : abs(value - old) < clipRange ? (clipped - target) / N : 0
                loss.record("val/clipfrac_avg", held > free ? 1 : 0)
            }
        }
        return loss
    }
}
