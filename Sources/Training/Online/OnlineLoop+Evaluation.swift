import Models

extension OnlineLoop {
    /// Samples the held-out prompts, the same draws each time, and scores them by the trained and by the held-out reward.
    mutating func evaluate() async throws -> Bool {
        try await rolling.rollouts.synchronize(policy, version: state.updates)
        let heldOut = try heldOut.prefix(heldOut.count)
        let rows = heldOut.enumerated().map { (index: $0.offset, row: $0.element) }
        guard let rollouts = try await rolling.complete(rows, samples: 1, step: 0, evaluates: true, isCancelled: context.isCancelled) else { return false }
        let scored = try await rolling.score(rollouts, of: heldOut, by: reward)
        var metrics = Metrics()
        metrics.record(scored, groups: [])
        metrics.record("reward_std", sum: deviation(scored.map(\.value)), count: 1)
        if let heldOutReward {
            let others = try await rolling.score(rollouts, of: heldOut, by: heldOutReward)
            metrics.record("heldout_reward", sum: mean(others.map(\.value)), count: 1)
        }
        if reference != nil {
            let experience = try experience(heldOut.map(\.tokens), Candidates(scored, perPrompt: 1, prompts: rows.map(\.index), pool: nil))
            metrics.record("objective/kl", sum: mean(experience.samples.indices.map { experience.divergence($0) }), count: 1)
        }
        let before = state.last
        let line = try logEvaluation(metrics.means.map { ($0.name, $0.value) })
        watch(before)
        context.report(.evaluation(step: state.step, metrics: line, isBest: false))
        return true
    }

    /// Counts evaluations at which the reward rose while the held-out one fell (`RewardWatch`): what is learned there is the reward's faults.
    private mutating func watch(_ before: [String: Double]) {
        guard let then = Self.reading(before), let now = Self.reading(state.last) else { return }
        state.memory["watch"] = Double(RewardWatch.count(after: Int(state.memory["watch"] ?? 0), from: then, to: now))
    }

    /// nil where one of the rewards is unknown.
    private static func reading(_ metrics: [String: Double]) -> RewardWatch.Reading? {
        metrics["eval_reward"].flatMap { reward in metrics["eval_heldout_reward"].map { RewardWatch.Reading(reward: reward, heldOut: $0) } }
    }

    var watchStops: Bool { online.watchPatience > 0 && Int(state.memory["watch"] ?? 0) >= online.watchPatience }
}
