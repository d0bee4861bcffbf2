import Serialization

/// A language model that compares or rates answers, as MT-Bench does (Zheng et al. 2023, "Judging LLM-as-a-Judge"), in our own words.
public final class Judge: Sendable {
    public struct Options: Sendable, Equatable {
        public var temperature = 0.0
        /// Tokens of a judgement.
        public var maxTokens = 1024
        /// Judgements that may be asked for until one has a verdict; those after the first are drawn at temperature 0.7 at least.
        public var attempts = 3
        public init() {}
    }

    /// Both orders of a comparison (ALGORITHMS: p = ½(p_AB + 1 − p_BA)).
    public struct Comparison: Sendable, Equatable {
        /// Of the first answer: 1 better, ½ as good, 0 worse, shown first and shown second.
        public var shownFirst, shownSecond: Double
        /// The average of both orders, which a liking for a place cancels out of.
        public var preference: Double { (shownFirst + shownSecond) / 2 }
        public var isConsistent: Bool { shownFirst == shownSecond }
        /// The share of the two verdicts that the place shown first won, ties a half: ½ for a judge without a liking.
        public var firstPlaceShare: Double { (shownFirst + 1 - shownSecond) / 2 }
    }

    public let name: String
    private let server: OpenAIServer
    private let model: String
    private let options: Options

    public init(_ server: OpenAIServer, model: String, options: Options = Options()) {
        (self.server, self.model, self.options) = (server, model, options)
        name = "\(server.name)#\(model)"
    }

    /// Compares two answers in both orders.
    /// - Parameter number: The comparison's, which seeds follow from.
    /// - Throws: `RemoteError`, `JudgeFault` where no judgement has a verdict.
    public func compare(
        question: String, _ a: String, _ b: String, number: Int, isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(JudgeFault) -> Comparison {
        let first = try verdict(JudgePrompt.pair(question: question, a: a, b: b), number: 2 * number, JudgePrompt.preference, isCancelled)
        let second = try verdict(JudgePrompt.pair(question: question, a: b, b: a), number: 2 * number + 1, JudgePrompt.preference, isCancelled)
        return Comparison(shownFirst: first, shownSecond: 1 - second)
    }

    /// Rates an answer from 1 to 10.
    /// - Parameter reference: A good answer to hold it against.
    public func rate(
        question: String, _ answer: String, reference: String?, number: Int, isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(JudgeFault) -> Double {
        try verdict(JudgePrompt.single(question: question, answer: answer, reference: reference), number: number, JudgePrompt.rating, isCancelled)
    }

    private func verdict(
        _ prompt: (system: String, user: String), number: Int, _ parse: (String) -> Double?, _ isCancelled: @escaping @Sendable () -> Bool
    ) throws(JudgeFault) -> Double {
        var last = ""
        for attempt in 0..<max(options.attempts, 1) {
            let body: JSON = [
                "model": .string(model), "messages": [["role": "system", "content": .string(prompt.system)], ["role": "user", "content": .string(prompt.user)]],
                "temperature": .number(attempt == 0 ? options.temperature : max(options.temperature, 0.7)), "max_tokens": .integer(options.maxTokens),
                "seed": .integer(number &* 16 &+ attempt & 0x7FFF_FFFF), "n": 1, "stream": false,
            ]
            do throws(RemoteError) {
                let json = try server.post("/chat/completions", body, request: UInt64(truncatingIfNeeded: number), isCancelled: isCancelled)
                last = try RemoteAnswer(json, isChat: true, server: server.name).text
            } catch { throw .server(error) }
            if let value = parse(last) { return value }
        }
        throw .noVerdict(attempts: options.attempts, last: String(last.suffix(120)))
    }
}

public enum JudgeFault: Error, Equatable, Sendable {
    case server(RemoteError)
    case noVerdict(attempts: Int, last: String)
}
