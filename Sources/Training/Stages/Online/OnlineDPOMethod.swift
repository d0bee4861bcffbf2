import Models

/// `align online-dpo`.
public struct OnlineDPOSettings: OnlineStageSettings {
    public enum Kind: String, CaseIterable, Sendable, Codable { case sigmoid, ipo, hinge }

    public var kind = Kind.sigmoid
    public var gap = 0.0
    public var online: OnlineSettings = {
        var settings = OnlineSettings()
        (settings.samples, settings.beta) = (4, 0.1)
        return settings
    }()
    public var training = TrainingSettings(learningRate: 5e-7)
    public init() {}

    public static let fields: [SettingField<OnlineDPOSettings>] = [
        .choice("loss", \.kind, group: "Objective", aliases: ["loss_type"], help: "the loss of a pair"),
        .number("min-gap", \.gap, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective",
            help: "prompts whose best and worst completion differ by no more train nothing"),
    ] + sharedFields

    public func validate() throws(SettingError) {
        try validateShared(leastSamples: 2, for: "a pair")
        if online.beta == 0 { throw .conflict(settings: ["beta"], reason: "a preference loss needs a beta above 0") }
    }
}

/// DPO on pairs that the policy itself has just written: the best and the worst of each prompt's completions.
///
/// Sources: Guo et al. 2024 (online DPO), Qwen 2's report, §4.3.
public struct OnlineDPOMethod: OnlineMethod {
    public static let name = "online-dpo"
    public static let summary = "sample, let the reward pick best and worst, and fit the policy to that pair"
    private let settings: OnlineDPOSettings
    public init(_ settings: OnlineDPOSettings) { self.settings = settings }

    /// The advantage of the better side is 1, of the worse −1.
    public func weigh(_ experience: Experience) -> Weighing {
        var advantages = experience.samples.map { _ in 0.0 }
        var trained: [Int] = []
        var margins: [Double] = []
        var pairs: [Weighing.Pair] = []
        for group in experience.groups {
            let scores = group.map { experience.samples[$0].score }
            guard let best = scores.indices.max(by: { (scores[$0], $1) < (scores[$1], $0) }),
                let worst = scores.indices.min(by: { (scores[$0], $0) < (scores[$1], $1) }), scores[best] - scores[worst] > settings.gap,
                experience.samples[group[best]].tokens != experience.samples[group[worst]].tokens
            else { continue }
            (advantages[group[best]], advantages[group[worst]]) = (1, -1)
            trained += [group[best], group[worst]].sorted()
            pairs.append(.init(chosen: group[best], rejected: group[worst]))
            margins.append(scores[best] - scores[worst])
        }
        var weighing = Weighing(experience, advantages: advantages, trained: trained)
        weighing.pairs = pairs
        weighing.metrics.record("objective/scores_margin", sum: margins.reduce(0, +), count: Double(margins.count))
        weighing.metrics.record("pairs_fraction", sum: Double(margins.count), count: Double(max(1, experience.prompts.count)))
        return weighing
    }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        // Trained samples come as pairs; the objective wants all better sides, then all worse ones.
        let better = samples.indices.filter { (weighing.advantages[samples[$0]].first ?? 0) > 0 }
        let rows = better + samples.indices.filter { (weighing.advantages[samples[$0]].first ?? 0) < 0 }
        guard let reference = experience.reference else { preconditionFailure("a preference loss of \(samples.count) samples without a reference") }
        let inputs = PairLogProbs(
            logProbs: Ragged(rows: rows.map { Array(logProbs[$0]) }), reference: rows.map { reference.sum(samples[$0]) })
        let objective: any PairwiseObjective =
            switch settings.kind {
            case .sigmoid: DPO(beta: experience.beta)
            case .ipo: IPO(beta: experience.beta)
            case .hinge: Hinge(beta: experience.beta)
            }
        let found = try objective(inputs, step: StepTotals(pairs: step.pairs / 2, tokens: step.tokens))
        var loss = Loss(gradientLike: logProbs)
        (loss.value, loss.metrics) = (found.value, found.metrics)
        for (row, place) in rows.enumerated() {
            for (from, to) in zip(found.gradient.range(row), loss.gradient.range(place)) { loss.gradient.values[to] = found.gradient.values[from] }
        }
        return loss
    }
}
