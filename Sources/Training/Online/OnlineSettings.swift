import Serialization

/// What all online stages share: which prompts, how they are answered and scored, how far the policy may move.
public struct OnlineSettings: Codable, Sendable, Equatable {
    public var prompts: [String] = []
    public var reward: String?
    /// Never trained on: scores the evaluations, and tells when the trained reward is being gamed.
    public var heldOutReward: String?
    public var referenceModel: String?
    /// K: completions of each prompt.
    public var samples = 4
    public var temperature = 1.0
    public var maxNewTokens = 128
    public var minNewTokens = 0
    /// β: weight of the KL to the reference.
    public var beta = 0.05
    /// Whether the KL to the reference is measured where β is 0.
    public var tracksKL = false
    /// Nats a completion that the adaptive controller steers to; 0: β stays.
    public var targetKL = 0.0
    public var horizon = 10_000
    /// Passes over a step's samples, and updates of each pass.
    public var innerEpochs = 1
    public var miniBatches = 1
    /// Nats; an inner loop whose estimate of KL(π_θ‖π_old) passes it goes no further. 0: none.
    public var maxInnerKL = 0.0
    /// Nats; a step that moved the policy further has its updates taken back. 0: none.
    public var rollbackKL = 0.0
    /// Taken off the score of a completion that was cut off.
    public var missingEOSPenalty = 0.0
    /// Scores are clipped to ± this; 0: not.
    public var rewardClip = 0.0
    /// Evaluations in a row at which the reward rose and the held-out one fell, before the run stops; 0 never stops.
    public var watchPatience = 0
    /// Completions of each logged step that are kept to be read.
    public var loggedCompletions = 4

    public init() {}

    public static let fields: [SettingField<OnlineSettings>] = rolloutFields + objectiveFields

    private static let rolloutFields: [SettingField<OnlineSettings>] = [
        .list("prompts", \.prompts, placeholder: "FILE", group: "Rollouts", aliases: ["dataset_name", "dataset"], isRequired: true,
            help: "prompts: JSON lines or a JSON array; answers that come with them are for rewards that compare"),
        .text("reward", \.reward, placeholder: "SPEC", group: "Rollouts", aliases: ["reward_model_path", "reward_funcs"],
            help: "what scores completions: model:DIR, rule:NAME, exec:PROGRAM, judge:URL#MODEL, or a weighted sum such as 0.7*model:DIR+0.3*rule:length"),
        .text("eval-reward", \.heldOutReward, placeholder: "SPEC", group: "Rollouts",
            help: "a reward that is not trained on: scores the evaluations beside the trained one"),
        .integer("num-generations", \.samples, in: 1...4096, group: "Rollouts", aliases: ["samples", "rloo_k"], help: "completions of each prompt"),
        .number("temperature", \.temperature, expected: "a number above 0, such as 1", where: { $0 >= 1e-3 && $0 <= 100 }, group: "Rollouts",
            help: "of sampling, and of all log-probs"),
        .integer("max-new-tokens", \.maxNewTokens, in: 1...1_000_000, group: "Rollouts", aliases: ["max_completion_length", "response_length"],
            help: "longest completion"),
        .integer("min-new-tokens", \.minNewTokens, in: 0...1_000_000, group: "Rollouts", help: "no completion ends before it has as many"),
        .integer("log-completions", \.loggedCompletions, in: 0...100_000, group: "Rollouts", aliases: ["num_completions_to_print"],
            help: "completions of each logged step kept in completions.jsonl"),
    ]

    private static let objectiveFields: [SettingField<OnlineSettings>] = [
        .text("ref-model", \.referenceModel, placeholder: "PATH", group: "Objective", aliases: ["ref_model_name_or_path"],
            help: "frozen reference; the model itself, before training, if absent"),
        .number("beta", \.beta, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective", aliases: ["kl_coef", "init_kl_coef"],
            help: "weight of the KL to the reference; 0 needs no reference"),
        .flag("track-kl", \.tracksKL, group: "Objective", help: "measure the KL to the reference with a beta of 0 too"),
        .number("kl-target", \.targetKL, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective",
            help: "nats a completion that beta is steered to; 0 leaves beta as it is"),
        .integer("kl-horizon", \.horizon, in: 1...1_000_000_000, group: "Objective", help: "samples over which beta is steered"),
        .integer("inner-epochs", \.innerEpochs, in: 1...10_000, group: "Objective", aliases: ["num_ppo_epochs", "num_iterations"],
            help: "passes over a step's samples"),
        .integer("mini-batches", \.miniBatches, in: 1...10_000, group: "Objective", aliases: ["num_mini_batches"],
            help: "updates of each pass"),
        .number("max-inner-kl", \.maxInnerKL, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective", aliases: ["target_kl"],
            help: "nats a completion away from the sampling policy at which a step's updates end; 0: none"),
        .number("rollback-kl", \.rollbackKL, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective",
            help: "nats a completion away from the sampling policy beyond which a step's updates are taken back, moments included; 0: they stay"),
        .number("missing-eos-penalty", \.missingEOSPenalty, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective",
            help: "taken off the score of a completion that was cut off"),
        .number("reward-clip", \.rewardClip, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Objective", aliases: ["reward_clip_range"],
            help: "scores are clipped to ± this; 0: not"),
        .integer("watch-patience", \.watchPatience, in: 0...1_000_000, group: "Objective",
            help: "stop after N evaluations in a row at which the reward rose and --eval-reward fell; 0 never stops"),
    ]

    func validate(_ training: TrainingSettings) throws(SettingError) {
        if reward == nil { throw .missing(setting: "reward", placeholder: "SPEC", help: "what scores completions") }
        if targetKL > 0, beta == 0 { throw .conflict(settings: ["kl-target", "beta"], reason: "a beta of 0 cannot be steered") }
        if watchPatience > 0, heldOutReward == nil || training.evalSteps == 0 {
            throw .conflict(settings: ["watch-patience"], reason: "it compares with a held-out reward at evaluations; give --eval-reward SPEC and --eval-steps N")
        }
        if miniBatches > training.batchSize * training.accumulationSteps {
            throw .conflict(
                settings: ["mini-batches", "batch-size"],
                reason: "\(training.batchSize * training.accumulationSteps) prompts a step cannot be cut into \(miniBatches) parts")
        }
    }
}

/// Settings of a stage that samples: the shared ones beside its own.
public protocol OnlineStageSettings: StageSettings {
    var online: OnlineSettings { get set }
    var training: TrainingSettings { get set }
}

extension OnlineStageSettings {
    /// The fields of every online stage; a method puts its own before them.
    static var sharedFields: [SettingField<Self>] {
        OnlineSettings.fields.map { $0.lifted(to: Self.onlinePath) } + TrainingSettings.fields.map { $0.lifted(to: Self.trainingPath) }
    }
    private static var onlinePath: WritableKeyPath<Self, OnlineSettings> & Sendable { \.online }
    private static var trainingPath: WritableKeyPath<Self, TrainingSettings> & Sendable { \.training }

    /// - Parameters:
    ///   - leastSamples: Completions of a prompt that the method needs.
    ///   - purpose: What it needs them for.
    func validateShared(leastSamples: Int = 1, for purpose: String = "") throws(SettingError) {
        try checkRequired()
        try training.validate()
        try online.validate(training)
        if online.samples < leastSamples {
            throw .conflict(settings: ["num-generations"], reason: "\(purpose) needs at least \(leastSamples) completions of a prompt")
        }
    }
}
