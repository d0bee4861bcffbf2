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

/// `align dpo` with another loss preset: one declaration each.
protocol PreferencePreset: Command {
    static var preset: PreferenceSettings { get }
    var invocation: StageInvocation<PreferenceOptimization> { get }
}

extension PreferencePreset {
    func run() async throws { try await invocation.run() }
}

/// `align dpo` with the loss of IPO.
struct IPOCommand: PreferencePreset {
    static let preset = PreferenceSettings(loss: IPO.name)
    static let usage = StageUsage.usage("ipo", "Fit a policy to preference pairs with a bounded margin: dpo with --loss ipo.", preset: preset, example: "align ipo --pairs prefs.jsonl --beta 0.2")
    let invocation: StageInvocation<PreferenceOptimization>
    init(_ arguments: Arguments) throws(UsageError) { invocation = try StageInvocation(arguments, preset: Self.preset) { $0.training } }
}

/// `align dpo` with the loss of KTO.
struct KTOCommand: PreferencePreset {
    static let preset = PreferenceSettings(loss: KTO.name)
    static let usage = StageUsage.usage("kto", "Fit a policy to completions that are good or bad, without pairs: dpo with --loss kto.", preset: preset, example: "align kto --pairs thumbs.jsonl --desirable-weight 1.33")
    let invocation: StageInvocation<PreferenceOptimization>
    init(_ arguments: Arguments) throws(UsageError) { invocation = try StageInvocation(arguments, preset: Self.preset) { $0.training } }
}

/// `align dpo` with the loss of ORPO.
struct ORPOCommand: PreferencePreset {
    static let preset = PreferenceSettings(loss: ORPO.name)
    static let usage = StageUsage.usage("orpo", "Fit a policy to preference pairs while fine-tuning on them, without a reference: dpo with --loss orpo.", preset: preset, example: "align orpo --pairs prefs.jsonl --learning-rate 8e-6")
    let invocation: StageInvocation<PreferenceOptimization>
    init(_ arguments: Arguments) throws(UsageError) { invocation = try StageInvocation(arguments, preset: Self.preset) { $0.training } }
}

/// `align dpo` with the loss of SimPO.
struct SimPOCommand: PreferencePreset {
    static let preset = PreferenceSettings(loss: SimPO.name)
    static let usage = StageUsage.usage("simpo", "Fit a policy to preference pairs by average log-probs, without a reference: dpo with --loss simpo.", preset: preset, example: "align simpo --pairs prefs.jsonl --beta 2.5 --simpo-gamma 1.4")
    let invocation: StageInvocation<PreferenceOptimization>
    init(_ arguments: Arguments) throws(UsageError) { invocation = try StageInvocation(arguments, preset: Self.preset) { $0.training } }
}

/// `align dpo` with the loss of CPO.
struct CPOCommand: PreferencePreset {
    static let preset = PreferenceSettings(loss: CPO.name)
    static let usage = StageUsage.usage("cpo", "Fit a policy to preference pairs, held to the chosen side, without a reference: dpo with --loss cpo.", preset: preset, example: "align cpo --pairs prefs.jsonl --cpo-alpha 0.5")
    let invocation: StageInvocation<PreferenceOptimization>
    init(_ arguments: Arguments) throws(UsageError) { invocation = try StageInvocation(arguments, preset: Self.preset) { $0.training } }
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
