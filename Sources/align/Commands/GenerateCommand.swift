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
            .optional("shard", "I/N", "only the Ith of N parts of the prompts, counted from 1; draws are those of the whole", default: "1/1"),
            .optional("out", "FILE", "append rows of JSON to FILE as they finish, in that order; go on where FILE ends"),
            .switched("json", "print one JSON object for each completion"),
        ] + ServerChoice.flags,
        example: "align generate --chat --prompt \"Name three rivers.\" --temperature 0",
        notes: """
            A single completion's text is printed as it comes; several are printed in order, a heading before each. With --json:
            {"prompt", "completion", "tokens" (ids, the one that ends it included), "token_logprobs" (nats, at the
            temperature, before filters and penalties), "finish_reason" (stop or length), "prompt_index", "sample"}; --out adds
            "sampling", who sampled and how. A completion's draws depend on the seed, on its prompt's place among the prompts and on
            its own number, not on threads or on what runs beside it. Ctrl-C keeps what is finished (exit code 75).
            With --server, a server of OpenAI's protocol samples (vLLM, llama.cpp, align serve): texts go to /v1/completions, messages and
            --chat to /v1/chat/completions, each completion as a request with a seed of its own, tried again while the server is busy or
            away. "tokens" and "token_logprobs" are null where it gives none. Its key is taken from ALIGN_API_KEY, or over https or on this
            machine from OPENAI_API_KEY.
            """)

    let prompts: [String]
    let files: [String]
    let isChat: Bool
    let columns: [String: String]
    let onBadRow: OnBadRow
    let sampling: SamplingFlags
    let model: ModelChoice
    let together: Int
    let shard: Shard
    let out: String?
    let isJSON: Bool
    let server: ServerChoice?

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
        shard = try Shard(arguments)
        server = try ServerChoice(arguments)
        out = arguments.optionalText("out")
        isJSON = arguments.isOn("json")
        if prompts.isEmpty, files.isEmpty {
            throw .missingFlag(command: Self.usage.name, form: "--prompt TEXT or --prompts FILE", help: "what is to be continued")
        }
        if out != nil, isJSON { throw .conflict(command: Self.usage.name, flags: ["out", "json"], reason: "rows go to the file") }
    }

    func run() async throws {
        let read = try files.isEmpty ? nil : Records.prompts(files.map(RecordFile.parse), columns: columns, onBadRow: onBadRow, seed: sampling.seed)
        if let report = read?.report, report.badRowCount > 0 { Output.warn("\(report.badRowCount) bad rows skipped; the first: \(report.badRows[0])") }
        if let server { return try await run(on: server, rows: (read?.rows ?? []).map { (prompt: $0.prompt, origin: $0.origin) }) }
        let checkpoint = try model.open()
        let requests = try PromptRequest.read(
            texts: prompts, rows: (read?.rows ?? []).map { (prompt: $0.prompt, origin: $0.origin) }, isChat: isChat, checkpoint: checkpoint, command: Self.usage.name)
        let sampling = sampling.sampling(for: checkpoint)
        if !sampling.stopStrings.isEmpty { _ = try checkpoint.text.requiredTokenizer() }

        let decoder = try model.decoder(checkpoint)
        try CacheMemory.check(
            checkpoint.config, prompts: requests.map(\.tokens.count), sampling: sampling, precision: decoder.cachePrecision, command: Self.usage.name)
        let engine = LocalRollouts(decoder, text: checkpoint.text, name: checkpoint.path, sequences: together)
        Interrupt.install()
        if requests.count * sampling.samplesPerPrompt == 1, !isJSON, out == nil { return try stream(requests[0], engine, sampling, checkpoint.tokenizer) }
        let progress = RolloutProgress()
        engine.onToken = { _, _, _ in
            progress.token()
            return !Interrupt.isRequested
        }
        try await generate(requests, requests.map { .tokens($0.tokens) }, engine, sampling, progress, hasText: checkpoint.tokenizer != nil)
    }

    private func run(on server: ServerChoice, rows: [(prompt: Content, origin: RowOrigin)]) async throws {
        let (requests, contents) = PromptRequest.read(texts: prompts, rows: rows, isChat: isChat)
        Interrupt.install()
        try await generate(requests, contents, server.engine(), sampling.asGiven, RolloutProgress(), hasText: true)
    }

    private func stream(_ request: PromptRequest, _ engine: LocalRollouts, _ sampling: Sampling, _ tokenizer: Tokenizer?) throws {
        let printer = StreamPrinter(tokenizer, sampling)
        engine.onToken = { _, _, token in printer.print(token) && !Interrupt.isRequested }
        try engine.sample(RolloutRequest([.tokens(request.tokens)], sampling: sampling)) { _ in true }
        try printer.finish()
        if Interrupt.isRequested { throw CommandError.stopped(done: 0, of: 1, what: "completions") }
    }

    /// Prints or appends every completion that is not there yet; those that came before a failure are kept.
    private func generate(
        _ requests: [PromptRequest], _ contents: [RolloutPrompt.Content], _ engine: any Rollouts, _ sampling: Sampling, _ progress: RolloutProgress,
        hasText: Bool
    ) async throws {
        var request = RolloutRequest(contents, sampling: sampling)
        request.prompts = request.prompts.filter { shard.has($0.index) }
        let total = request.prompts.count * sampling.samplesPerPrompt
        let file = try out.map { try RolloutFile($0, prompts: requests.map(\.prompt), model: engine.model, sampling: sampling) }
        for i in request.prompts.indices {
            let done = file?.done[request.prompts[i].index] ?? []
            request.prompts[i].samples.removeAll { done.contains($0) }
        }
        let missing = request.prompts.reduce(0) { $0 + $1.samples.count }
        if let file, missing < total { Output.note("\(file.path): \(total - missing) of \(total) completions are there already") }
        progress.begin(done: total - missing, of: total)
        var printer = OrderedRows(request.prompts)
        var failure: (any Error)?
        do {
            try await engine.sample(request) { rollout in
                let prompt = requests[rollout.prompt]
                if let file {
                    try file.append(json(prompt, rollout, hasText, adding: [("sampling", RolloutFile.settings(engine.model, sampling))]))
                } else {
                    let row = isJSON ? json(prompt, rollout, hasText, adding: []).text() + "\n" : text(prompt, rollout, hasText, sampling)
                    for row in printer.take(rollout, row) { try Output.write(row) }
                }
                progress.finished()
                return !Interrupt.isRequested
            }
        } catch { failure = error }
        if !(failure is Output.Failure) { for row in printer.rest() { try Output.write(row) } }
        try file?.close()
        progress.end()
        if Interrupt.isRequested, progress.done < total { throw CommandError.stopped(done: progress.done, of: total, what: "completions") }
        if let failure { throw failure }
    }

    private func text(_ request: PromptRequest, _ rollout: Rollout, _ hasText: Bool, _ sampling: Sampling) -> String {
        let heading = request.place.name + (sampling.samplesPerPrompt > 1 ? ", sample \(rollout.sample + 1)" : "")
        return "==> \(heading) <==\n" + (hasText ? rollout.text : (rollout.tokens ?? []).map(String.init).joined(separator: " ")) + "\n"
    }

    private func json(_ request: PromptRequest, _ rollout: Rollout, _ hasText: Bool, adding members: [(String, JSON)]) -> JSON {
        .object(JSONObject([
            ("prompt", request.prompt), ("completion", hasText ? .string(rollout.text) : .null),
            ("tokens", rollout.tokens.map { .array($0.map { .integer(Int($0)) }) } ?? .null),
            ("token_logprobs", rollout.logProbs.map { .array($0.map { .number($0) }) } ?? .null),
            ("finish_reason", .string(rollout.finishReason.name)), ("prompt_index", .integer(rollout.prompt)), ("sample", .integer(rollout.sample)),
        ] + members))
    }
}

/// Rows that arrive in any order and leave by prompt and sample.
struct OrderedRows {
    /// Place in the output, by prompt and sample.
    private var places: [Int: [Int: Int]] = [:]
    private var held: [Int: String] = [:]
    private var next = 0

    init(_ prompts: [RolloutPrompt]) {
        var place = 0
        for prompt in prompts {
            for sample in prompt.samples {
                places[prompt.index, default: [:]][sample] = place
                place += 1
            }
        }
    }

    /// - Returns: Rows whose turn has come.
    mutating func take(_ rollout: Rollout, _ row: String) -> [String] {
        guard let place = places[rollout.prompt]?[rollout.sample] else { preconditionFailure("nobody asked for sample \(rollout.sample) of prompt \(rollout.prompt)") }
        held[place] = row
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
final class RolloutProgress {
    private(set) var done = 0
    private var total = 0
    private var before = 0
    private let clock = ContinuousClock()
    private var start: ContinuousClock.Instant
    private var shown: ContinuousClock.Instant
    private var tokens = 0

    init() {
        start = clock.now
        shown = start
    }

    func begin(done: Int, of total: Int) {
        (self.done, before, self.total) = (done, done, total)
        start = clock.now
        shown = start
    }

    func token() { tokens += 1 }

    func finished() {
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
        // A server need not say how many tokens it drew.
        let speed = tokens > 0 ? "\(rate) tok/s  " : ""
        return "generate  " + leftPadded("\(done)", "\(total)".count) + "/\(total)  \(speed)eta \(duration(left))"
    }
}
