import Checkpoints
import Foundation
import Models
import Serialization

/// A conversation at the terminal, or with whatever writes to standard input.
struct ChatCommand: Command {
    private static let preset: Sampling = {
        var sampling = Sampling()
        (sampling.temperature, sampling.topP, sampling.maxNewTokens) = (0.7, 0.95, 512)
        return sampling
    }()
    static let usage = Usage(
        "chat", "Talk with a model.",
        [.optional("system", "TEXT", "what the model is told first", default: "what its chat template says")]
            + SamplingFlags.flags(preset) + ModelChoice.decodingFlags,
        example: "align chat --system \"Answer in one sentence.\"",
        notes: """
            One line is one message. /reset forgets the conversation, /exit or the end of input ends it; Ctrl-C stops an answer, and between answers the chat.
            When the conversation outgrows the model's context, its oldest questions and answers are forgotten.
            """)

    let system: String?
    let sampling: SamplingFlags
    let model: ModelChoice

    init(_ arguments: Arguments) throws(UsageError) {
        system = arguments.optionalText("system")
        sampling = try SamplingFlags(arguments, preset: Self.preset)
        model = try ModelChoice(arguments)
    }

    func run() async throws {
        let checkpoint = try model.open()
        let text = checkpoint.text
        _ = try (text.requiredTokenizer(), text.requiredTemplate())
        var sampling = sampling.sampling(for: checkpoint)
        // Half of a small context is the question's.
        sampling.maxNewTokens = min(sampling.maxNewTokens, max(1, checkpoint.config.maxPositions / 2))
        let room = checkpoint.config.maxPositions - sampling.maxNewTokens
        let generator = Generator(decoder: try model.decoder(checkpoint), tokenizer: checkpoint.tokenizer)

        let isTerminal = isatty(STDIN_FILENO) == 1
        if isTerminal { Output.note("/reset forgets the conversation, /exit ends it, Ctrl-C stops an answer.") }
        var conversation = Conversation(system: system)
        var answers = 0
        while let line = readLine(isTerminal) {
            switch line.trimmingCharacters(in: .whitespaces) {
            case "": continue
            case "/exit", "/quit": return
            case "/reset": conversation.reset()
            default:
                conversation.add("user", line)
                guard let tokens = try prompt(&conversation, text, limit: room) else { continue }
                conversation.add("assistant", try answer(tokens, generator, checkpoint, sampling, number: answers))
                answers += 1
            }
        }
        if isTerminal { try Output.write("\n") }
    }

    /// One line, without its end; nil at the end of input. Ctrl-C here ends the process, as nothing is to be saved.
    private func readLine(_ isTerminal: Bool) -> String? {
        if isTerminal { Output.prompt("> ") }
        return Swift.readLine(strippingNewline: true)
    }

    /// A question that cannot be asked is taken back; the conversation goes on.
    private func prompt(_ conversation: inout Conversation, _ text: CheckpointText, limit: Int) throws -> [Int32]? {
        let before = conversation.turns.count
        if let tokens = try conversation.tokens(text, limit: limit) {
            if conversation.turns.count < before { Output.note("(the oldest \((before - conversation.turns.count) / 2) questions are forgotten)") }
            return tokens
        }
        conversation.removeLast()
        Output.warn("the message does not fit the model's context: \(limit) tokens are for the question; shorten it, or lower --max-new-tokens")
        return nil
    }

    private func answer(_ tokens: [Int32], _ generator: Generator, _ checkpoint: Checkpoint, _ sampling: Sampling, number: Int) throws -> String {
        try CacheMemory.check(
            checkpoint.config, prompts: [tokens.count], sampling: sampling, precision: generator.cachePrecision, command: Self.usage.name)
        Interrupt.install(quietly: true)
        defer {
            Interrupt.clear()
            Interrupt.uninstall()
        }
        let printer = StreamPrinter(checkpoint.tokenizer, sampling)
        let completions = try generator.generate(prompts: [tokens], firstPrompt: number, sampling: sampling) { _, token in
            printer.print(token) && !Interrupt.isRequested
        }
        try printer.finish()
        if Interrupt.isRequested { Output.note("(stopped)") }
        return checkpoint.tokenizer.map { CompletionText.of(completions[0].tokens, $0, sampling) } ?? ""
    }
}
