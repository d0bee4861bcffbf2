import Foundation
import Serialization

/// What kind of rows a file has, as `--format` names it; `auto` finds out row by row.
public enum ImportFormat: String, Sendable, CaseIterable {
    case auto, pairs, judgments, rankings, labels, scores, examples, prompts, votes
}

/// What rows are read as besides what stands in them.
struct ImportContext: Sendable {
    var source: StoredSource
    /// Who judged, where rows do not say: the file's name without folder and ending.
    var annotator: String
}

/// One way in which files say things: how a row of it is known, and what it comes to. A new format is one line of `all`.
struct ImportShape: Sendable {
    let shape: RecordShape
    let format: ImportFormat
    let matches: @Sendable (RowView) -> Bool
    let read: @Sendable (RowView, RowOrigin, ImportContext) throws(RowFault) -> (shape: RecordShape, rows: [StoredRow])

    /// In the order in which they are tried: those that ask for more fields come first.
    static let all: [ImportShape] = [
        ImportShape(.vote, .votes, { $0.has("prompt", "completions", "outcome") }, VoteShapes.vote),
        ImportShape(.tokenPair, .pairs, { $0.has("prompt_ids", "chosen_ids", "rejected_ids") }, reading: pair),
        ImportShape(.promptChosenRejected, .pairs, { $0.has("chosen", "rejected") }, reading: pair),
        ImportShape(.questionResponses, .pairs, { $0.has("question", "response_j", "response_k") }, reading: pair),
        ImportShape(.annotatedResponses, .judgments, { $0.has("response1", "response2", "annotator1") }, VoteShapes.annotated),
        ImportShape(.labelledResponses, .judgments, { $0.has("response_1", "response_2", "label") }, VoteShapes.labelledResponses),
        ImportShape(.labelledOutputs, .judgments, { $0.has("output_1", "output_2", "label") }, VoteShapes.labelledOutputs),
        ImportShape(.battle, .judgments, { $0.has("conversation_a", "conversation_b", "winner") }, VoteShapes.battle),
        ImportShape(.responseWinner, .judgments, { $0.has("response_a", "response_b", "winner") }, VoteShapes.responseWinner),
        ImportShape(.tree, .rankings, { $0["prompt"]?["replies"] != nil }, TreeShapes.tree),
        ImportShape(.candidates, .rankings, { ($0["completions"] ?? $0["responses"])?.array != nil }, CandidateShapes.read),
        ImportShape(.labelledCompletion, .labels, isLabelled, CandidateShapes.label),
        ImportShape(.scoredCompletion, .scores, isScored, CandidateShapes.score),
        ImportShape(.instances, .examples, { $0.has("instruction", "instances") }, TreeShapes.instances),
        ImportShape(.promptCompletion, .examples, isSupervised, reading: example),
        ImportShape(.prompt, .prompts, { _ in true }, task),
    ]

    init(
        _ shape: RecordShape, _ format: ImportFormat, _ matches: @escaping @Sendable (RowView) -> Bool,
        _ read: @escaping @Sendable (RowView, RowOrigin, ImportContext) throws(RowFault) -> [StoredRow]
    ) {
        self.init(shape, format, matches, reading: { (row, origin, context) throws(RowFault) in (shape, try read(row, origin, context)) })
    }

    /// - Parameter reading: Of several shapes: it says which one it found.
    init(
        _ shape: RecordShape, _ format: ImportFormat, _ matches: @escaping @Sendable (RowView) -> Bool,
        reading: @escaping @Sendable (RowView, RowOrigin, ImportContext) throws(RowFault) -> (shape: RecordShape, rows: [StoredRow])
    ) {
        (self.shape, self.format, self.matches, read) = (shape, format, matches, reading)
    }

    /// What a row comes to, and the shape it was found to have.
    static func read(
        _ row: RowView, _ origin: RowOrigin, _ context: ImportContext, format: ImportFormat
    ) throws(RowFault) -> (shape: RecordShape, rows: [StoredRow]) {
        guard let known = all.first(where: { (format == .auto || $0.format == format) && $0.matches(row) }) else {
            throw row.unknownShape(of: all.filter { format == .auto || $0.format == format }.map(\.shape))
        }
        // A row of prompts alone may carry what it likes; half of a pair is a mistake that nobody would see.
        if format == .auto, known.shape == .prompt, let (there, absent) = halfPair(row) {
            throw RowFault(
                reason: "\"\(there)\" has no \"\(absent)\" beside it, expected both.",
                remedy: "Add the field \"\(absent)\", or take the row as a prompt alone with --format prompts.")
        }
        let found = try known.read(row, origin, context)
        for row in found.rows { for content in [row.prompt.content] + row.completions { try checkOrder(content) } }
        return found
    }

    /// Fields of the two sides of a pair, as files name them.
    private static let sides = [
        ("chosen", "rejected"), ("chosen_ids", "rejected_ids"), ("response_j", "response_k"), ("response1", "response2"), ("response_1", "response_2"),
        ("output_1", "output_2"), ("response_a", "response_b"), ("conversation_a", "conversation_b"),
    ]

    /// A side that a row has, and the other one, that it has not.
    private static func halfPair(_ row: RowView) -> (there: String, absent: String)? {
        for (a, b) in sides where row.has(a) != row.has(b) { return row.has(a) ? (row.name(a), row.name(b)) : (row.name(b), row.name(a)) }
        return nil
    }

    // MARK: Shapes that stages read too

    @Sendable private static func pair(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> (shape: RecordShape, rows: [StoredRow]) {
        if row.object[row.name("prompt")]?.isNull == true, !["conversations", "instruction", "question"].contains(where: { row.has($0) }) {
            throw RowFault(reason: "\"\(row.name("prompt"))\" is null, expected a prompt.", remedy: "Write the prompt, or leave the field out if both completions begin with it.")
        }
        let pair = try PairShapes.read(row, origin)
        return (pair.shape, [.comparison(StoredComparison(pair, source: context.source))])
    }

    @Sendable private static func example(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> (shape: RecordShape, rows: [StoredRow]) {
        let example = try SupervisedShapes.read(row, origin)
        let completion = StoredContent(example.completion)
        let prompt = StoredPrompt(example.prompt.map { StoredContent($0) } ?? .none(before: completion), tools: example.tools?.text())
        var rows: [StoredRow] = [.example(prompt: prompt, completion: completion, lossMask: example.lossMask)]
        if row.has("question", "answer"), let answer = finalAnswer(try row.text("answer")) { rows.append(.task(prompt: prompt, answer: answer)) }
        return (example.shape, rows)
    }

    private static func task(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        guard ["prompt", "prompt_ids", "question", "instruction", "messages", "conversations"].contains(where: { row.has($0) }) else {
            throw row.unknownShape(of: all.map(\.shape))
        }
        let prompt = try PromptShapes.read(row, origin)
        var answer: String?
        for field in ["ground_truth", "reference_answer", "answer"] where answer == nil {
            guard let value = row[field] else { continue }
            answer = value.string ?? (value.double != nil || value.bool != nil ? value.text() : nil)
            if answer == nil { throw row.wrongType(field, value, expected: "a string or a number") }
        }
        return [.task(prompt: StoredPrompt(StoredContent(prompt.prompt), tools: row["tools"]?.text()), answer: answer)]
    }

    /// GSM8K's: what follows the last "####".
    static func finalAnswer(_ text: String) -> String? {
        guard let mark = text.range(of: "####", options: .backwards) else { return nil }
        let answer = text[mark.upperBound...].trimmingCharacters(in: .whitespacesAndNewlines)
        return answer.isEmpty ? nil : answer
    }

    // MARK: Recognition

    @Sendable private static func isSupervised(_ row: RowView) -> Bool {
        row.has("input_ids") || row.has("prompt", "completion") || row.has("prompt", "response") || row.has("instruction", "output")
            || row.has("question", "answer") || ["messages", "conversations"].contains { hasAnswer(row, $0) } || row.has("text")
    }

    /// Whether a dialogue has something to imitate; without it is a prompt.
    private static func hasAnswer(_ row: RowView, _ field: String) -> Bool {
        (row[field]?.array ?? []).contains { message in
            let role = message["role"]?.string ?? message["from"]?.string
            return role.map { RowView.role($0) == "assistant" } ?? true
        }
    }

    @Sendable private static func isLabelled(_ row: RowView) -> Bool {
        (row.has("label") || row.has("kto_tag"))
            && (row.has("prompt", "completion") || row.has("prompt", "response") || row.has("instruction", "output") || row.has("messages") || row.has("conversations"))
    }

    @Sendable private static func isScored(_ row: RowView) -> Bool {
        CandidateShapes.scoreField(row) != nil && (row.has("prompt", "completion") || row.has("prompt", "response") || row.has("input", "output"))
    }

    /// Roles in an order in which people and models talk: a system message only at the start, no two turns of the user in a row.
    private static func checkOrder(_ content: StoredContent) throws(RowFault) {
        guard content.kind == .messages, case let .messages(messages)? = content.content else { return }
        let remedy = "Put the messages in the order in which they were said."
        for (index, message) in messages.enumerated() {
            if message.role == "system" || message.role == "developer", index > 0, messages[index - 1].role != "system" {
                throw RowFault(reason: "message \(index + 1) is the \(message.role)'s, expected it before all others.", remedy: remedy)
            }
            if index > 0, message.role == "user", messages[index - 1].role == "user" {
                throw RowFault(reason: "messages \(index) and \(index + 1) are both the user's, expected an answer between them.", remedy: remedy)
            }
        }
    }
}
