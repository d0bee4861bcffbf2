import Serialization

/// A prompt to be answered.
public struct PromptRecord: Sendable {
    public var prompt: Content
    /// What is known to be right.
    public var answer: String?
    public var origin: RowOrigin
    public var shape: RecordShape
}

/// Reads a row for its prompt alone; answers that come with it are left out.
enum PromptShapes {
    static func read(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> PromptRecord {
        let (content, shape) = try find(row, origin)
        if content.isEmpty {
            throw RowFault(reason: "the prompt is empty, expected something to answer.", remedy: "Leave the row out.")
        }
        let answer = ["reference", "ground_truth", "answer", "solution", "target"].lazy.compactMap { row[$0] }.first { !$0.isNull }
        return PromptRecord(prompt: content, answer: answer.map { $0.string ?? $0.text() }, origin: origin, shape: shape)
    }

    private static func find(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> (Content, RecordShape) {
        if row.has("prompt_ids") { return (.tokens(try row.tokens("prompt_ids")), .promptTokens) }
        if row.has("prompt") { return (try row.withSystem(row.content("prompt")), .prompt) }
        if row.has("instruction") { return (try row.withSystem(.text(row.instruction())), .instruction) }
        if row.has("question") { return (try row.withSystem(row.content("question")), .question) }
        if row.has("messages") { return (try dialogue(row, "messages"), .messages) }
        if row.has("conversations") { return (try dialogue(row, "conversations"), .conversations) }
        if row.has("chosen", "rejected") {
            let pair = try PairShapes.read(row, origin)
            return (pair.prompt, pair.shape)
        }
        if row.has("text") { return (try row.withSystem(.text(row.text("text"))), .text) }
        throw row.unknownShape(of: RecordShape.prompts)
    }

    /// The dialogue without the assistant's turns at its end.
    private static func dialogue(_ row: RowView, _ field: String) throws(RowFault) -> Content {
        var messages = try row.withSystem(.messages(row.messages(field))).messages(role: "user")
        while messages.last?.role == "assistant" { messages.removeLast() }
        guard let last = messages.last, last.role != "system" else {
            throw RowFault(reason: "\"\(row.name(field))\" has no message to answer, expected one of the user.", remedy: "Leave the row out.")
        }
        return .messages(messages)
    }
}
