import Foundation
import Models

/// Mirror-descent policy optimization: where PPO clips, a KL to the policy that sampled pulls back, everywhere and in proportion.
///
///     u = log π(y|x) − log π_k(y|x),  ρ = e^u          L = (1/B) Σ_i [−ρ_i·A_i + γ·(ρ_i·u_i − ρ_i + 1)]
///     ∂L/∂log π_(i,t) = ρ_i·(γ·u_i − A_i)/B          so that u_i = A_i/γ is its fixed point
///
/// The bracket after γ is an unbiased estimate, never negative, of KL(π‖π_k) from π_k's samples. With leave-one-out advantages of
/// rewards that hold the KL to the reference, this is AFM's MDLOO. `ratio` token has a ratio and a penalty for each token, which
/// spares long completions their exploding ratio; `divergence` previous turns the KL around: ρ − 1 − u, ∂/∂u = ρ − 1.
/// Beyond |u| = 10 the loss goes on along its tangent: it still pulls back, and e^u stays finite.
///
/// Source: Tomar et al. 2020 (MDPO), eq. 5, one state a prompt, γ = 1/t_k; Apple 2024 (AFM), §4.3. B counts the completions
/// of the whole step (`StepTotals.pairs`).
public struct MDPO: Objective {
    public enum Ratio: String, CaseIterable, Sendable, Codable { case sequence, token }
    public enum Divergence: String, CaseIterable, Sendable, Codable {
        /// KL(π‖π_k), and KL(π_k‖π).
        case policy, previous
        /// KL(π‖π_k) over whole distributions: not of this loss, which sees the sampled tokens alone, but of an `Anchor`.
        case exact
    }

    public static let name = "mdpo"
    public var gamma: Double  // nats⁻¹ of reward
    public var ratio = Ratio.sequence
    public var divergence = Divergence.policy
    /// Divides a completion's loss by its tokens.
    public var normalisesLength = false
    public init(gamma: Double = 0.5) { self.gamma = gamma }

    private static let largest = 10.0

    public func callAsFunction(_ inputs: PolicyLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.logProbs)
        for row in 0..<inputs.logProbs.rows {
            try inputs.checked(Self.name, row)
            let weight = 1 / Double(step.pairs) / (normalisesLength ? Double(max(1, inputs.logProbs.count(row))) : 1)
            switch ratio {
            case .sequence:
                let term = self.term(logRatio: inputs.logRatio(row), advantage: inputs.advantage(row))
                loss.value += weight * term.value
                loss.fill(row: row, with: weight * term.slope)
            case .token:
                for t in inputs.logProbs.range(row) {
                    let term = self.term(logRatio: inputs.logProbs.values[t] - inputs.old.values[t], advantage: inputs.advantages.values[t])
                    loss.value += weight * term.value
                    loss.gradient.values[t] = weight * term.slope
                }
            }
            if divergence != .exact { loss.record("kl_previous", penalty(min(Self.largest, max(-Self.largest, inputs.logRatio(row)))).value) }
            loss.record("log_ratio/abs", abs(inputs.logRatio(row)))
        }
        return loss
    }

    /// The loss of one ratio, and its derivative with respect to u.
    func term(logRatio: Double, advantage: Double) -> (value: Double, slope: Double) {
        let u = min(Self.largest, max(-Self.largest, logRatio))
        let kl = penalty(u)
        let slope = -exp(u) * advantage + gamma * kl.slope
        return (-exp(u) * advantage + gamma * kl.value + slope * (logRatio - u), slope)
    }

    private func penalty(_ u: Double) -> (value: Double, slope: Double) {
        switch divergence {
        case .policy: (exp(u) * u - exp(u) + 1, exp(u) * u)
        case .previous: (exp(u) - 1 - u, exp(u) - 1)
        case .exact: (0, 0)
        }
    }
}
