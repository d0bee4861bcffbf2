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
