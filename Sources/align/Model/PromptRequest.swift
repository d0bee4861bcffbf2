import Checkpoints
import Models
import PreferenceData
import Serialization
import Training

/// A prompt that is to be continued: as it was given, and as tokens.
struct PromptRequest {
    enum Place: Equatable {
        /// The nth `--prompt`, counted from 1.
        case flag(Int)
        case line(RowOrigin)

        /// For headings.
        var name: String {
            switch self {
            case let .flag(number): "prompt \(number)"
            case let .line(origin): "\(origin.file):\(origin.line)"
            }
        }
    }

    var place: Place
    /// A string, an array of messages or an array of ids.
    var prompt: JSON
    var tokens: [Int32]

    /// - Parameter isChat: Texts are user messages to the chat template. Messages always go through it, ids never.
    /// - Throws: Of a flag's prompt `UsageError.badValue`, of a file's `CommandError.badLine`, if it does not fit the model.
    static func read(
        texts: [String], rows: [(prompt: Content, origin: RowOrigin)], isChat: Bool, checkpoint: Checkpoint, command: String
    ) throws -> [PromptRequest] {
        let given = texts.enumerated().map { (Place.flag($0.offset + 1), Content.text($0.element)) } + rows.map { (Place.line($0.origin), $0.prompt) }
        return try given.map { place, content in
            let request = try make(content, place, isChat: isChat, text: checkpoint.text)
            try request.check(checkpoint.config, command: command)
            return request
        }
    }

    /// Prompts for an engine with a tokenizer and a template of its own; they have no tokens here.
    static func read(texts: [String], rows: [(prompt: Content, origin: RowOrigin)], isChat: Bool) -> ([PromptRequest], [RolloutPrompt.Content]) {
        let given = texts.enumerated().map { (Place.flag($0.offset + 1), Content.text($0.element)) } + rows.map { (Place.line($0.origin), $0.prompt) }
        let all = given.map { place, content -> (PromptRequest, RolloutPrompt.Content) in
            switch content {
            case let .text(text):
                let said: RolloutPrompt.Content = isChat ? .messages([["role": "user", "content": .string(text)]]) : .text(text)
                return (PromptRequest(place: place, prompt: .string(text), tokens: []), said)
            case let .messages(messages):
                let json = messages.map(\.json)
                return (PromptRequest(place: place, prompt: .array(json), tokens: []), .messages(json))
            case let .tokens(ids): return (PromptRequest(place: place, prompt: .array(ids.map { .integer(Int($0)) }), tokens: ids), .tokens(ids))
            }
        }
        return (all.map(\.0), all.map(\.1))
    }

    private static func make(_ content: Content, _ place: Place, isChat: Bool, text: CheckpointText) throws -> PromptRequest {
        switch content {
        case let .text(prompt):
            let tokens = try isChat ? chat([["role": "user", "content": .string(prompt)]], place, text) : text.tokens(of: prompt)
            return PromptRequest(place: place, prompt: .string(prompt), tokens: tokens)
        case let .messages(messages):
            let json = messages.map(\.json)
            return PromptRequest(place: place, prompt: .array(json), tokens: try chat(json, place, text))
        case let .tokens(ids):
            return PromptRequest(place: place, prompt: .array(ids.map { .integer(Int($0)) }), tokens: ids)
        }
    }

    /// What a template refuses is the fault of the line.
    private static func chat(_ messages: [JSON], _ place: Place, _ text: CheckpointText) throws -> [Int32] {
        do { return try text.tokens(of: messages) } catch let error as CommandError { throw error } catch {
            guard case let .line(origin) = place else { throw error }
            throw CommandError.badLine(
                path: origin.file, line: origin.line, found: "messages that the chat template refuses (\(error))", expected: "messages it renders")
        }
    }

    private func check(_ config: ModelConfig, command: String) throws {
        var fault: (found: String, expected: String)?
        if tokens.isEmpty {
            fault = ("a prompt without tokens", "text, or at least one token id")
        } else if tokens.count >= config.maxPositions {
            fault = ("a prompt of \(tokens.count) tokens", "fewer than the model's context of \(config.maxPositions)")
        } else if let id = tokens.first(where: { $0 < 0 || Int($0) >= config.vocabularySize }) {
            fault = ("token id \(id)", "0 to \(config.vocabularySize - 1), the model's vocabulary")
        }
        guard let fault else { return }
        switch place {
        case .flag: throw UsageError.badValue(command: command, flag: "prompt", found: fault.found, expected: fault.expected)
        case let .line(origin): throw CommandError.badLine(path: origin.file, line: origin.line, found: fault.found, expected: fault.expected)
        }
    }
}
