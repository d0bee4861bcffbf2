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
        ] + SamplingFlags.flags(Sampling()) + ModelChoice.decodingFlags + [.switched("json", "print one JSON object for each prompt")],
        example: "align generate --chat --prompt \"Name three rivers.\" --temperature 0",
        notes: """
            A single prompt's text is printed as it comes; several are printed in order, a heading before each. With --json:
            {"prompt", "completion", "tokens" (ids, the one that ends it included), "token_logprobs" (nats, at the
            temperature, before filters), "finish_reason" (stop or length)}. A prompt's draws depend on the seed and on its place among the
            prompts, not on threads. Ctrl-C keeps what is printed (exit code 75).
            """)
    /// Prompts that run together: what an interruption may lose.
    static let together = 32

    let prompts: [String]
    let files: [String]
    let isChat: Bool
    let columns: [String: String]
    let onBadRow: OnBadRow
    let sampling: Sampling
    let model: ModelChoice
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        prompts = arguments.list("prompt")
        files = arguments.list("prompts")
        isChat = arguments.isOn("chat")
        var settings = TrainingSettings(learningRate: 0)
        settings.columns = arguments.optionalText("columns")
        do throws(SettingError) { columns = try settings.columnNames() } catch { throw UsageError(error, command: Self.usage.name) }
        onBadRow = try arguments.choice("on-bad-row", default: .stop)
        sampling = try SamplingFlags.sampling(arguments, preset: Sampling())
        model = try ModelChoice(arguments)
        isJSON = arguments.isOn("json")
        if prompts.isEmpty, files.isEmpty {
            throw .missingFlag(command: Self.usage.name, form: "--prompt TEXT or --prompts FILE", help: "what is to be continued")
        }
    }

    func run() async throws {
        let checkpoint = try model.open()
        let read = try files.isEmpty ? nil : Records.prompts(files.map(RecordFile.parse), columns: columns, onBadRow: onBadRow, seed: sampling.seed)
        if let report = read?.report, report.badRowCount > 0 { Output.warn("\(report.badRowCount) bad rows skipped; the first: \(report.badRows[0])") }
        let requests = try PromptRequest.read(
            texts: prompts, rows: read?.rows ?? [], isChat: isChat, checkpoint: checkpoint, command: Self.usage.name)
        for request in requests { try CacheMemory.check(checkpoint.config, prompt: request.tokens.count, sampling: sampling, command: Self.usage.name) }

        let decoder = try model.decoder(checkpoint)
        var sampling = sampling
        sampling.stopIDs = checkpoint.stopIDs
        Interrupt.install()
        let generator = Generator(decoder: decoder)
        if requests.count == 1, !isJSON { return try stream(requests[0], generator, sampling, checkpoint.tokenizer) }
        try generate(requests, generator, sampling, checkpoint)
    }

    private func stream(_ request: PromptRequest, _ generator: Generator, _ sampling: Sampling, _ tokenizer: Tokenizer?) throws {
        let printer = StreamPrinter(tokenizer, hides: sampling.stopIDs)
        _ = try generator.generate(prompts: [request.tokens], sampling: sampling) { _, token in printer.print(token) && !Interrupt.isRequested }
        try printer.finish()
        if Interrupt.isRequested { throw CommandError.stopped(done: 0, of: 1, what: "prompts") }
    }

    private func generate(_ requests: [PromptRequest], _ generator: Generator, _ sampling: Sampling, _ checkpoint: Checkpoint) throws {
        var done = 0
        for first in stride(from: 0, to: requests.count, by: Self.together) where !Interrupt.isRequested {
            let part = Array(requests[first..<min(first + Self.together, requests.count)])
            let completions = try generator.generate(prompts: part.map(\.tokens), firstPrompt: first, sampling: sampling) { _, _ in !Interrupt.isRequested }
            for (request, completion) in zip(part, completions) {
                // One that was cut off says "stop" without a token that stops.
                let isWhole = completion.finishReason == .length || completion.tokens.last.map { sampling.stopIDs.contains($0) } ?? false
                guard isWhole else { continue }
                try Output.write(isJSON ? json(request, completion, checkpoint.tokenizer).text() + "\n" : text(request, completion, checkpoint.tokenizer))
                done += 1
            }
            if requests.count > Self.together { Output.note("generate  \(min(first + Self.together, requests.count))/\(requests.count)") }
        }
        if Interrupt.isRequested, done < requests.count { throw CommandError.stopped(done: done, of: requests.count, what: "prompts") }
    }

    private func text(_ request: PromptRequest, _ completion: Completion, _ tokenizer: Tokenizer?) -> String {
        let ids = completion.tokens
        return "==> \(request.place.name) <==\n" + (tokenizer?.decode(ids, skipSpecialTokens: true) ?? ids.map(String.init).joined(separator: " ")) + "\n"
    }

    private func json(_ request: PromptRequest, _ completion: Completion, _ tokenizer: Tokenizer?) -> JSON {
        [
            "prompt": request.prompt, "completion": tokenizer.map { .string($0.decode(completion.tokens, skipSpecialTokens: true)) } ?? .null,
            "tokens": .array(completion.tokens.map { .integer(Int($0)) }), "token_logprobs": .array(completion.logProbs.map { .number($0) }),
            "finish_reason": .string(completion.finishReason.rawValue),
        ]
    }
}
