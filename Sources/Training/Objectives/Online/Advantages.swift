import Foundation
import Models

/// From scores of whole completions to a number per token: rewards with a KL penalty, advantages, returns.
public enum Advantages {
    /// −β·k(t) on every token, and the completion's score on its last one.
    ///
    /// The penalty compares the policy that sampled with the reference; both are constants. The score is on the last generated token,
    /// where TRL's former PPO put it one later.
    /// - Parameters:
    ///   - sampled: log π_old of each token, nats.
    ///   - scores: One a completion, the penalty for a missing end already taken off.
    public static func tokenRewards(
        sampled: Ragged, reference: Ragged, scores: [Double], klCoefficient: Double, estimator: KLEstimator = .k1
    ) -> Ragged {
        precondition(sampled.offsets == reference.offsets, "\(sampled.values.count) log-probs, \(reference.values.count) of the reference")
        precondition(scores.count == sampled.rows, "\(scores.count) scores of \(sampled.rows) completions")
        var rewards = sampled
        for t in rewards.values.indices { rewards.values[t] = -klCoefficient * estimator(sampled.values[t], reference: reference.values[t]).value }
        for row in 0..<rewards.rows where rewards.count(row) > 0 { rewards.values[rewards.range(row).upperBound - 1] += scores[row] }
        return rewards
    }

    /// Generalized advantage estimation, backwards over each completion.
    ///
    ///     δ_t = r_t + γ·V_(t+1) − V_t,  A_t = δ_t + γ·λ·A_(t+1),  G_t = A_t + V_t;  V and A after the last token are 0
    ///
    /// Source: Schulman et al. 2016, eq. 16. V_t is read where token t is predicted, before it is there.
    public static func generalized(rewards: Ragged, values: Ragged, gamma: Double = 1, lambda: Double = 0.95) -> (advantages: Ragged, returns: Ragged) {
        precondition(rewards.offsets == values.offsets, "\(rewards.values.count) rewards, \(values.values.count) values")
        var (advantages, returns) = (rewards, rewards)
        for row in 0..<rewards.rows {
            var (next, nextValue) = (0.0, 0.0)
            for t in rewards.range(row).reversed() {
                next = rewards.values[t] + gamma * nextValue - values.values[t] + gamma * lambda * next
                nextValue = values.values[t]
                advantages.values[t] = next
                returns.values[t] = next + nextValue
            }
        }
        return (advantages, returns)
    }

    /// (x − μ)/√(σ² + 1e-8) over all tokens, σ² with n − 1; with `keepsMean`, μ is added again.
    public static func whitened(_ values: Ragged, keepsMean: Bool = false) -> Ragged {
        guard values.values.count > 1 else { return values }  // one number has no spread
        let (mean, deviation) = moments(values.values)
        var whitened = values
        for t in whitened.values.indices {
            whitened.values[t] = (values.values[t] - mean) / (deviation * deviation + 1e-8).squareRoot() + (keepsMean ? mean : 0)
        }
        return whitened
    }

    /// R_i − mean of the *other* rewards of its group: the sum over a group is 0.
    ///
    /// Source: Ahmadian et al. 2024 (RLOO), eq. 8. Rewards of one group are adjacent. A lone sample has no other: its advantage is 0.
    public static func leaveOneOut(_ rewards: [Double], groupSize: Int) -> [Double] {
        byGroup(rewards, groupSize) { group in
            guard group.count > 1 else { return [0] }
            let sum = group.reduce(0, +)
            return group.map { $0 - (sum - $0) / Double(group.count - 1) }
        }
    }

    /// What group advantages are divided by.
    public enum Scale: String, CaseIterable, Sendable, Codable {
        /// The group's standard deviation, or the whole batch's, or nothing (Dr. GRPO).
        case group, batch, none
    }

    /// (R_i − mean of its group)/(s + 1e-4), s with n − 1. Source: Shao et al. 2024 (GRPO), §4.1.2; 1e-4 is TRL's.
    public static func groupRelative(_ rewards: [Double], groupSize: Int, scale: Scale = .group) -> [Double] {
        let batch = moments(rewards).deviation
        return byGroup(rewards, groupSize) { group in
            let (mean, deviation) = moments(group)
            let divisor =
                switch scale {
                case .group: deviation + 1e-4
                case .batch: batch + 1e-4
                case .none: 1.0
                }
            return group.map { ($0 - mean) / divisor }
        }
    }

    /// (A − μ)/(σ + 1e-4) over the batch, σ with n − 1: TRL's `normalize_advantages` of RLOO.
    public static func normalised(_ advantages: [Double]) -> [Double] {
        let (mean, deviation) = moments(advantages)
        return advantages.map { ($0 - mean) / (deviation + 1e-4) }
    }

    /// Mean, and standard deviation with n − 1; the deviation of one number is 0.
    static func moments(_ values: [Double]) -> (mean: Double, deviation: Double) {
        guard !values.isEmpty else { return (0, 0) }
        let mean = values.reduce(0, +) / Double(values.count)
        guard values.count > 1 else { return (mean, 0) }
        return (mean, (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot())
    }

    private static func byGroup(_ rewards: [Double], _ size: Int, _ transform: ([Double]) -> [Double]) -> [Double] {
        precondition(size > 0 && rewards.count % size == 0, "\(rewards.count) rewards in groups of \(size)")
        return stride(from: 0, to: rewards.count, by: size).flatMap { transform(Array(rewards[$0..<$0 + size])) }
    }
}

/// Keeps the KL near a target by moving its coefficient, slowly.
///
///     e = clip(KL/target − 1, −0.2, 0.2)          β ← β·(1 + e·n/horizon)
///
/// Source: Ziegler et al. 2019, §2.2; KL is the mean over samples of Σ_t k1, in nats, n the samples seen since.
public struct AdaptiveKL: Sendable, Equatable {
    public var coefficient: Double
    public var target: Double
    public var horizon: Double

    public init(coefficient: Double = 0.2, target: Double = 6, horizon: Double = 10_000) {
        (self.coefficient, self.target, self.horizon) = (coefficient, target, horizon)
    }

    public mutating func update(kl: Double, samples: Int) {
        coefficient *= 1 + min(0.2, max(-0.2, kl / target - 1)) * Double(samples) / horizon
    }
}
