import Foundation
import Models
import Serialization
import Tensors

/// Takes a policy through its online steps: sample, score, weigh, update some times.
struct OnlineLoop<Method: OnlineMethod>: StepLoop {
    let method: Method
    let online: OnlineSettings
    let training: TrainingSettings
    let prompts: RowList<PromptRow>
    let heldOut: RowList<PromptRow>
    let policy: any TrainablePolicy
    let optimizer: AdamW
    /// Scores tokens as the reference does; nil where nothing asks for it.
    let reference: (any Policy)?
    /// The value model of methods that train one.
    let critic: Critic?
    /// The policy that sampled, for methods with an exact divergence from it.
    let anchor: Anchor?
    let rolling: Rolling
    let reward: any Reward
    let heldOutReward: (any Reward)?
    let run: RunDirectory
    let completions: CompletionLog
    /// Keeps what was sampled; nil where there is no store.
    let keeper: SampleKeeper?
    let saveWeights: (_ dtype: String, _ folder: String) throws -> Void
    let context: StageContext

    /// Of methods whose samples compete again; nil for all others.
    var pool: SamplePool?
    var state: LoopState
    var clock = LoopClock()
    var order: BatchOrder

    var totalSteps: Int { training.totalSteps(rows: prompts.count) }
    var beta: Double { state.memory["beta"] ?? online.beta }

    var stage: String { Method.name }
    var evaluates: Bool { !heldOut.isEmpty }
    var stopsEarly: Bool { watchStops }

    func saveBeside(_ checkpoint: String) throws {
        try completions.sync()
        try critic?.save(to: checkpoint)
        try pool?.save(to: checkpoint)
    }

    // MARK: One step

    mutating func takeStep() async throws -> Bool {
        clock.start()
        policy.beginStep(state.step)
        let rows = try order.microBatches(of: state.step).joined().map { (index: $0, row: try prompts.row($0)) }
        try await rolling.rollouts.synchronize(policy, version: state.updates)
        guard let rollouts = try await rolling.complete(
            rows, samples: online.samples, step: state.step, evaluates: false, isCancelled: context.isCancelled) else { return false }
        let owners = rows.flatMap { row in Array(repeating: row.row, count: online.samples) }
        let fresh = try await rolling.score(rollouts, of: owners, by: reward)
        let candidates = Candidates(fresh, perPrompt: online.samples, prompts: rows.map(\.index), pool: pool)
        var experience = try experience(rows.map(\.row.tokens), candidates)
        try readValues(of: &experience)
        let weighing = method.weigh(experience)
        try keeper?.keep(candidates.scored, weighing.pairs, of: candidates.groups.map { rows[$0].row })

        var metrics = weighing.metrics
        metrics.record(fresh, groups: chunks(Array(fresh.indices), of: online.samples))
        record(experience, candidates.scored, into: &metrics)
        anchor?.follow(policy)
        let updates = try learn(from: experience, weighing, into: &metrics)
        let tokens = experience.samples.reduce(0) { $0 + $1.tokens.count + experience.prompts[$1.group].count }
        steerBeta(experience)
        if pool != nil, updates.broken == nil { remember(candidates, weighing, rows.map(\.index)) }
        stepped(tokens: tokens)
        state.memory["episodes", default: 0] += Double(fresh.count)
        if let critic { state.memory[Critic.updates] = Double(critic.optimizer.steps) }
        if let broken = updates.broken {
            try refuse(records(experience), because: broken)
            return true
        }
        state.nonfinite = 0
        if isLogged {
            try log(loss: updates.loss, norm: updates.norm, rate: updates.rate, metrics.means.filter { $0.value.isFinite })
            try keepCompletions(candidates, weighing, rows: rows.map(\.row))
        }
        return true
    }

    /// The samples with log-probs of policy and reference, a few prompts at a time.
    func experience(_ prompts: [[Int32]], _ candidates: Candidates) throws -> Experience {
        let samples = zip(candidates.scored, candidates.groups).map { sample, group in
            Experience.Sample(group: group, tokens: sample.tokens, score: sample.value, isWhole: sample.isWhole)
        }
        let unknown = Ragged(rows: samples.map { $0.tokens.map { _ in 0 } })
        var experience = Experience(prompts: prompts, samples: samples, old: unknown, reference: nil, beta: beta)
        let wantsReference = reference != nil
        var (old, theirs) = ([Double](), [Double]())
        for part in chunks(Array(prompts.indices), of: training.batchSize) {
            let tree = experience.tree(part.flatMap { experience.groups[$0] }, reads: .logProbs(temperature: online.temperature))
            old += try policy.scores(of: tree).logProbs.values
            if let reference { theirs += try reference.scores(of: tree).logProbs.values }
        }
        experience.old = Ragged(values: old, offsets: unknown.offsets)
        if wantsReference { experience.reference = Ragged(values: theirs, offsets: unknown.offsets) }
        return experience
    }

    /// V of all samples, a few prompts at a time.
    private func readValues(of experience: inout Experience) throws {
        guard let critic else { return }
        let groups = experience.groups
        let values = try chunks(Array(groups.indices), of: training.batchSize).flatMap { part in
            try critic.values(of: part.flatMap { groups[$0] }, in: experience)
        }
        experience.values = Ragged(values: values, offsets: experience.old.offsets)
    }

    /// What the step's samples are, before any update.
    private func record(_ experience: Experience, _ scored: [Rolling.Scored], into metrics: inout Metrics) {
        let samples = experience.samples.indices
        metrics.record("episode", sum: (state.memory["episodes"] ?? 0) + Double(scored.count { !$0.isEarlier }), count: 1)
        metrics.record("objective/scores", sum: mean(experience.samples.map(\.score)), count: 1)
        metrics.record("objective/entropy", sum: mean(samples.map { -experience.old.sum($0) }), count: 1)
        metrics.record("val/num_eos_tokens", sum: Double(experience.samples.count(where: \.isWhole)), count: 1)
        if experience.reference != nil {
            let penalty = mean(samples.map { beta * experience.divergence($0, by: method.estimator) })
            metrics.record("objective/kl", sum: mean(samples.map { experience.divergence($0) }), count: 1)
            metrics.record("objective/kl_coef", sum: beta, count: 1)
            metrics.record("objective/non_score_reward", sum: -penalty, count: 1)
            metrics.record("objective/rlhf_reward", sum: mean(experience.samples.map(\.score)) - penalty, count: 1)
        }
        // What decoding computed against what training computes of the same tokens.
        var (sum, most, count) = (0.0, 0.0, 0.0)
        for (row, sample) in scored.enumerated() {
            for (a, b) in zip(sample.rollout.logProbs ?? [], experience.old[row]) {
                (sum, most, count) = (sum + abs(a - b), max(most, abs(a - b)), count + 1)
            }
        }
        metrics.record("sampling/sampling_logp_difference/mean", sum: sum, count: count)
        metrics.record("sampling/sampling_logp_difference/max", sum: most, count: 1)
    }

    private mutating func steerBeta(_ experience: Experience) {
        guard online.targetKL > 0, experience.reference != nil else { return }
        var controller = AdaptiveKL(coefficient: beta, target: online.targetKL, horizon: Double(online.horizon))
        controller.update(kl: mean(experience.samples.indices.map { experience.divergence($0) }), samples: experience.samples.count)
        state.memory["beta"] = controller.coefficient
    }

    /// What a step that was not applied is remembered by.
    private func records(_ experience: Experience) -> [JSON] {
        func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }
        return experience.samples.map {
            ["prompt_ids": ids(experience.prompts[$0.group]), "completion_ids": ids($0.tokens), "reward": .number($0.score)]
        }
    }

    /// What is trained on competes again.
    private mutating func remember(_ candidates: Candidates, _ weighing: Weighing, _ prompts: [Int]) {
        let kept = Dictionary(grouping: weighing.trained) { candidates.groups[$0] }
        for (group, prompt) in prompts.enumerated() { if let kept = kept[group] { pool?.keep(kept.map { candidates.scored[$0] }, of: prompt) } }
    }

    /// Appends the first completions of the step to completions.jsonl.
    private func keepCompletions(_ candidates: Candidates, _ weighing: Weighing, rows: [PromptRow]) throws {
        let lines: [JSON] = candidates.scored.prefix(online.loggedCompletions).enumerated().map { index, sample in
            var line = JSONObject([
                ("step", .integer(state.step)), ("prompt", rows[candidates.groups[index]].content.json), ("completion", .string(sample.rollout.text)),
                ("reward", .number(sample.value)), ("advantage", .number(mean(Array(weighing.advantages[index])))),
            ])
            for component in sample.score.components { line["reward/" + component.name] = .number(component.value) }
            return .object(line)
        }
        try completions.append(lines)
    }
}

/// `values` in parts of at most `size`.
func chunks<Element>(_ values: [Element], of size: Int) -> [[Element]] {
    stride(from: 0, to: values.count, by: size).map { Array(values[$0..<min(values.count, $0 + size)]) }
}

extension RolloutPrompt.Content {
    var json: JSON {
        switch self {
        case let .text(text): .string(text)
        case let .messages(messages): .array(messages)
        case let .tokens(ids): .array(ids.map { .integer(Int($0)) })
        }
    }
}
