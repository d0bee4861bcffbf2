/// One evaluation of `align eval`: it declares its flags, parses them in `init`, and acts only in `run`.
protocol EvaluationSuite {
    static var name: String { get }
    /// One line for help.
    static var summary: String { get }
    static var flags: [Flag] { get }
    /// The word that follows the suite's name on the command line; nil where there is none.
    static var takesSubject: String? { get }
    init(_ arguments: Arguments) throws(UsageError)
    func run() async throws
}

extension EvaluationSuite {
    static var takesSubject: String? { nil }
}

/// The suites, in the order in which help lists them: one line each.
enum EvaluationSuites {
    static var all: [any EvaluationSuite.Type] {
        [
            RewardSuite.self,
            StudySuite.self,
        ]
    }
}
