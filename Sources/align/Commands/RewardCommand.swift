import Training

/// Trains a reward model.
struct RewardCommand: Command {
    static let usage = StageUsage.usage(
        "reward", "Train a reward model: a language model's backbone with a score head.", preset: RewardSettings(),
        example: "align reward --pairs prefs.jsonl --model SmolLM2 --eval-split 0.1 --out runs/judge", samples: false)
    let invocation: StageInvocation<RewardModelling>

    init(_ arguments: Arguments) throws(UsageError) {
        invocation = try StageInvocation(arguments, preset: RewardSettings()) { $0.training }
    }

    func run() async throws { try await invocation.run() }
}
