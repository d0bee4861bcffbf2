import Models
import Tensors

/// The policy that sampled, kept through a step's updates, and an exact divergence from it.
///
///     γ/B·Σ_i Σ_t KL(π(·|x, y_<t)‖π_k(·|x, y_<t))          over the whole vocabulary, at every token that π_k sampled
///
/// One token's estimate of the same divergence has more variance; this one is biased by the prefixes being π_k's. It costs a second model in
/// memory and a second forward and backward an update. Source: Tomar et al. 2020 (MDPO), eq. 5.
public final class Anchor {
    /// What a method asks for.
    public struct Pull: Sendable, Equatable {
        var weight: Double  // γ, of the divergence
        /// Divides a completion's sum by its tokens.
        var normalisesLength: Bool
    }

    private let pull: Pull
    private let policy: any TrainablePolicy & DistributionPolicy
    private let compute: Compute
    private let objective: GKD

    /// - Parameters:
    ///   - policy: A model of its own, of the trained one's shape.
    ///   - temperature: Of the distributions, as sampled.
    init(_ pull: Pull, policy: any TrainablePolicy & DistributionPolicy, temperature: Double, compute: Compute) {
        (self.pull, self.policy, self.compute) = (pull, policy, compute)
        objective = GKD(beta: 1, temperature: temperature)
    }

    /// Takes over the weights of the policy that samples.
    func follow(_ sampling: any TrainablePolicy) { policy.copyWeights(of: sampling, mixture: 1, on: compute) }

    /// Adds the divergence's gradient at some samples to the policy's.
    /// - Parameter step: Completions (`pairs`) of the whole update.
    /// - Returns: γ/B times the divergence.
    func accumulate(
        _ samples: [Int], _ experience: Experience, of student: any DistributionPolicy, step: StepTotals, into metrics: inout Metrics
    ) throws -> Double {
        let scales = samples.flatMap { index in
            let count = experience.samples[index].tokens.count
            return [Double](repeating: pull.weight / Double(step.pairs) / (pull.normalisesLength ? Double(count) : 1), count: count)
        }
        let tree = experience.tree(samples, reads: .logProbs(temperature: objective.temperature))
        let values = try objective.divergences(of: student, from: policy, on: tree, weights: scales, learns: true, compute: compute)
        metrics.record("kl_previous", sum: values.reduce(0, +), count: Double(samples.count))
        return zip(scales, values).reduce(0) { $0 + $1.0 * $1.1 }
    }
}

extension TrainablePolicy {
    /// θ ← m·θ_other + (1−m)·θ, of a policy of the same shape.
    func copyWeights(of other: any TrainablePolicy, mixture: Double, on compute: Compute) {
        let (target, source) = (weights, other.weights)
        precondition(target.count == source.count, "\(target.count) weights and \(source.count)")
        let (new, old) = (Float(mixture), Float(1 - mixture))
        changeWeights(on: compute) { piece, _ in
            for i in piece { target.base[i] = new * source.base[i] + old * target.base[i] }
        }
    }
}
