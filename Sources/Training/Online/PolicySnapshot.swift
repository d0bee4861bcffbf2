import Models
import Tensors

/// Weights and moments of a policy at one time, to go back to: three times the memory of its weights.
struct PolicySnapshot {
    private let buffers: [FloatBuffer]
    private let steps: Int

    init(_ policy: any TrainablePolicy, _ optimizer: AdamW) {
        steps = optimizer.steps
        buffers = Self.buffers(policy, optimizer).map { source in
            let copy = FloatBuffer(count: source.count)
            copy.base.update(from: source.base, count: source.count)
            return copy
        }
    }

    func restore(_ policy: any TrainablePolicy, _ optimizer: AdamW) {
        for (saved, target) in zip(buffers, Self.buffers(policy, optimizer)) { target.base.update(from: saved.base, count: saved.count) }
        optimizer.steps = steps
        policy.weightsChanged()
    }

    private static func buffers(_ policy: any TrainablePolicy, _ optimizer: AdamW) -> [FloatBuffer] {
        [policy.weights, optimizer.firstMoment, optimizer.secondMoment]
    }
}

extension OnlineLoop {
    /// Takes the step's updates of the policy back if they moved it too far; what a value model learned of the returns stays.
    func rollBack(to start: PolicySnapshot, _ experience: Experience, _ samples: [Int], _ metrics: inout Metrics) throws {
        var drift = Drift()
        for part in microBatches(samples, experience) {
            drift.add(try policy.scores(of: experience.tree(part, reads: .logProbs(temperature: online.temperature))).logProbs, part, experience)
        }
        let divergence = drift.divergence / Double(max(1, samples.count))
        let isTooFar = !(divergence <= online.rollbackKL)
        if isTooFar { start.restore(policy, optimizer) }
        if divergence.isFinite { metrics.record("policy/step_kl", sum: divergence, count: 1) }
        metrics.record("policy/rolled_back", sum: isTooFar ? 1 : 0, count: 1)
    }
}
