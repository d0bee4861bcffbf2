import Training

/// Fits a policy to preference pairs, without a reward model.
struct DPOCommand: Command {
    static let usage = StageUsage.usage(
        "dpo", "Fit a policy to preference pairs, without a reward model.", preset: PreferenceSettings(),
        example: "align dpo --pairs prefs.jsonl --model SmolLM2 --eval-split 0.1 --out runs/polite")
    let invocation: StageInvocation<PreferenceOptimization>

    init(_ arguments: Arguments) throws(UsageError) {
        invocation = try StageInvocation(arguments, preset: PreferenceSettings()) { $0.training }
    }

    func run() async throws { try await invocation.run() }
}

/// `align dpo` with the loss of IPO.
struct IPOCommand: Command {
    private static let preset: PreferenceSettings = {
        var settings = PreferenceSettings()
        settings.loss = IPO.name
        return settings
    }()
    static let usage = StageUsage.usage(
        "ipo", "Fit a policy to preference pairs with a bounded margin: dpo with --loss ipo.", preset: preset,
        example: "align ipo --pairs prefs.jsonl --beta 0.2")
    let invocation: StageInvocation<PreferenceOptimization>

    init(_ arguments: Arguments) throws(UsageError) {
        invocation = try StageInvocation(arguments, preset: Self.preset) { $0.training }
    }

    func run() async throws { try await invocation.run() }
}

/// Fits a policy to examples of good completions.
struct SFTCommand: Command {
    static let usage = StageUsage.usage(
        "sft", "Fit a policy to examples of good completions.", preset: SupervisedSettings(), example: "align sft --data examples.jsonl --epochs 2")
    let invocation: StageInvocation<SupervisedFineTuning>

    init(_ arguments: Arguments) throws(UsageError) {
        invocation = try StageInvocation(arguments, preset: SupervisedSettings()) { $0.training }
    }

    func run() async throws { try await invocation.run() }
}
