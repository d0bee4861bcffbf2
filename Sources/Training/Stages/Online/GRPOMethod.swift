import Models

/// `align grpo`.
public struct GRPOSettings: OnlineStageSettings {
    public var variant = GRPO.Variant.dapo
    public var importance = GRPO.Importance.token
    public var clipLow = 0.2
    /// 0: as `clipLow`.
    public var clipHigh = 0.0
    /// 0: none.
    public var ratioLimit = 0.0
    public var scale = Advantages.Scale.group
    public var masksTruncated = false
    public var dropsEqualGroups = false
    public var online: OnlineSettings = {
        var settings = OnlineSettings()
        (settings.samples, settings.beta) = (8, 0)
        return settings
    }()
    public var training = TrainingSettings(learningRate: 1e-6)
    public init() {}

    public static let fields: [SettingField<GRPOSettings>] = [
        .choice("loss", \.variant, group: "Objective", aliases: ["loss_type"], help: "how tokens are clipped and averaged"),
        .choice("importance", \.importance, group: "Objective", aliases: ["importance_sampling_level"],
            help: "a ratio for each token, or one for the completion (GSPO)"),
        .number("epsilon", \.clipLow, expected: "a number above 0", where: { $0 > 0 }, group: "Objective", aliases: ["cliprange"],
            help: "how far a ratio falls, and without --epsilon-high rises, before its gradient ends"),
        .number("epsilon-high", \.clipHigh, expected: "a number of at least 0, such as 0.28", where: { $0 >= 0 }, group: "Objective",
            help: "how far a ratio rises before its gradient ends; 0: as far as --epsilon"),
        .number("delta", \.ratioLimit, expected: "0, or a number above 1", where: { $0 == 0 || $0 > 1 }, group: "Objective", help: "ratios are held below it; 0: they are not"),
        .choice("scale-rewards", \.scale, group: "Objective", help: "what advantages are divided by: the group's deviation, the step's, or nothing"),
        .flag("mask-truncated-completions", \.masksTruncated, group: "Objective", help: "completions that were cut off train nothing"),
        .flag("dynamic-sampling", \.dropsEqualGroups, group: "Objective",
            help: "prompts whose completions all have one reward train nothing, and do not count"),
    ] + sharedFields

    public func validate() throws(SettingError) { try validateShared(leastSamples: 2, for: "a group") }
}

/// Group-relative policy optimisation and its variants; the KL to the reference, if any, is in the loss.
public struct GRPOMethod: OnlineMethod {
    public static let name = "grpo"
    public static let summary = "sample groups, score, and learn from what each completion is relative to its group"
    private let settings: GRPOSettings
    public init(_ settings: GRPOSettings) { self.settings = settings }

    public func weigh(_ experience: Experience) -> Weighing {
        let scores = experience.samples.map(\.score)
        let advantages = Advantages.groupRelative(scores, groupSize: experience.groupSize, scale: settings.scale)
        let trained = experience.groups.filter { group in
            !settings.dropsEqualGroups || Set(group.map { scores[$0] }).count > 1
        }.flatMap { $0 }.filter { !settings.masksTruncated || experience.samples[$0].isWhole }
        return Weighing(experience, advantages: advantages, trained: trained)
    }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        var objective = GRPO(settings.variant)
        objective.importance = settings.importance
        (objective.clipLow, objective.clipHigh) = (settings.clipLow, settings.clipHigh > 0 ? settings.clipHigh : settings.clipLow)
        objective.ratioLimit = settings.ratioLimit > 0 ? settings.ratioLimit : nil
        objective.beta = experience.beta
        objective.maxCompletionLength = settings.online.maxNewTokens
        return try objective(experience.inputs(logProbs, of: samples, weighing, usesReference: true), step: step)
    }
}
