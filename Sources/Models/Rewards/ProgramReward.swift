import Serialization

/// `exec:PROGRAM[,timeout=SECONDS]`: a program of one's own. It is started once, given one JSON object a line, and writes one a line:
///
///     {"id": 0, "prompt": …, "completion": "…", "tokens": […], "finish_reason": "stop", "reference": "…", further columns}
///     {"reward": 0.5}      or     {"id": 0, "reward": 0.5, "components": {"style": 0.2}}
///
/// It must write each answer out at once (flush).
final class ProgramReward: Reward {
    let name: String
    private let command: String
    private let seconds: Double
    private let isCancelled: @Sendable () -> Bool
    private var program: ScoringProgram?
    private var id = 0

    init(command: String, seconds: Double, name: String, isCancelled: @escaping @Sendable () -> Bool = { false }) {
        (self.command, self.seconds, self.name, self.isCancelled) = (command, seconds, name, isCancelled)
    }

    func scores(of items: [RewardItem]) throws(RewardFailure) -> [RewardScore] {
        var scores: [RewardScore] = []
        for (index, item) in items.enumerated() {
            do throws(RewardError) { scores.append(try score(item, index: index)) } catch {
                program = nil  // what it would answer next might belong to this one
                throw RewardFailure(error, done: scores)
            }
        }
        return scores
    }

    private func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore {
        func failed(_ reason: String) -> RewardError { .program(program: command, item: index, reason: reason) }
        let line: String
        do throws(ScoringProgram.Fault) {
            if program == nil { program = try ScoringProgram(command: command, isCancelled: isCancelled) }
            guard let program else { preconditionFailure("a program that was started is there") }
            line = try program.answer(to: Self.request(item, id: id).text(), seconds: seconds)
        } catch {
            switch error {
            case let .cannotStart(reason): throw failed("the program cannot be started: \(reason)")
            case let .ended(how): throw failed("expected a line of JSON, but \(how)")
            case let .silent(seconds): throw failed("no answer within \(seconds) seconds; does it write each line out at once (flush)? More time: timeout=SECONDS")
            case let .tooLong(limit): throw failed("its line has more than \(limit) bytes")
            case .cancelled: throw failed("interrupted")
            }
        }
        guard let answer = try? JSON.parse(Array(line.utf8)) else { throw failed("found \"\(line.prefix(80))\", expected a JSON object on one line") }
        if let message = answer["error"]?.string { throw failed("the program says: \(message.prefix(300))") }
        if let said = answer["id"], said.int != id { throw failed("the answer is for id \(said.text().prefix(40)), expected \(id)") }
        guard let value = answer.double ?? answer["reward"]?.double ?? answer["score"]?.double else {
            throw failed("found \(line.prefix(80)), expected {\"reward\": NUMBER}")
        }
        guard value.isFinite else { throw .notFinite(reward: name, item: index, found: "\(value)") }
        id += 1
        let components = (answer["components"]?.object?.members ?? []).compactMap { name, value in value.double.map { RewardScore.Component(name, $0) } }
        return RewardScore(value, components: components)
    }

    private static func request(_ item: RewardItem, id: Int) -> JSON {
        var object = JSONObject([("id", .integer(id)), ("prompt", item.promptJSON), ("completion", .string(item.completion))])
        if let tokens = item.tokens { object["tokens"] = .array(tokens.map { .integer(Int($0)) }) }
        if let reason = item.finishReason { object["finish_reason"] = .string(reason.name) }
        if let reference = item.reference { object["reference"] = .string(reference) }
        for (key, value) in item.columns.members where object[key] == nil { object[key] = value }
        return .object(object)
    }
}

extension RewardKind {
    static let exec = RewardKind(
        name: "exec", form: "exec:PROGRAM", options: { _, _ in ["timeout"] },
        make: { term, context throws(RewardError) in
            let seconds = try term.options.number("timeout", in: 0.001...86_400, default: 60, "seconds above 0")
            return ProgramReward(command: term.argument, seconds: seconds, name: term.text, isCancelled: context.isCancelled)
        })
}
