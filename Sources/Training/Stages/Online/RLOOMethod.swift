import Models

/// `align rloo`.
public struct RLOOSettings: OnlineStageSettings {
    public var clipRange = 0.2
    public var normalisesAdvantages = false
    public var online = OnlineSettings()
    public var training = TrainingSettings(learningRate: 1e-6)
    public init() {}

    public static let fields: [SettingField<RLOOSettings>] = [
        .number("cliprange", \.clipRange, expected: "a number above 0", where: { $0 > 0 }, group: "Objective", aliases: ["epsilon"],
            help: "how far a completion's ratio moves before its gradient ends"),
        .flag("normalize-advantages", \.normalisesAdvantages, group: "Objective", help: "divide advantages by their standard deviation over the step"),
    ] + sharedFields

    public func validate() throws(SettingError) { try validateShared(leastSamples: 2, for: "leaving one out") }
}

/// REINFORCE with the other completions' mean as baseline; the KL to the reference is in the reward.
public struct RLOOMethod: OnlineMethod {
    public static let name = "rloo"
    public static let summary = "sample, score, and reinforce what is better than the other completions of its prompt"
    private let settings: RLOOSettings
    public init(_ settings: RLOOSettings) { self.settings = settings }

    public func weigh(_ experience: Experience) -> Weighing { Weighing(leavingOneOut: experience, normalises: settings.normalisesAdvantages) }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        try RLOO(clipRange: settings.clipRange)(experience.inputs(logProbs, of: samples, weighing), step: step)
    }
}
