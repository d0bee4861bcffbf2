import Training

/// Distils a teacher into a student, on examples and on the student's own answers.
struct GKDCommand: Command {
    static let usage = StageUsage.usage(
        "gkd", "Learn a teacher's distribution, on examples and on one's own answers.", preset: DistillationSettings(),
        example: "align gkd --data examples.jsonl --model small --teacher large --lmbda 0.5")
    let invocation: StageInvocation<OnPolicyDistillation>

    init(_ arguments: Arguments) throws(UsageError) {
        invocation = try StageInvocation(arguments, preset: DistillationSettings()) { $0.training }
    }

    func run() async throws { try await invocation.run() }
}
