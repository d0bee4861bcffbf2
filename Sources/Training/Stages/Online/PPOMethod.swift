import Models

/// `align ppo`.
public struct PPOSettings: OnlineStageSettings {
    public var clipRange = 0.2
    public var gamma = 1.0
    public var lambda = 0.95
    public var estimator = KLEstimator.k1
    public var whitensRewards = false
    public var whitensAdvantages = true
    public var value = ValueSettings()
    public var online: OnlineSettings = {
        var settings = OnlineSettings()
        (settings.samples, settings.innerEpochs) = (1, 4)
        return settings
    }()
    public var training = TrainingSettings(learningRate: 3e-6)
    public init() {}

    public static let fields: [SettingField<PPOSettings>] = [
        .number("cliprange", \.clipRange, expected: "a number above 0", where: { $0 > 0 }, group: "Objective", aliases: ["epsilon"],
            help: "how far a token's ratio moves before its gradient ends"),
        .number("gamma", \.gamma, expected: "a number from 0 to 1", where: { $0 >= 0 && $0 <= 1 }, group: "Objective", help: "discount of a reward one token later"),
        .number("lam", \.lambda, expected: "a number from 0 to 1", where: { $0 >= 0 && $0 <= 1 }, group: "Objective", aliases: ["lambda", "gae_lambda"],
            help: "of generalized advantage estimation: 0 trusts the value model, 1 the rewards"),
        .choice("kl-estimator", \.estimator, group: "Objective", help: "by what the KL to the reference enters each token's reward"),
        .flag("whiten-rewards", \.whitensRewards, group: "Objective", help: "divide rewards by their standard deviation over the step's tokens"),
        .flag("no-whiten-advantages", \.whitensAdvantages, inverted: true, group: "Objective",
            help: "leave advantages as they are; otherwise their mean over the step's tokens is 0 and their deviation 1"),
    ] + ValueSettings.fields.map { $0.lifted(to: valuePath) } + sharedFields
    private static var valuePath: WritableKeyPath<PPOSettings, ValueSettings> & Sendable { \.value }

    public func validate() throws(SettingError) {
        try validateShared()
        if estimator != .k1, online.beta == 0 { throw .conflict(settings: ["kl-estimator", "beta"], reason: "with a beta of 0 there is no KL to estimate") }
    }
}

/// Proximal policy optimization: a value model's baseline for every token, clipped ratios, the KL to the reference in the reward.
///
/// Sources: Ziegler et al. 2019; defaults and order of TRL's PPO trainer, but for the score, which is on the last generated token.
public struct PPOMethod: OnlineMethod {
    public static let name = "ppo"
    public static let summary = "sample, score, and reinforce tokens by what a value model did not expect, within clipped ratios"
    private let settings: PPOSettings
    public init(_ settings: PPOSettings) { self.settings = settings }

    public var critic: ValueSettings? { settings.value }
    public var estimator: KLEstimator { settings.estimator }

    public func weigh(_ experience: Experience) -> Weighing {
        guard let values = experience.values else { preconditionFailure("\(experience.samples.count) samples without values") }
        var rewards = Advantages.tokenRewards(
            sampled: experience.old, reference: experience.reference ?? experience.old, scores: experience.samples.map(\.score),
            klCoefficient: experience.beta, estimator: settings.estimator)
        if settings.whitensRewards { rewards = Advantages.whitened(rewards, keepsMean: true) }
        let (advantages, returns) = Advantages.generalized(rewards: rewards, values: values, gamma: settings.gamma, lambda: settings.lambda)
        var weighing = Weighing(
            trained: Array(experience.samples.indices), advantages: settings.whitensAdvantages ? Advantages.whitened(advantages) : advantages)
        weighing.returns = returns
        let spread = Advantages.moments(returns.values)
        let error = Advantages.moments(zip(returns.values, values.values).map(-))
        weighing.metrics.record("val/mean", sum: values.values.reduce(0, +), count: Double(values.values.count))
        weighing.metrics.record("returns/mean", sum: spread.mean, count: 1)
        weighing.metrics.record("returns/std", sum: spread.deviation, count: 1)
        if spread.deviation > 0 {
            let share = error.deviation / spread.deviation
            weighing.metrics.record("val/var_explained", sum: 1 - share * share, count: 1)
        }
        return weighing
    }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        try PPO(clipRange: settings.clipRange)(experience.inputs(logProbs, of: samples, weighing), step: step)
    }
}
