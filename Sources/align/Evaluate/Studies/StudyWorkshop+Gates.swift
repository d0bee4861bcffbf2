import Evaluations
import Models

extension StudyWorkshop {
    /// The pool as numbers: gold and length of every sample, by prompt.
    func law() async throws -> (law: BestOfNLaw, rollouts: [Rollout]) {
        if let made = pooled { return made }
        let rollouts = try await pool()
        func byPrompt(_ value: (Rollout) -> Double) -> [[Double]] {
            stride(from: 0, to: rollouts.count, by: plan.pool.samples).map { first in (first..<first + plan.pool.samples).map { value(rollouts[$0]) } }
        }
        let made = (BestOfNLaw(gold: byPrompt { gold($0) }, lengths: byPrompt { Double($0.tokens?.count ?? 0) }), rollouts)
        pooled = made
        return made
    }

    /// A proxy's scores of the pool, by prompt.
    func ranking(by model: String) async throws -> [[Double]] {
        let scores = try await scores(try await law().rollouts, by: model)
        return stride(from: 0, to: scores.count, by: plan.pool.samples).map { Array(scores[$0..<$0 + plan.pool.samples]) }
    }

    /// Measures the world; the numbers are kept beside it.
    func gates() async throws -> WorldGates {
        let start = try transformer(try await start(plan.size))
        let (law, rollouts) = try await law()
        let crossEntropy = try crossEntropy(start)
        let clean = Proxy(pairs: 0..<3000, noise: 0, size: plan.size), noisy = Proxy(pairs: 0..<3000, noise: 0.25, size: plan.size)
        let accuracy = try await accuracy(of: try await rewardModel(clean))
        func gold(_ ranking: [[Double]]) -> Double { law.lines("", seed: seed, ranking: ranking).last { $0.step > 0 }?.gold ?? .nan }
        let (best, chosen) = (gold(law.gold), gold(try await ranking(by: try await rewardModel(noisy))))
        let ends = Double(rollouts.count { $0.finishReason != .length }) / Double(rollouts.count)
        return WorldGates(
            crossEntropy: crossEntropy, ends: ends, accuracy: accuracy, room: (best - law.meanGold) / law.deviation,
            exploited: (chosen - law.meanGold) / (best - law.meanGold))
    }
}
