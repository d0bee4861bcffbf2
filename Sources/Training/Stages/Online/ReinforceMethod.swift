import Models

/// `align reinforce`.
public struct ReinforceSettings: OnlineStageSettings {
    public enum Baseline: String, CaseIterable, Sendable, Codable { case batch, none }

    public var baseline = Baseline.batch
    public var online: OnlineSettings = {
        var settings = OnlineSettings()
        settings.samples = 1
        return settings
    }()
    public var training = TrainingSettings(learningRate: 1e-6)
    public init() {}

    public static let fields: [SettingField<ReinforceSettings>] = [
        .choice("baseline", \.baseline, group: "Objective", help: "what is taken off rewards: the step's mean, or nothing"),
    ] + sharedFields

    public func validate() throws(SettingError) { try validateShared() }
}

/// REINFORCE: one gradient of the expected reward, the completion being one action.
public struct ReinforceMethod: OnlineMethod {
    public static let name = "reinforce"
    public static let summary = "sample, score, and reinforce what is better than the step's mean"
    private let settings: ReinforceSettings
    public init(_ settings: ReinforceSettings) { self.settings = settings }

    public func weigh(_ experience: Experience) -> Weighing {
        let rewards = experience.penalisedRewards
        let baseline = settings.baseline == .batch ? mean(rewards) : 0
        return Weighing(experience, advantages: rewards.map { $0 - baseline })
    }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        try REINFORCE()(experience.inputs(logProbs, of: samples, weighing), step: step)
    }
}
