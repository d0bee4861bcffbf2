import Training

/// A stage that samples, scores and learns; one line each in `Registry`.
struct OnlineCommand<Method: OnlineMethod & CommandedMethod>: Command {
    static var usage: Usage {
        StageUsage.usage(Method.name, Method.summary.sentence, preset: Method.Settings(), example: Method.example)
    }
    let invocation: StageInvocation<OnlineStage<Method>>

    init(_ arguments: Arguments) throws(UsageError) {
        invocation = try StageInvocation(arguments, preset: Method.Settings()) { $0.training }
    }

    func run() async throws { try await invocation.run() }
}

/// What the command line knows of a method beyond its settings.
protocol CommandedMethod {
    static var example: String { get }
}

extension RLOOMethod: CommandedMethod {
    static var example: String { "align rloo --prompts prompts.jsonl --reward model:runs/reward-1/model --num-generations 4" }
}
extension PPOMethod: CommandedMethod {
    static var example: String { "align ppo --prompts prompts.jsonl --reward model:runs/reward-1/model --value-model runs/reward-1/model" }
}
extension ReinforceMethod: CommandedMethod {
    static var example: String { "align reinforce --prompts prompts.jsonl --reward rule:length,min=20,max=60 --batch-size 16" }
}
extension GRPOMethod: CommandedMethod {
    static var example: String { "align grpo --prompts gsm8k.jsonl --reward rule:math --max-new-tokens 256" }
}
extension MirrorDescentMethod: CommandedMethod {
    static var example: String { "align mdpo --prompts prompts.jsonl --reward model:runs/reward-1/model --gamma 0.5" }
}
extension RejectionSamplingMethod: CommandedMethod {
    static var example: String { "align reject --prompts prompts.jsonl --reward model:runs/reward-1/model --num-generations 16" }
}
extension OnlineDPOMethod: CommandedMethod {
    static var example: String { "align online-dpo --prompts prompts.jsonl --reward model:runs/reward-1/model --beta 0.1" }
}

extension String {
    /// With a capital at the start and a stop at the end.
    fileprivate var sentence: String { prefix(1).uppercased() + dropFirst() + "." }
}
