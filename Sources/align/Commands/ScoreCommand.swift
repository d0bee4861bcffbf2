import Checkpoints
import Models
import Serialization
import Tensors
import Training

/// Prints how probable a model finds completions, or how a reward model scores them.
struct ScoreCommand: Command {
    static let usage = Usage(
        "score", "Print a model's log-probs of completions, or a reward model's scores, one JSON object a line.",
        [
            .optional("prompt", "TEXT", "what --completion continues", default: "nothing"),
            .optional("completion", "TEXT", "the text that is scored"),
            .switched("chat", "--prompt is a user message to the chat template, --completion the answer"),
            .list("pairs", "FILE", "preference pairs; both completions are scored"),
            .list("data", "FILE", "examples; what a loss would count is scored"),
            .optional("template", "auto|none|FILE", "chat template of rows: the model's own, none (raw text), or a Jinja file", default: "auto"),
            .optional("max-length", "N", "tokens of prompt and completion; completions are cut at the end", default: "the model's context"),
            .optional("columns", "prompt=A,chosen=B", "names of the columns in the files"),
            .optional("on-bad-row", "stop|skip", "what to do about rows that cannot be read", default: "stop"),
        ] + ModelChoice.flags + RewardModels.flags + RewardScoring.flags,
        example: "align score --prompt \"The capital of France is\" --completion \" Paris.\"",
        notes: """
            A line is {"logprob", "tokens", "token_logprobs"}: log π of the whole in nats, the scored ids, and log π of each.
            For pairs it is {"chosen": {…}, "rejected": {…}, "margin"}. Rows of files also say their "origin", file:line, and
            are turned into tokens as training would; token ids (prompt_ids, …) are taken as they are.
            A reward model's lines are {"reward"} (of several attributes also {"scores"}, of an ensemble {"members"}), read at the
            last token; for pairs again {"chosen": {…}, "rejected": {…}, "margin"}. There too token ids (prompt_ids, …) are taken as they are.
            With --reward a line is {"reward", "components"}.

            """ + RewardScoring.notes)

    enum Source: Equatable {
        case text(prompt: String, completion: String, isChat: Bool)
        case pairs([String])
        case examples([String])

        var files: [String] {
            switch self {
            case .text: []
            case let .pairs(files), let .examples(files): files
            }
        }
    }

    let source: Source
    let reward: RewardScoring?
    let model: ModelChoice
    let rewards: RewardModels
    let settings: TrainingSettings
    let maxLength: Int?

    init(_ arguments: Arguments) throws(UsageError) {
        let command = Self.usage.name
        let (pairs, data, completion) = (arguments.list("pairs"), arguments.list("data"), arguments.optionalText("completion"))
        let given = [("pairs", !pairs.isEmpty), ("data", !data.isEmpty), ("completion", completion != nil)].filter(\.1).map(\.0)
        guard given.count < 2 else { throw .conflict(command: command, flags: given, reason: "score one of them at a time") }
        if !pairs.isEmpty { source = .pairs(pairs) } else if !data.isEmpty { source = .examples(data) } else if let completion {
            source = .text(prompt: arguments.optionalText("prompt") ?? "", completion: completion, isChat: arguments.isOn("chat"))
        } else {
            throw .missingFlag(command: command, form: "--completion TEXT, --pairs FILE or --data FILE", help: "what is to be scored")
        }
        if completion == nil, let flag = ["prompt", "chat"].first(where: { arguments.optionalText($0) != nil }) {
            throw .conflict(command: command, flags: [flag, given[0]], reason: "--\(flag) belongs to --completion")
        }
        reward = try RewardScoring(arguments)
        model = try ModelChoice(arguments)
        rewards = try RewardModels(arguments)
        maxLength = try arguments.optionalInteger("max-length", in: 2...16_777_216, expected: "a number of tokens from 2, such as 1024")
        var settings = TrainingSettings(learningRate: 0)
        settings.template = arguments.optionalText("template") ?? settings.template
        settings.columns = reward == nil ? arguments.optionalText("columns") : nil  // a reward has columns of its own
        settings.onBadRow = try arguments.choice("on-bad-row", default: .stop)
        do throws(SettingError) { _ = try settings.columnNames() } catch { throw UsageError(error, command: command) }
        self.settings = settings
    }

    func run() async throws {
        if let reward { return try await reward.run(source) }
        guard try !rewards.areRewardModels() else { return try runRewards() }
        let checkpoint = try model.open()
        if rewards.standardizes {
            throw CommandError.badData(path: checkpoint.path, reason: "--standardize is for scores of reward models, and this one predicts tokens")
        }
        let rows = try rows(checkpoint)
        let policy = try model.load(checkpoint).transformer
        Interrupt.install()
        var done = 0
        try CompletionScorer(policy: policy).score(rows.map(\.row)) { index, scores in
            try Output.line(Self.json(scores, origin: rows[index].origin).text())
            done += 1
            return !Interrupt.isRequested
        }
        if done < rows.count { throw CommandError.stopped(done: done, of: rows.count, what: "rows") }
    }

    private func runRewards() throws {
        Interrupt.install()
        var (done, count) = (0, 0)
        try rewards.score({ source in
            let found = try rewardRows(source)
            count = found.count
            return found
        }) { _, origin, scores in
            try Output.line(Self.json(scores, origin: origin.isEmpty ? nil : origin).text())
            done += 1
            return !Interrupt.isRequested
        }
        if done < count { throw CommandError.stopped(done: done, of: count, what: "rows") }
    }

    private static func json(_ scores: [RewardModels.Score], origin: String?) -> JSON {
        var members = scores[0].members
        if scores.count == 2 {
            members = [
                ("chosen", .object(JSONObject(scores[0].members))), ("rejected", .object(JSONObject(scores[1].members))),
                ("margin", .number(scores[0].reward - scores[1].reward)),
            ]
        }
        if let origin { members.append(("origin", .string(origin))) }
        return .object(JSONObject(members))
    }

    private func rewardRows(_ model: ModelSource) throws -> [RewardModels.Row] {
        var settings = settings
        settings.maxLength = maxLength ?? model.maxPositions ?? settings.maxLength
        guard case let .text(prompt, completion, isChat) = source else {
            return try fileRows(model).map { (RewardScorer.Row(prompt: $0.row.prompt, completions: $0.row.completions.map(\.tokens)), $0.origin ?? "") }
        }
        settings.template = isChat ? settings.template : "none"
        guard let row = try RowLoading.completion(completion, after: prompt, source: model, settings: settings) else {
            throw UsageError.badValue(
                command: Self.usage.name, flag: "completion", found: completion, expected: "a text of which at most \(settings.maxLength) tokens come, prompt included")
        }
        return [(RewardScorer.Row(prompt: row.prompt, completions: row.completions), "")]
    }

    static func json(_ scores: [CompletionScorer.Score], origin: String?) -> JSON {
        var members: [(String, JSON)] = scores[0].members
        if scores.count == 2 {
            members = [
                ("chosen", .object(JSONObject(scores[0].members))), ("rejected", .object(JSONObject(scores[1].members))),
                ("margin", .number(scores[0].logProb - scores[1].logProb)),
            ]
        }
        if let origin { members.append(("origin", .string(origin))) }
        return .object(JSONObject(members))
    }

    // MARK: Rows

    private func rows(_ checkpoint: Checkpoint) throws -> [(row: CompletionScorer.Row, origin: String?)] {
        if case let .text(prompt, completion, isChat) = source { return [(try row(prompt, completion, isChat, checkpoint), nil)] }
        return try fileRows(ModelSource(checkpoint, compute: try Compute(threads: 1), precision: .fp32, recompute: false))
    }

    private func fileRows(_ model: ModelSource) throws -> [(row: CompletionScorer.Row, origin: String?)] {
        if !["auto", "none"].contains(settings.template), !fileExists(settings.template) {
            throw CommandError.missingFile(path: settings.template, what: "a chat template")
        }
        var settings = settings
        settings.maxLength = maxLength ?? model.maxPositions ?? settings.maxLength
        let preflight: Preflight
        let rows: [(row: CompletionScorer.Row, origin: String?)]
        if case let .pairs(files) = source {
            let read = try RowLoading.pairs(files, source: model, settings: settings)
            preflight = read.preflight
            rows = read.rows.map { (.init(prompt: $0.prompt, completions: [($0.chosen, nil), ($0.rejected, nil)]), $0.origin) }
        } else if case let .examples(files) = source {
            let read = try RowLoading.examples(files, source: model, settings: settings)
            preflight = read.preflight
            rows = read.rows.map { (.init(prompt: [], completions: [($0.tokens, $0.mask)]), $0.origin) }
        } else {
            return []
        }
        if preflight.truncated > 0 { Output.warnOnce("\(preflight.truncated) rows are cut to \(settings.maxLength) tokens") }
        for lost in (preflight.badRows + preflight.dropped).prefix(20) { Output.warnOnce("left out: \(lost.origin): \(lost.reason)") }
        guard !rows.isEmpty else {
            let reason = preflight.dropped.first.map { "\($0.origin): \($0.reason)" } ?? "none could be read"
            throw CommandError.badData(path: source.files.joined(separator: ", "), reason: "no rows to score; \(reason)")
        }
        return rows
    }

    private func row(_ prompt: String, _ completion: String, _ isChat: Bool, _ checkpoint: Checkpoint) throws -> CompletionScorer.Row {
        var tokens = try checkpoint.text.tokens(prompt: prompt, completion: completion, isChat: isChat)
        let limit = min(maxLength ?? .max, checkpoint.config.maxPositions)
        let command = Self.usage.name
        let least = tokens.prompt.isEmpty ? 2 : 1
        guard tokens.completion.count >= least else {
            throw UsageError.badValue(
                command: command, flag: "completion", found: completion,
                expected: least == 1 ? "a text with at least one token" : "at least two tokens, as the first of a text without a prompt has no log-prob")
        }
        guard limit - tokens.prompt.count >= least else {
            throw UsageError.badValue(
                command: command, flag: "prompt", found: "\(tokens.prompt.count) tokens", expected: "fewer than \(limit), so that a completion fits")
        }
        if tokens.completion.count > limit - tokens.prompt.count { Output.warn("the completion is cut to \(limit) tokens, prompt included") }
        tokens.completion = Array(tokens.completion.prefix(limit - tokens.prompt.count))
        return CompletionScorer.Row(prompt: tokens.prompt, completions: [(tokens.completion, nil)])
    }
}
