import Models
import PreferenceData
import Serialization
import Tensors

/// `align score --reward SPEC`: completions scored by any reward.
struct RewardScoring {
    static let flags: [Flag] = [
        .optional("reward", "SPEC", "score by this reward in place of a model's log-probs: " + "rule:NAME, model:DIR, exec:PROGRAM, judge:URL#MODEL, human, and weighted sums such as 0.7*model:DIR+0.3*rule:length,min=20;clip=-5..5"),
        .optional("store", "FILE", "where --reward human queues completions for 'align label', and finds the votes", default: "runs/align.sqlite"),
        .optional("reference", "TEXT", "the reference answer for --completion, for rewards that compare"),
    ]
    /// For the notes of help.
    static var notes: String {
        "Rows that --reward scores have \"completion\" (or \"response\", \"output\"; \"chosen\" and \"rejected\" with --pairs), and may have \"prompt\",\n"
            + "\"reference\" (or \"ground_truth\", \"answer\", \"solution\", \"target\"), \"tokens\" and \"finish_reason\", as 'align generate --json' writes them.\n"
            + "Rules: " + RewardHelp.rules.map { "\($0.name): \($0.help)." }.joined(separator: "\n  ")
    }
    /// Rows that are scored together: what a failure may cost.
    private static let together = 64

    let spec: RewardSpec
    let reference: String?
    let columns: [String: String]
    /// Where completions wait for people.
    let store: String
    /// How reward models compute; its path is not used.
    let model: ModelChoice

    /// nil without `--reward`.
    init?(_ arguments: Arguments) throws(UsageError) {
        let command = arguments.usage.name
        reference = arguments.optionalText("reference")
        guard let text = arguments.optionalText("reward") else {
            if let flag = ["reference", "store"].first(where: { arguments.optionalText($0) != nil }) {
                throw .conflict(command: command, flags: [flag], reason: "it belongs to --reward")
            }
            return nil
        }
        let unused = ["model", "template", "max-length", "chat", "on-bad-row"].filter { arguments.optionalText($0) != nil }
        guard unused.isEmpty else { throw .conflict(command: command, flags: ["reward"] + unused, reason: "the reward says what scores") }
        do throws(RewardError) { spec = try RewardSpec(text) } catch {
            guard case let .badSpec(_, found, expected) = error else { throw .badValue(command: command, flag: "reward", found: text, expected: "\(error)") }
            throw .badValue(command: command, flag: "reward", found: text, expected: "\(expected), found \(found)")
        }
        store = arguments.optionalText("store") ?? "runs/align.sqlite"
        model = try ModelChoice(arguments)
        var columns: [String: String] = [:]
        for pair in (arguments.optionalText("columns") ?? "").split(separator: ",") {
            let parts = pair.split(separator: "=").map(String.init)
            guard parts.count == 2 else { throw .badValue(command: command, flag: "columns", found: String(pair), expected: "NAME=COLUMN, such as reference=solution") }
            columns[parts[0]] = parts[1]
        }
        self.columns = columns
    }

    // MARK: Running

    /// A row's completions, scored one by one.
    private struct Row {
        var items: [RewardItem]
        var origin: String?
    }

    func run(_ source: ScoreCommand.Source) async throws {
        var rows: [Row] = []
        switch source {
        case let .text(prompt, completion, _): rows = [Row(items: [RewardItem(prompt: .text(prompt), completion: completion, reference: reference)], origin: nil)]
        case let .examples(files): for file in files { rows += try read(file, [["completion", "response", "output", "generation"]]) }
        case let .pairs(files): for file in files { rows += try read(file, [["chosen"], ["rejected"]]) }
        }
        Interrupt.install()
        let reward = try spec.make(context())
        // People compare completions of one prompt: they are to see all of them.
        let together = spec.terms.contains { $0.kind == "human" } ? rows.count : Self.together
        var done = 0
        for first in stride(from: 0, to: rows.count, by: together) where !Interrupt.isRequested {
            let part = Array(rows[first..<min(first + together, rows.count)])
            var (scores, failure) = ([RewardScore](), RewardFailure?.none)
            do throws(RewardFailure) { scores = try await reward.scores(of: part.flatMap(\.items)) } catch { (scores, failure) = (error.done, error) }
            for row in part {
                guard scores.count >= row.items.count else { break }
                try Output.line(Self.json(Array(scores.prefix(row.items.count)), origin: row.origin).text())
                scores.removeFirst(row.items.count)
                done += 1
            }
            if Interrupt.isRequested { break }
            if let failure {
                if done < rows.count { Output.note("score  \(done)/\(rows.count) rows are scored; at \(rows[done].origin ?? "the completion"):") }
                throw failure
            }
        }
        if done < rows.count { throw CommandError.stopped(done: done, of: rows.count, what: "rows") }
    }

    private func context() throws -> RewardContext {
        let compute = try model.compute()
        return try Self.context(spec, compute: compute, precision: model.precision(on: compute), store: store)
    }

    /// What rewards of this program are given.
    static func context(_ spec: RewardSpec, compute: Compute, precision: Precision, store: String) throws -> RewardContext {
        var context = RewardContext()
        context.isCancelled = { Interrupt.isRequested }
        context.loadModel = { try ModelReward(path: ModelChoice.resolve($0), compute: compute, precision: precision) }
        if spec.terms.contains(where: { $0.kind == "human" }) { context.labels = StoreLabelQueue(try PreferenceStore(path: store)) }
        return context
    }

    private static func json(_ scores: [RewardScore], origin: String?) -> JSON {
        func members(_ score: RewardScore) -> [(String, JSON)] {
            let parts = score.components.map { ($0.name, JSON.number($0.value)) }
            return [("reward", .number(score.value))] + (parts.isEmpty ? [] : [("components", .object(JSONObject(parts)))])
        }
        var all = members(scores[0])
        if scores.count == 2 {
            all = [
                ("chosen", .object(JSONObject(members(scores[0])))), ("rejected", .object(JSONObject(members(scores[1])))),
                ("margin", .number(scores[0].value - scores[1].value)),
            ]
        }
        if let origin { all.append(("origin", .string(origin))) }
        return .object(JSONObject(all))
    }

    // MARK: Rows

    /// - Parameter completions: For each completion of a row the columns it may be in.
    private func read(_ file: String, _ completions: [[String]]) throws -> [Row] {
        try Records.objects(RecordFile.parse(file).path).map { object, origin in
            var used: Set<String> = []
            func find(_ names: [String]) -> JSON? {
                let given = columns[names[0]].map { [$0] } ?? names
                for name in given { if let value = object[name], !value.isNull { used.insert(name); return value } }
                return nil
            }
            func bad(_ found: String, _ expected: String) -> CommandError { .badLine(path: origin.file, line: origin.line, found: found, expected: expected) }
            let prompt = try Self.prompt(find(["prompt", "messages", "question", "instruction"]), bad)
            let texts = try completions.map { names in
                guard let value = find(names) else { throw bad("no \"\(columns[names[0]] ?? names[0])\"", "a completion; say which column has it: --columns \(names[0])=NAME") }
                guard let text = Self.text(value) else { throw bad("\"\(names[0])\" of \(value.kind)", "a text or messages") }
                return text
            }
            let reference = find(["reference", "ground_truth", "answer", "solution", "target"])
            let tokens = find(["tokens", "token_ids"])?.array?.compactMap { $0.int.flatMap { Int32(exactly: $0) } }
            let reason: FinishReason? =
                switch find(["finish_reason"])?.string {
                case "stop": .stopToken(nil)
                case "length": .length
                default: nil
                }
            let rest = JSONObject(object.members.filter { !used.contains($0.key) }.map { ($0.key, $0.value) })
            return Row(
                items: texts.map {
                    RewardItem(
                        prompt: prompt, completion: $0, tokens: completions.count == 1 ? tokens : nil, finishReason: reason,
                        reference: reference.map { $0.string ?? $0.text() }, columns: rest)
                }, origin: "\(origin.file):\(origin.line)")
        }
    }

    private static func prompt(_ value: JSON?, _ bad: (String, String) -> CommandError) throws -> RolloutPrompt.Content {
        switch value {
        case nil: return .text("")
        case let .string(text)?: return .text(text)
        case let .array(list)? where list.allSatisfy({ $0.int != nil }): return .tokens(list.compactMap { $0.int.flatMap { Int32(exactly: $0) } })
        case let .array(messages)?: return .messages(messages)
        case let value?: throw bad("a prompt of \(value.kind)", "a text, messages or ids")
        }
    }

    /// A text, or what the last of several messages says.
    private static func text(_ value: JSON) -> String? { value.string ?? value.array?.last?["content"]?.string ?? value["content"]?.string }
}
