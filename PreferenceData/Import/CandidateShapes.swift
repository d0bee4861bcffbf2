import Foundation
import Serialization

/// Reads rows of completions that are labelled, scored or ranked.
enum CandidateShapes {
    /// KTO: `label` or `kto_tag` is true or false. A number is not taken for either: 1 is also a class, a rank and a count.
    @Sendable static func label(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let field = row.has("label") ? "label" : "kto_tag"
        guard case let .bool(isGood)? = row[field] else { throw row.wrongType(field, row[field] ?? .null, expected: "true or false") }
        let (prompt, completion) = try answered(row)
        return [.label(prompt: prompt, completion: completion, isGood: isGood)]
    }

    /// `{prompt, completion, score}`, also with `reward` as the number, or as the reward's name beside `score`.
    @Sendable static func score(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let field = scoreField(row) ?? "score"
        let (prompt, completion) = try answered(row)
        let name = row["reward"]?.string ?? row.name(field)
        return [.score(prompt: prompt, completion: completion, reward: name, value: try number(row[field] ?? .null, row.name(field)), model: row["model"]?.string)]
    }

    /// The field that holds a completion's score.
    static func scoreField(_ row: RowView) -> String? {
        if row.has("score") { return "score" }
        return row.has("reward") && row["reward"]?.string == nil ? "reward" : nil
    }

    /// A prompt and a list of completions: with scores, with ranks (1 the best, equal ones tied), or to be labelled.
    @Sendable static func read(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        if row.has("labels") {
            throw RowFault(reason: "found steps with labels (stepwise supervision), which the store does not keep.", remedy: "Write one row {prompt, completion, label} for each step.")
        }
        let field = row.has("completions") ? "completions" : "responses"
        guard let values = row[field]?.array else { throw row.wrongType(field, row[field] ?? .null, expected: "a list") }
        let promptContent = try row.withSystem(row.has("prompt") ? row.content("prompt") : row.has("question") ? row.content("question") : .text(row.instruction()))
        let prompt = StoredPrompt(StoredContent(promptContent), tools: row["tools"]?.text())
        var completions: [StoredContent] = []
        for value in values { completions.append(asAnswer(try completion(value, field, row), to: promptContent)) }
        guard !completions.isEmpty else { throw RowFault(reason: "\"\(row.name(field))\" is an empty list, expected completions.", remedy: "Leave the row out.") }
        let candidates = Candidates(prompt: prompt, completions: completions)

        if let scores = try numbers(["scores", "rewards"], within: ["score", "overall_score", "reward"], values, row) {
            let name = row["reward"]?.string ?? scores.field
            return zip(completions, zip(scores.values, values)).map { completion, entry in
                .score(prompt: prompt, completion: completion, reward: name, value: entry.0, model: entry.1["model"]?.string)
            }
        }
        guard completions.count > 1 else {
            throw RowFault(reason: "\"\(row.name(field))\" has one completion and no score, expected two or more to compare.", remedy: "Write {prompt, completion} for an example.")
        }
        guard Set(candidates.item.completions).count == completions.count else {
            throw RowFault(reason: "\"\(row.name(field))\" has one completion twice, expected different ones.", remedy: "Keep it once.")
        }
        guard let ranks = try numbers(["ranks", "rank"], within: ["rank"], values, row) else { return [.item(candidates)] }
        let annotator = try VoteShapes.annotator(row, context)
        return [ranking(candidates, ranks.values, annotator: annotator)]
    }

    /// A vote that ranks completions: a lower rank is better, equal ones are tied.
    static func ranking(_ candidates: Candidates, _ ranks: [Double], annotator: String) -> StoredRow {
        let ids = candidates.completions.map(candidates.prompt.completionID)
        var vote = Vote(item: candidates.item, annotator: annotator, time: VoteShapes.unknownTime, outcome: .ranking)
        vote.ranking = Set(ranks).sorted().map { rank in ids.indices.filter { ranks[$0] == rank }.map { ids[$0] }.sorted() }
        return .vote(candidates, vote, by: .human)
    }

    // MARK: Parts

    /// Prompt and completion of one row, from whichever fields hold them.
    private static func answered(_ row: RowView) throws(RowFault) -> (StoredPrompt, StoredContent) {
        let tools = row["tools"]?.text()
        for field in ["messages", "conversations"] where row.has(field) {
            let messages = try row.withSystem(.messages(row.messages(field))).messages(role: "user")
            guard messages.count > 1, let last = messages.last, last.role == "assistant", !last.isEmpty else {
                throw RowFault(
                    reason: "\"\(row.name(field))\" does not end with an answer of the assistant, expected what is judged.",
                    remedy: "Cut the dialogue after the assistant's answer.")
            }
            // All of the assistant's last turn: calls of tools and what they gave belong to it.
            let turn = messages.lastIndex { $0.role == "user" || $0.role == "system" }.map { $0 + 1 } ?? 0
            return (StoredPrompt(StoredContent(.messages(Array(messages[..<turn]))), tools: tools), StoredContent(.messages(Array(messages[turn...]))))
        }
        let field = ["completion", "response", "output"].first { row.has($0) } ?? "completion"
        let prompt = try row.withSystem(
            row.has("prompt") ? row.content("prompt") : row.has("instruction") ? .text(row.instruction()) : row.content("input"))
        var completion = try row.content(field)
        if completion.isEmpty { throw RowFault(reason: "\"\(row.name(field))\" is empty, expected a completion.", remedy: "Leave the row out.") }
        if case let .messages(messages) = prompt { completion = .messages(try PairShapes.completion(completion, after: messages, row.name(field))) }
        if case let .messages(answer) = completion, case let .text(text) = prompt {
            return (StoredPrompt(StoredContent(.messages([Message(role: "user", content: text)])), tools: tools), StoredContent(.messages(answer)))
        }
        if row["kind"]?.string == StoredContent.Kind.transcript.rawValue, case let .text(first) = prompt, case let .text(second) = completion {
            return (StoredPrompt(.init(kind: .transcript, text: first), tools: tools), .init(kind: .transcript, text: second))
        }
        return (StoredPrompt(StoredContent(prompt), tools: tools), StoredContent(completion))
    }

    /// A completion of a list: a text, messages, or an object that holds one.
    static func completion(_ value: JSON, _ field: String, _ row: RowView) throws(RowFault) -> StoredContent {
        let content: StoredContent
        if let text = value.string {
            content = StoredContent(.text(text))
        } else if let ids = value.array, !ids.isEmpty, ids.allSatisfy({ if case .integer = $0 { true } else { false } }) {
            content = StoredContent(kind: .tokens, text: value.text())
        } else if value["role"] != nil || value.array != nil {
            let view = try RowView(.object(JSONObject([(field, value)])), columns: [:])
            content = StoredContent(try view.content(field))
        } else if let text = ["completion", "response", "text", "output", "content"].lazy.compactMap({ value[$0]?.string }).first {
            content = StoredContent(.text(text))
        } else {
            throw row.wrongType(field, value, expected: "a list of texts, of lists of messages, or of objects with \"completion\"")
        }
        if content.content?.isEmpty != false {
            throw RowFault(reason: "a completion of \"\(row.name(field))\" is empty, expected text.", remedy: "Leave it out.")
        }
        return row["kind"]?.string == StoredContent.Kind.transcript.rawValue ? StoredContent(kind: .transcript, text: content.text) : content
    }

    /// A text that answers messages is the assistant's.
    private static func asAnswer(_ completion: StoredContent, to prompt: Content) -> StoredContent {
        guard case .messages = prompt, completion.kind == .text else { return completion }
        return StoredContent(.messages([Message(role: "assistant", content: completion.text)]))
    }

    /// One number a completion, from a list beside it or from the completions themselves; nil where the row has none.
    private static func numbers(
        _ lists: [String], within fields: [String], _ values: [JSON], _ row: RowView
    ) throws(RowFault) -> (field: String, values: [Double])? {
        if let field = lists.first(where: { row[$0]?.array != nil }), let list = row[field]?.array {
            guard list.count == values.count else {
                throw RowFault(
                    reason: "\"\(row.name(field))\" has \(list.count) entries for \(values.count) completions, expected one for each.", remedy: "Write one number for every completion.")
            }
            var numbers: [Double] = []
            for value in list { numbers.append(try number(value, row.name(field))) }
            return (field.hasSuffix("s") ? String(field.dropLast()) : field, numbers)
        }
        guard let field = fields.first(where: { field in values.allSatisfy { $0[field]?.double != nil } }) else { return nil }
        var numbers: [Double] = []
        for value in values { numbers.append(try number(value[field] ?? .null, field)) }
        return (field, numbers)
    }

    private static func number(_ value: JSON, _ field: String) throws(RowFault) -> Double {
        guard let number = value.double, number.isFinite else {
            throw RowFault(reason: "\"\(field)\" is \(value.double == nil ? value.kind : value.text()), expected a finite number.", remedy: "Write a number, or leave the row out.")
        }
        return number
    }
}
