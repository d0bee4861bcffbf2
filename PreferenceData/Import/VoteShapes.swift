import Serialization

/// Reads rows that say who preferred what: judgments of two completions, ties among them.
enum VoteShapes {
    /// The time of votes whose file does not say when.
    static let unknownTime = "1970-01-01T00:00:00.000Z"
    /// The annotator of a judgment that names none; `UnnamedJudges` says who it is.
    static let unnamed = ""

    /// PandaLM: each `annotatorN` is 0 (tie), 1 or 2.
    @Sendable static func annotated(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let candidates = try self.candidates(prompt: .text(row.instruction()), row, "response1", "response2")
        var rows: [StoredRow] = []
        for number in 1... {
            let field = "annotator\(number)"
            guard let value = row[field] else { break }
            let outcomes: [Int: Vote.Outcome] = [0: .tie, 1: .first, 2: .second]
            guard case let .integer(label) = value, let outcome = outcomes[label] else { throw row.wrongType(field, value, expected: "0 (a tie), 1 or 2") }
            rows.append(judgment(candidates, outcome, annotator: context.annotator + "/" + field))
        }
        return rows
    }

    /// Auto-J: `label` is 0 (the first), 1 or 2 (a tie).
    @Sendable static func labelledResponses(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let candidates = try self.candidates(prompt: row.withSystem(row.content(row.has("prompt") ? "prompt" : "instruction")), row, "response_1", "response_2")
        let outcomes: [Int: Vote.Outcome] = [0: .first, 1: .second, 2: .tie]
        guard case let .integer(label)? = row["label"], let outcome = outcomes[label] else {
            throw row.wrongType("label", row["label"] ?? .null, expected: "0 (the first), 1 (the second) or 2 (a tie)")
        }
        return [judgment(candidates, outcome, annotator: try annotator(row, context))]
    }

    /// LLMBar, and MT-Bench in its form: `label` is 1 or 2.
    @Sendable static func labelledOutputs(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let prompt = try row.has("instruction") ? row.instruction() : row.text("input")
        let candidates = try self.candidates(prompt: row.withSystem(.text(prompt)), row, "output_1", "output_2")
        guard case let .integer(label)? = row["label"], label == 1 || label == 2 else {
            throw row.wrongType("label", row["label"] ?? .null, expected: "1 or 2, the better output")
        }
        return [judgment(candidates, label == 1 ? .first : .second, annotator: try annotator(row, context))]
    }

    /// `{prompt, response_a, response_b, winner}`.
    @Sendable static func responseWinner(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let candidates = try self.candidates(prompt: row.withSystem(row.content("prompt")), row, "response_a", "response_b")
        return [judgment(candidates, try winner(row), annotator: try annotator(row, context))]
    }

    /// Chatbot Arena: two dialogues with the same human turns, of which the first is the prompt.
    @Sendable static func battle(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        let (a, b) = (try row.messages("conversation_a"), try row.messages("conversation_b"))
        let shared = CommonPrefix.count(a, b)
        guard shared > 0 else {
            throw RowFault(reason: "the two conversations part at the first message, expected a shared beginning: the prompt.", remedy: "Leave the row out.")
        }
        let candidates = try checked(Candidates(
            prompt: StoredPrompt(StoredContent(.messages(Array(a[..<shared])))),
            completions: [StoredContent(.messages(Array(a[shared...]))), StoredContent(.messages(Array(b[shared...])))]), row, "conversation_a", "conversation_b")
        return [judgment(candidates, try winner(row), annotator: try row.has("judge") ? row.text("judge") : annotator(row, context))]
    }

    /// What `align data export --votes` writes: one vote a line, every field of it.
    @Sendable static func vote(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        guard let list = row["completions"]?.array else { throw row.wrongType("completions", row["completions"] ?? .null, expected: "a list") }
        var contents: [StoredContent] = []
        for value in list { contents.append(try CandidateShapes.completion(value, "completions", row)) }
        let prompt = StoredPrompt(try prompt(row), tools: row["tools"]?.text())
        let candidates = Candidates(prompt: prompt, completions: contents)
        let ids = contents.map(prompt.completionID)
        func id(_ field: String) throws(RowFault) -> String? {
            guard let value = row[field] else { return nil }
            guard let index = value.int, ids.indices.contains(index - 1) else { throw row.wrongType(field, value, expected: "a completion's number, 1 to \(ids.count)") }
            return ids[index - 1]
        }
        guard let word = row["outcome"]?.string else { throw row.wrongType("outcome", row["outcome"] ?? .null, expected: "a string") }
        let outcomes = Vote.Outcome.allCases.map(\.rawValue).joined(separator: ", ")
        guard var outcome = Vote.Outcome(rawValue: word) else {
            throw RowFault(reason: "\"outcome\" is \"\(word.prefix(40))\", expected one of \(outcomes).", remedy: "Write what the annotator said in these words.")
        }
        // What the annotator wrote is the last completion, and not one of those compared.
        let edited = try id("edited")
        let item = LabelItem(prompt: prompt.id, completions: ids.filter { $0 != edited })
        if item.isPair, item.first != ids[0] { outcome = outcome.swapped }
        // A withdrawal is of somebody's vote.
        let named = try row.has("withdraws") && !row.has("annotator") ? context.annotator : annotator(row, context)
        var vote = Vote(item: item, annotator: named, time: try row.has("time") ? row.text("time") : unknownTime, outcome: outcome)
        vote.edited = edited
        vote.shownFirst = try id("shown_first")
        if let strength = row["strength"] {
            guard case let .integer(number) = strength else { throw row.wrongType("strength", strength, expected: "1 to 4") }
            vote.strength = number
        }
        vote.note = try row.has("note") ? row.text("note") : nil
        vote.session = try row.has("session") ? row.text("session") : nil
        vote.grades = row["grades"]?.text()
        vote.withdraws = try row.has("withdraws") ? row.text("withdraws") : nil
        if let tiers = row["ranking"] {
            let ranking = (tiers.array ?? []).map { tier in (tier.array ?? []).compactMap { $0.int }.filter { ids.indices.contains($0 - 1) }.map { ids[$0 - 1] } }
            vote.ranking = ranking
        }
        if let fault = vote.fault { throw RowFault(reason: fault + ".", remedy: "Export the votes again, or mend the row.") }
        return [.vote(candidates, vote, by: .human)]
    }

    // MARK: Parts

    static func prompt(_ row: RowView) throws(RowFault) -> StoredContent {
        let content = StoredContent(try row.content("prompt"))
        return row["kind"]?.string == StoredContent.Kind.transcript.rawValue ? StoredContent(kind: .transcript, text: content.text) : content
    }

    static func annotator(_ row: RowView, _ context: ImportContext) throws(RowFault) -> String { try row.has("annotator") ? row.text("annotator") : unnamed }

    private static func winner(_ row: RowView) throws(RowFault) -> Vote.Outcome {
        switch try row.text("winner").lowercased() {
        case "model_a", "a", "response_a": .first
        case "model_b", "b", "response_b": .second
        case "tie": .tie
        case "tie (bothbad)", "both_bad", "bothbad": .bothBad
        case let other: throw RowFault(reason: "\"winner\" is \"\(other.prefix(40))\", expected model_a, model_b, tie or tie (bothbad).", remedy: "Write it in these words.")
        }
    }

    private static func candidates(prompt: Content, _ row: RowView, _ first: String, _ second: String) throws(RowFault) -> Candidates {
        let (a, b) = (try row.text(first), try row.text(second))
        if case let .messages(messages) = prompt {
            func answer(_ text: String) -> StoredContent { StoredContent(.messages([Message(role: "assistant", content: text)])) }
            return try checked(Candidates(prompt: StoredPrompt(StoredContent(.messages(messages))), completions: [answer(a), answer(b)]), row, first, second)
        }
        return try checked(Candidates(prompt: StoredPrompt(StoredContent(prompt)), completions: [StoredContent(.text(a)), StoredContent(.text(b))]), row, first, second)
    }

    private static func checked(_ candidates: Candidates, _ row: RowView, _ first: String, _ second: String) throws(RowFault) -> Candidates {
        for (field, completion) in zip([first, second], candidates.completions) where completion.content?.isEmpty != false {
            throw RowFault(reason: "\"\(row.name(field))\" is empty, expected a completion.", remedy: "Leave the row out.")
        }
        if candidates.completions[0] == candidates.completions[1] {
            throw RowFault(reason: "\"\(row.name(first))\" and \"\(row.name(second))\" are the same, expected two different completions.", remedy: "Leave the row out: it prefers nothing.")
        }
        return candidates
    }

    /// A vote on the two in their order in the file; which of them was shown first, files do not say.
    private static func judgment(_ candidates: Candidates, _ outcome: Vote.Outcome, annotator: String) -> StoredRow {
        let item = candidates.item
        let isInOrder = item.first == candidates.prompt.completionID(candidates.completions[0])
        return .vote(candidates, Vote(item: item, annotator: annotator, time: unknownTime, outcome: isInOrder ? outcome : outcome.swapped), by: .human)
    }
}

/// Gives judgments that name nobody their annotators, so that each of them counts.
///
/// The first judgment of an item is by `annotator`, the second by `annotator/2`, and so on: people of whom it is known only that they judged the same
/// item apart. In the file's order, so that importing it again, or a longer one, finds the same votes.
struct UnnamedJudges {
    let annotator: String
    /// Judgments so far, by item.
    private var counts: [String: Int] = [:]

    init(annotator: String) { self.annotator = annotator }

    mutating func named(_ row: AddressedRow) -> AddressedRow {
        guard case let .vote(_, vote, _) = row.row else { return row }
        let count = counts[vote.item.id, default: 0] + 1
        counts[vote.item.id] = count
        guard count > 1 else { return row }
        var named = row.row
        named.annotator = "\(annotator)/\(count)"
        return AddressedRow(named, line: row.line)
    }
}
