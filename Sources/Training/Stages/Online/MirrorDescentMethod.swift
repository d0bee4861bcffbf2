import Models

/// `align mdpo`.
public struct MirrorDescentSettings: OnlineStageSettings {
    public var gamma = 0.5
    public var ratio = MDPO.Ratio.sequence
    public var divergence = MDPO.Divergence.policy
    public var normalisesLength = false
    public var normalisesAdvantages = false
    public var online: OnlineSettings = {
        var settings = OnlineSettings()
        settings.innerEpochs = 4
        return settings
    }()
    public var training = TrainingSettings(learningRate: 1e-6)
    public init() {}

    public static let fields: [SettingField<MirrorDescentSettings>] = [
        .number("gamma", \.gamma, expected: "a number above 0, such as 0.5", where: { $0 > 0 }, group: "Objective",
            help: "weight of the KL to the policy that sampled: one over the step size of mirror descent"),
        .choice("ratio", \.ratio, group: "Objective", help: "one ratio for the completion, or one for each token"),
        .choice("divergence", \.divergence, group: "Objective", help: "policy: KL of the policy from the one that sampled; previous: the other way round; exact: the first, over the whole vocabulary at every token, for a second model in memory"),
        .flag("length-norm", \.normalisesLength, group: "Objective", help: "divide a completion's loss by its tokens"),
        .flag("normalize-advantages", \.normalisesAdvantages, group: "Objective", help: "divide advantages by their standard deviation over the step"),
    ] + sharedFields

    public func validate() throws(SettingError) { try validateShared(leastSamples: 2, for: "leaving one out") }
}

/// Mirror descent with leave-one-out advantages: AFM's MDLOO.
public struct MirrorDescentMethod: OnlineMethod {
    public static let name = "mdpo"
    public static let summary = "sample, score, and take mirror-descent steps: a soft pull to the policy that sampled in place of clipping"
    private let settings: MirrorDescentSettings
    public init(_ settings: MirrorDescentSettings) { self.settings = settings }

    public var pull: Anchor.Pull? {
        settings.divergence == .exact ? Anchor.Pull(weight: settings.gamma, normalisesLength: settings.normalisesLength) : nil
    }

    public func weigh(_ experience: Experience) -> Weighing { Weighing(leavingOneOut: experience, normalises: settings.normalisesAdvantages) }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        var objective = MDPO(gamma: settings.gamma)
        (objective.ratio, objective.divergence, objective.normalisesLength) = (settings.ratio, settings.divergence, settings.normalisesLength)
        return try objective(experience.inputs(logProbs, of: samples, weighing), step: step)
    }
}
