/// `judge:URL#MODEL[,mode=rating|pair]`: a language model behind a server says how good a completion is.
///
/// - `rating`: 1 to 10; a reference answer, where the row has one, is shown to the judge.
/// - `pair`: against the row's reference answer, in both orders: 1 better, ½ as good, 0 worse, averaged.
final class JudgeReward: Reward {
    let name: String
    private let judge: Judge
    private let isPairwise: Bool
    private let concurrency: Int
    private let isCancelled: @Sendable () -> Bool
    private var asked = 0

    init(_ judge: Judge, isPairwise: Bool, concurrency: Int, name: String, isCancelled: @escaping @Sendable () -> Bool) {
        (self.judge, self.isPairwise, self.concurrency, self.name, self.isCancelled) = (judge, isPairwise, concurrency, name, isCancelled)
    }

    func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        if isPairwise, let index = items.firstIndex(where: { $0.reference == nil }) {
            throw RewardFailure(.missing(reward: name, item: index, field: "reference answer to compare with", remedy: "Give the rows a column \"reference\", or rate: mode=rating."))
        }
        let calls = ConcurrentCalls()
        defer { calls.stop() }
        let (judge, isPairwise, isCancelled, first) = (judge, isPairwise, isCancelled, asked)
        asked += items.count
        var scores = [RewardScore?](repeating: nil, count: items.count)
        var failure: (index: Int, fault: JudgeFault)?
        let results = calls.results(count: items.count, limit: concurrency) { index in
            Result { () throws(JudgeFault) in
                try Self.score(items[index], judge, isPairwise, number: first + index) { isCancelled() || calls.isStopped }
            }
        }
        for await (index, result) in results {
            calls.took()
            switch result {
            case let .success(score): scores[index] = score
            case let .failure(fault):
                // Those that were stopped because of it say nothing new.
                if failure == nil || (index < failure?.index ?? 0 && !fault.isCancelled) { failure = (index, fault) }
                calls.stop()
            }
        }
        let done = scores.prefix { $0 != nil }.compactMap { $0 }
        guard done.count < items.count else { return done }
        throw RewardFailure(failure.map { error($0.fault, item: $0.index) } ?? .judge(judge: judge.name, item: done.count, reason: "interrupted"), done: done)
    }

    private func error(_ fault: JudgeFault, item: Int) -> RewardError {
        switch fault {
        case let .server(error): .server(error)
        case let .noVerdict(attempts, last):
            .judge(judge: judge.name, item: item, reason: "no verdict in \(attempts) judgements; the last ends \"\(last)\". Take a model that follows instructions")
        }
    }

    private static func score(
        _ item: RewardItem, _ judge: Judge, _ isPairwise: Bool, number: Int, isCancelled: @escaping @Sendable () -> Bool
    ) throws(JudgeFault) -> RewardScore {
        guard isPairwise, let reference = item.reference else {
            return RewardScore(try judge.rate(question: item.question, item.completion, reference: item.reference, number: number, isCancelled: isCancelled))
        }
        let comparison = try judge.compare(question: item.question, item.completion, reference, number: number, isCancelled: isCancelled)
        return RewardScore(
            comparison.preference, components: [.init("consistent", comparison.isConsistent ? 1 : 0), .init("first_place_share", comparison.firstPlaceShare)])
    }
}

extension JudgeFault {
    var isCancelled: Bool { if case let .server(error) = self { error.isCancelled } else { false } }
}

extension RewardKind {
    static let judge = RewardKind(
        name: "judge", form: "judge:URL#MODEL", options: { _, _ in ["mode", "temperature", "max-tokens", "concurrency", "timeout"] },
        make: { term, context throws(RewardError) in
            let parts = term.argument.split(separator: "#", maxSplits: 1).map(String.init)
            var options = Judge.Options()
            options.temperature = try term.options.number("temperature", in: 0...10, default: 0, "a number from 0")
            options.maxTokens = try term.options.integer("max-tokens", in: 1...1_000_000, default: 1024, "a number of tokens")
            let concurrency = try term.options.integer("concurrency", in: 1...256, default: 8, "a number of requests from 1 to 256")
            var limits = HTTPClient.Limits()
            limits.answerSeconds = try term.options.number("timeout", in: 0.001...86_400, default: 600, "seconds above 0")
            let isPairwise = try term.options.choice("mode", of: ["rating", "pair"]) == "pair"
            do throws(RemoteError) {
                let server = try OpenAIServer(address: parts.first ?? "", environment: context.environment, limits: limits, retry: context.retry)
                let model = try server.model(named: parts.count > 1 ? parts[1] : nil, isCancelled: context.isCancelled)
                return JudgeReward(
                    Judge(server, model: model.id, options: options), isPairwise: isPairwise, concurrency: concurrency, name: term.text,
                    isCancelled: context.isCancelled)
            } catch { throw .server(error) }
        })
}
