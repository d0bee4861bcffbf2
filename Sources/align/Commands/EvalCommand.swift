/// Runs one evaluation suite.
struct EvalCommand: Command {
    static let usage = Usage(
        "eval", "Evaluate a model on a suite.", flags,
        positionals: [
            Positional(placeholder: "SUITE", help: EvaluationSuites.all.map { "\($0.name): \($0.summary)" }.joined(separator: "; "), count: .one),
            Positional(placeholder: "NAME", help: "what of the suite: a study's name", count: .optional),
        ],
        example: "align eval reward --model runs/judge/model --data heldout.jsonl")

    /// Flags of all suites, each once.
    private static var flags: [Flag] {
        EvaluationSuites.all.flatMap { $0.flags }.reduce(into: []) { flags, flag in if !flags.contains(where: { $0.name == flag.name }) { flags.append(flag) } }
    }

    let suite: any EvaluationSuite

    init(_ arguments: Arguments) throws(UsageError) {
        let name = arguments.positionals.first ?? ""
        guard let type = EvaluationSuites.all.first(where: { $0.name == name }) else {
            throw .extraArgument(
                command: Self.usage.name, found: name, accepts: "one of the suites \(EvaluationSuites.all.map { $0.name }.joined(separator: ", "))")
        }
        if type.takesSubject == nil, let extra = arguments.positionals.dropFirst().first {
            throw .extraArgument(command: Self.usage.name, found: extra, accepts: "the suite \(name) and flags")
        }
        if let foreign = arguments.values.keys.sorted().first(where: { given in !type.flags.contains { $0.name == given } }) {
            throw .conflict(command: Self.usage.name, flags: [foreign], reason: "the suite \(name) does not take it")
        }
        suite = try type.init(arguments)
    }

    func run() async throws { try await suite.run() }
}
