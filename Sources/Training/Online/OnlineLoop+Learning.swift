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
        updates.rate = training.learningRateSchedule(totalSteps: totalSteps).rate(at: state.step)
        guard !groups.isEmpty else { return updates }
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
        return updates
    }

    /// One update.
    /// - Returns: The mean over completions of Σ_t (ρ log ρ − ρ + 1), an estimate of KL(π_θ‖π_old) before it, in nats.
    private func update(
        _ samples: [Int], _ experience: Experience, _ weighing: Weighing, _ updates: inout Updates, _ metrics: inout Metrics
    ) throws -> Double {
        let totals = StepTotals(pairs: samples.count, tokens: samples.reduce(0) { $0 + experience.samples[$1].tokens.count })
        var (loss, drift) = (0.0, Drift())
        for part in microBatches(samples, experience) {
            let scores = try policy.logProbs(of: experience.tree(part, temperature: online.temperature))
            drift.add(scores.logProbs, part, experience)
            metrics.record("entropy", sum: scores.entropies.reduce(0, +), count: Double(scores.entropies.count))
            switch share(of: scores, part, experience, weighing, totals) {
            case let .success(share):
                loss += share.value
                metrics.add(share.metrics)
                try policy.backward(share.scoreGradient)
            case let .failure(error):
                updates.broken = error.description
                optimizer.clearGradients(of: policy)
                return 0
            }
        }
        let norm = optimizer.gradientNorm(of: policy)
        guard norm.isFinite else {
            updates.broken = "the gradient's norm"
            optimizer.clearGradients(of: policy)
            return 0
        }
        optimizer.update(policy, learningRate: updates.rate, gradientNorm: norm)
        (updates.loss, updates.norm, updates.count) = (updates.loss + loss, updates.norm + norm, updates.count + 1)
        drift.record(into: &metrics, isFirst: updates.count == 1)
        return drift.divergence / Double(max(1, samples.count))
    }

    private func share(
        of scores: TokenScores, _ samples: [Int], _ experience: Experience, _ weighing: Weighing, _ totals: StepTotals
    ) -> Result<Loss, ObjectiveError> {
        do throws(ObjectiveError) {
            let share = try method.loss(scores.logProbs, of: samples, in: experience, weighing, step: totals)
            guard share.value.isFinite else { throw .notFinite(objective: Method.name, quantity: "the loss", row: 0) }
            return .success(share)
        } catch { return .failure(error) }
    }

    /// Samples of at most `batchSize` prompts each.
    private func microBatches(_ samples: [Int], _ experience: Experience) -> [[Int]] {
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

/// How far a policy has moved from the one that sampled, on the samples' tokens.
private struct Drift {
    var (tokens, ratios, squares, most) = (0.0, 0.0, 0.0, 0.0)
    /// Σ ρ log ρ − ρ + 1, and Σ (log ρ)².
    var (divergence, logs) = (0.0, 0.0)

    mutating func add(_ logProbs: Ragged, _ samples: [Int], _ experience: Experience) {
        for (row, sample) in samples.enumerated() {
            for (now, old) in zip(logProbs[row], experience.old[sample]) {
                let difference = now - old
                let ratio = exp(min(max(difference, -30), 30))
                tokens += 1
                ratios += ratio
                squares += ratio * ratio
                most = max(most, abs(ratio - 1))
                divergence += ratio * difference - ratio + 1
                logs += difference * difference
            }
        }
    }

    func record(into metrics: inout Metrics, isFirst: Bool) {
        metrics.record("val/ratio", sum: ratios, count: tokens)
        let mean = ratios / max(1, tokens)
        metrics.record("val/ratio_var", sum: max(0, squares - tokens * mean * mean), count: tokens)
        metrics.record("policy/approxkl_avg", sum: 0.5 * logs, count: tokens)
        // Exactly 0: old log-probs come from the kernels that train.
        if isFirst { metrics.record("val/first_ratio_error", sum: most, count: 1) }
    }
}
