import Foundation
import Models
import Tensors

extension OnlineLoop {
    /// What the updates of one step came to.
    struct Updates {
        /// Means over the updates; the learning rate is that of all of them.
        var loss = 0.0, norm = 0.0, rate = 0.0
        var count = 0
        /// The quantity that was not finite; updates after it were not made.
        var broken: String?
    }

    /// The updates of one step: `innerEpochs` passes over its samples, cut by prompts into `miniBatches` parts.
    mutating func learn(from experience: Experience, _ weighing: Weighing, into metrics: inout Metrics) throws -> Updates {
        var updates = Updates()
        let groups = experience.groups.indices.filter { group in weighing.trained.contains { experience.samples[$0].group == group } }
        let members = Dictionary(grouping: weighing.trained) { experience.samples[$0].group }
        updates.rate = schedule.rate(at: state.step)
        guard !groups.isEmpty else { return updates }
        let start = online.rollbackKL > 0 ? PolicySnapshot(policy, optimizer) : nil
        passes: for pass in 0..<online.innerEpochs {
            var stream = RandomStream(seed: UInt64(training.seed), stream: RandomStreamID.miniBatches, index: UInt64(state.step * online.innerEpochs + pass))
            let shuffled = online.miniBatches > 1 ? stream.permutation(groups.count).map { groups[$0] } : groups
            let size = (groups.count + online.miniBatches - 1) / online.miniBatches
            for part in chunks(shuffled, of: size) {
                let samples = part.sorted().flatMap { members[$0] ?? [] }
                let divergence = try update(samples, experience, weighing, &updates, &metrics)
                if updates.broken != nil { break passes }
                if online.maxInnerKL > 0, divergence > online.maxInnerKL { break passes }
            }
        }
        if updates.count > 0 {
            updates.loss /= Double(updates.count)
            updates.norm /= Double(updates.count)
        }
        if let start, updates.broken == nil { try rollBack(to: start, experience, weighing.trained, &metrics) }
        return updates
    }

    /// One update, of the policy, of the value model if there is one, or of that alone.
    /// - Returns: The mean over completions of Σ_t (ρ log ρ − ρ + 1), an estimate of KL(π_θ‖π_old) before it, in nats.
    private func update(
        _ samples: [Int], _ experience: Experience, _ weighing: Weighing, _ updates: inout Updates, _ metrics: inout Metrics
    ) throws -> Double {
        let totals = StepTotals(pairs: samples.count, tokens: samples.reduce(0) { $0 + experience.samples[$1].tokens.count })
        var (loss, valueLoss, drift) = (0.0, 0.0, Drift())
        do {
            for part in microBatches(samples, experience) {
                if policyLearns {
                    loss += try accumulate(part, experience, weighing, totals, &drift, &metrics)
                    // Before the first update the policies are the same, and so is the gradient of the divergence: 0.
                    if let anchor, updates.count > 0, let student = policy as? any DistributionPolicy {
                        loss += try anchor.accumulate(part, experience, of: student, step: totals, into: &metrics)
                    }
                }
                if let critic { valueLoss += try critic.accumulate(part, experience, weighing, step: totals, into: &metrics) }
            }
        } catch let error as ObjectiveError { return refuse(error.description, &updates) }
        let norm = policyLearns ? optimizer.gradientNorm(of: policy) : 0
        let valueNorm = critic.map { $0.optimizer.gradientNorm(of: $0.model) } ?? 0
        guard norm.isFinite else { return refuse("the gradient's norm", &updates) }
        guard valueNorm.isFinite else { return refuse("the norm of the value model's gradient", &updates) }
        if policyLearns {
            optimizer.update(policy, learningRate: updates.rate, gradientNorm: norm)
            drift.record(into: &metrics, isFirst: updates.count == 0)
        }
        if let critic {
            let rate = critic.settings.schedule(training, totalSteps: totalSteps).rate(at: state.step)
            critic.optimizer.update(critic.model, learningRate: rate, gradientNorm: valueNorm)
            metrics.record("loss/policy_avg", sum: loss, count: 1)
            metrics.record("loss/value_avg", sum: valueLoss, count: 1)
            metrics.record("val/grad_norm", sum: valueNorm, count: 1)
            loss += critic.settings.coefficient * valueLoss
        }
        (updates.loss, updates.norm, updates.count) = (updates.loss + loss, updates.norm + norm, updates.count + 1)
        return drift.divergence / Double(max(1, samples.count))
    }

    /// Adds the gradient of the method's loss of some samples.
    private func accumulate(
        _ samples: [Int], _ experience: Experience, _ weighing: Weighing, _ totals: StepTotals, _ drift: inout Drift, _ metrics: inout Metrics
    ) throws -> Double {
        let scores = try policy.logProbs(of: experience.tree(samples, reads: .logProbs(temperature: online.temperature)))
        drift.add(scores.logProbs, samples, experience)
        metrics.record("entropy", sum: scores.entropies.reduce(0, +), count: Double(scores.entropies.count))
        let share = try method.loss(scores.logProbs, of: samples, in: experience, weighing, step: totals)
        guard share.value.isFinite else { throw ObjectiveError.notFinite(objective: Method.name, quantity: "the loss", row: 0) }
        metrics.add(share.metrics)
        try policy.backward(share.scoreGradient)
        return share.value
    }

    private func refuse(_ quantity: String, _ updates: inout Updates) -> Double {
        updates.broken = quantity
        optimizer.clearGradients(of: policy)
        if let critic { critic.optimizer.clearGradients(of: critic.model) }
        return 0
    }

    /// False while the value model learns alone.
    private var policyLearns: Bool { state.step >= critic?.settings.warmupSteps ?? 0 }

    /// Samples of at most `batchSize` prompts each.
    func microBatches(_ samples: [Int], _ experience: Experience) -> [[Int]] {
        var parts: [[Int]] = []
        var groups = 0
        var last = -1
        for sample in samples {
            let group = experience.samples[sample].group
            if group != last { (groups, last) = (groups + 1, group) }
            if parts.isEmpty || groups > training.batchSize { (parts, groups) = (parts + [[]], 1) }
            parts[parts.count - 1].append(sample)
        }
        return parts
    }
}
