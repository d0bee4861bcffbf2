import Checkpoints
import Models
import PreferenceData
import Serialization
import Tokenizers
import Training

/// Continues prompts.
struct GenerateCommand: Command {
    static let usage = Usage(
        "generate", "Sample completions of prompts.",
        [
            .list("prompt", "TEXT", "a prompt"),
            .list("prompts", "FILE", "prompts, one JSON object a line; shapes are detected"),
            .switched("chat", "texts are user messages to the model's chat template"),
            .optional("columns", "prompt=A", "names of the columns in FILE"),
            .optional("on-bad-row", "stop|skip", "what to do about rows of FILE that cannot be read", default: "stop"),
        ] + SamplingFlags.flags(Sampling(), takesSamples: true) + ModelChoice.decodingFlags + [
            .optional("batch-size", "N", "completions that take a step together", default: "64", aliases: ["max_num_seqs"]),
            .optional("out", "FILE", "append rows of JSON to FILE as they finish, in that order; go on where FILE ends"),
            .switched("json", "print one JSON object for each completion"),
        ],
        example: "align generate --chat --prompt \"Name three rivers.\" --temperature 0",
        notes: """
            A single completion's text is printed as it comes; several are printed in order, a heading before each. With --json:
            {"prompt", "completion", "tokens" (ids, the one that ends it included), "token_logprobs" (nats, at the
            temperature, before filters and penalties), "finish_reason" (stop or length), "prompt_index", "sample"}; --out adds
            "sampling", who sampled and how. A completion's draws depend on the seed, on its prompt's place among the prompts and on
            its own number, not on threads or on what runs beside it. Ctrl-C keeps what is finished (exit code 75).
            """)

    let prompts: [String]
    let files: [String]
    let isChat: Bool
    let columns: [String: String]
    let onBadRow: OnBadRow
    let sampling: SamplingFlags
    let model: ModelChoice
    let together: Int
    let out: String?
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        prompts = arguments.list("prompt")
        files = arguments.list("prompts")
        isChat = arguments.isOn("chat")
        var settings = TrainingSettings(learningRate: 0)
        settings.columns = arguments.optionalText("columns")
        do throws(SettingError) { columns = try settings.columnNames() } catch { throw UsageError(error, command: Self.usage.name) }
        onBadRow = try arguments.choice("on-bad-row", default: .stop)
        sampling = try SamplingFlags(arguments, preset: Sampling())
        model = try ModelChoice(arguments)
        together = try arguments.integer("batch-size", in: 1...4096, default: 64, expected: "a number of completions, such as 32")
        out = arguments.optionalText("out")
        isJSON = arguments.isOn("json")
        if prompts.isEmpty, files.isEmpty {
            throw .missingFlag(command: Self.usage.name, form: "--prompt TEXT or --prompts FILE", help: "what is to be continued")
        }
        if out != nil, isJSON { throw .conflict(command: Self.usage.name, flags: ["out", "json"], reason: "rows go to the file") }
    }

    func run() async throws {
        let checkpoint = try model.open()
        let read = try files.isEmpty ? nil : Records.prompts(files.map(RecordFile.parse), columns: columns, onBadRow: onBadRow, seed: sampling.seed)
        if let report = read?.report, report.badRowCount > 0 { Output.warn("\(report.badRowCount) bad rows skipped; the first: \(report.badRows[0])") }
        let requests = try PromptRequest.read(
            texts: prompts, rows: read?.rows ?? [], isChat: isChat, checkpoint: checkpoint, command: Self.usage.name)
        let sampling = sampling.sampling(for: checkpoint)
        if !sampling.stopStrings.isEmpty { _ = try checkpoint.text.requiredTokenizer() }

        let decoder = try model.decoder(checkpoint)
        try CacheMemory.check(
            checkpoint.config, prompts: requests.map(\.tokens.count), sampling: sampling, precision: decoder.cachePrecision, command: Self.usage.name)
        let engine = LocalRollouts(decoder, text: checkpoint.text, name: checkpoint.path, sequences: together)
        Interrupt.install()
        if requests.count * sampling.samplesPerPrompt == 1, !isJSON, out == nil { return try stream(requests[0], engine, sampling, checkpoint.tokenizer) }
        try generate(requests, engine, sampling, checkpoint)
    }

    private func stream(_ request: PromptRequest, _ engine: LocalRollouts, _ sampling: Sampling, _ tokenizer: Tokenizer?) throws {
        let printer = StreamPrinter(tokenizer, sampling)
        engine.onToken = { _, _, token in printer.print(token) && !Interrupt.isRequested }
        try engine.sample(RolloutRequest([.tokens(request.tokens)], sampling: sampling)) { _ in true }
        try printer.finish()
        if Interrupt.isRequested { throw CommandError.stopped(done: 0, of: 1, what: "completions") }
    }

    private func generate(_ requests: [PromptRequest], _ engine: LocalRollouts, _ sampling: Sampling, _ checkpoint: Checkpoint) throws {
        var request = RolloutRequest(requests.map { .tokens($0.tokens) }, sampling: sampling)
        let total = requests.count * sampling.samplesPerPrompt
        let file = try out.map { try RolloutFile($0, prompts: requests.map(\.prompt), model: engine.model, sampling: sampling) }
        if let file, file.doneCount > 0 {
            Output.note("\(file.path): \(file.doneCount) of \(total) completions are there already")
            for i in request.prompts.indices { request.prompts[i].samples.removeAll { file.done[i]?.contains($0) ?? false } }
        }
        var progress = RolloutProgress(done: file?.doneCount ?? 0, of: total)
        var printer = OrderedRows(samples: sampling.samplesPerPrompt)
        engine.onToken = { _, _, _ in
            progress.token()
            return !Interrupt.isRequested
        }
        try engine.sample(request) { rollout in
            let prompt = requests[rollout.prompt]
            if let file {
                try file.append(json(prompt, rollout, checkpoint.tokenizer, adding: [("sampling", RolloutFile.settings(engine.model, sampling))]))
            } else {
                let row = isJSON ? json(prompt, rollout, checkpoint.tokenizer, adding: []).text() + "\n" : text(prompt, rollout, checkpoint.tokenizer, sampling)
                for row in printer.take(rollout, row) { try Output.write(row) }
            }
            progress.finished()
            return !Interrupt.isRequested
        }
        for row in printer.rest() { try Output.write(row) }
        try file?.close()
        progress.end()
        if Interrupt.isRequested, progress.done < total { throw CommandError.stopped(done: progress.done, of: total, what: "completions") }
    }

    private func text(_ request: PromptRequest, _ rollout: Rollout, _ tokenizer: Tokenizer?, _ sampling: Sampling) -> String {
        let heading = request.place.name + (sampling.samplesPerPrompt > 1 ? ", sample \(rollout.sample + 1)" : "")
        return "==> \(heading) <==\n" + (tokenizer == nil ? ids(rollout).map(String.init).joined(separator: " ") : rollout.text) + "\n"
    }

    private func ids(_ rollout: Rollout) -> [Int32] { rollout.tokens ?? [] }

    private func json(_ request: PromptRequest, _ rollout: Rollout, _ tokenizer: Tokenizer?, adding members: [(String, JSON)]) -> JSON {
        .object(JSONObject([
            ("prompt", request.prompt), ("completion", tokenizer == nil ? .null : .string(rollout.text)),
            ("tokens", .array(ids(rollout).map { .integer(Int($0)) })), ("token_logprobs", .array((rollout.logProbs ?? []).map { .number($0) })),
            ("finish_reason", .string(rollout.finishReason.name)), ("prompt_index", .integer(rollout.prompt)), ("sample", .integer(rollout.sample)),
        ] + members))
    }
}

/// Rows that arrive in any order and leave by prompt and sample.
struct OrderedRows {
    let samples: Int
    private var held: [Int: String] = [:]
    private var next = 0

    init(samples: Int) { self.samples = samples }

    /// - Returns: Rows whose turn has come.
    mutating func take(_ rollout: Rollout, _ row: String) -> [String] {
        held[rollout.prompt * samples + rollout.sample] = row
        var rows: [String] = []
        while let row = held.removeValue(forKey: next) {
            rows.append(row)
            next += 1
        }
        return rows
    }

    /// What waits for others that do not come, in order.
    mutating func rest() -> [String] {
        defer { held = [:] }
        return held.keys.sorted().compactMap { held[$0] }
    }
}

/// One line every other second on standard error.
///
///     generate   120/2000  1832 tok/s  eta 12m04s
struct RolloutProgress {
    private(set) var done: Int
    private let total: Int
    private let before: Int
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant
    private var shown: ContinuousClock.Instant
    private var tokens = 0

    init(done: Int, of total: Int) {
        (self.done, before, self.total) = (done, done, total)
        start = clock.now
        shown = start
    }

    mutating func token() { tokens += 1 }

    mutating func finished() {
        done += 1
        guard shown.duration(to: clock.now) > .seconds(2) else { return }
        shown = clock.now
        Output.note(line)
    }

    /// The last line, where there were others or many to wait for.
    func end() { if total > 1, done > before { Output.note(line) } }

    private var line: String {
        let elapsed = start.duration(to: clock.now), seconds = Double(elapsed.components.seconds) + 1e-18 * Double(elapsed.components.attoseconds)
        let left = seconds * Double(total - done) / Double(max(done - before, 1))
        let rate = Int(min(Double(tokens) / max(seconds, 1e-9), 1e12))
        return "generate  " + leftPadded("\(done)", "\(total)".count) + "/\(total)  \(rate) tok/s  eta \(duration(left))"
    }
}
