import Models
import PreferenceData
import Serialization

/// A prompt as tokens, and what rewards may know of its row.
struct PromptRow: TokenRow {
    var tokens: [Int32]
    var content: RolloutPrompt.Content
    /// What is known to be right.
    var answer: String?
    var origin: String
    var splitKey: [Int32] { tokens }
    var parts: [[Int32]] { [tokens] }
    var tokenCount: Int { tokens.count }
}

extension PromptRow {
    func write(to bytes: inout RowBytes) {
        bytes.add(tokens)
        switch content {
        case let .tokens(ids):
            bytes.add(0)
            bytes.add(ids)
        case let .text(text):
            bytes.add(1)
            bytes.add(text)
        case let .messages(messages):
            bytes.add(2)
            bytes.add(JSON.array(messages).text())
        }
        bytes.add(answer) { $0.add($1) }
        bytes.add(origin)
    }

    init(from parts: inout RowParts) throws(RowParts.Damaged) {
        tokens = try parts.tokens()
        switch try parts.integer() {
        case 0: content = .tokens(try parts.tokens())
        case 1: content = .text(try parts.text())
        case 2:
            guard let messages = (try? JSON.parse(try parts.text()))?.array else { throw RowParts.Damaged() }
            content = .messages(messages)
        default: throw RowParts.Damaged()
        }
        answer = try parts.optional { part throws(RowParts.Damaged) in try part.text() }
        origin = try parts.text()
    }
}

extension RowEncoder {
    /// The prompt with what opens an answer; one that leaves no room for `room` tokens is dropped.
    func encode(_ prompt: Content, answer: String?, origin: String, room: Int) throws -> Encoded<PromptRow> {
        let tokens = try promptTokens(prompt, origin: origin)
        guard !tokens.isEmpty else { return Encoded(dropped: "the prompt has no tokens") }
        guard tokens.count + room <= maxLength else {
            return Encoded(dropped: "the prompt has \(tokens.count) tokens, --max-length \(maxLength) leaves fewer than \(room)")
        }
        return Encoded(row: PromptRow(tokens: tokens, content: prompt.rolloutContent, answer: answer, origin: origin))
    }
}

extension Content {
    /// As rewards and engines see it.
    var rolloutContent: RolloutPrompt.Content {
        switch self {
        case let .text(text): .text(text)
        case let .messages(messages): .messages(messages.map(\.json))
        case let .tokens(ids): .tokens(ids)
        }
    }
}
