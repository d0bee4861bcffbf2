import Serialization

/// Which of the store's rows `PreferenceStore.export` writes.
public enum ExportShape: String, Sendable, CaseIterable {
    /// Everything the tables hold; importing it into an empty store gives the same ids.
    case all
    /// Today's preferences, as stages train on them: {prompt, chosen, rejected}.
    case pairs
    case examples, labels, scores, prompts, votes
}

extension PreferenceStore {
    /// Writes rows in TRL's shapes, one JSON object a line, in the order of their ids.
    /// - Parameter line: Gets each object; no lock is held while it works.
    /// - Returns: How many rows were written.
    @discardableResult
    public func export(_ shape: ExportShape, split: SplitChoice = .all, _ line: (JSON) throws -> Void) throws -> Int {
        var count = 0
        func write(_ members: [(String, JSON)]) throws {
            try line(.object(JSONObject(members)))
            count += 1
        }
        if shape == .pairs { try preferences(in: split) { for row in $0 { try write(row.comparison.members) } } }
        if shape == .all {
            let (condition, name) = split.condition(of: "c.prompt")
            // What votes came to comes of the votes again.
            try scan("c.origin <> 'votes' AND \(condition)", name) { for row in $0 { try write(row.comparison.members) } }
        }
        if shape == .all || shape == .examples {
            try rows(Self.examples, "e.id", split) { row throws(StoreError) in
                (row.text(0), try ExportedRow(row, 1).example(mask: row.isNull(6) ? nil : row.blob(6)))
            } write: { try write($0) }
        }
        if shape == .all || shape == .labels {
            try rows(Self.labels, "e.id", split) { row throws(StoreError) in
                (row.text(0), try ExportedRow(row, 1).answered([("label", .bool(row.integer(6) == 1))]))
            } write: { try write($0) }
        }
        if shape == .all || shape == .scores {
            try rows(Self.scores, "e.completion || ' ' || e.reward || ' ' || e.reward_hash || ' ' || e.run", split) { row throws(StoreError) in
                (row.text(0), try ExportedRow(row, 1).answered([("score", .number(row.real(6))), ("reward", .string(row.text(7)))]))
            } write: { try write($0) }
        }
        if shape == .all || shape == .prompts {
            try rows(shape == .all ? Self.tasks : Self.prompts, "p.id", split) { row throws(StoreError) in
                (row.text(0), try ExportedRow(row, 1).prompt(answer: row.optionalText(6)))
            } write: { try write($0) }
        }
        if shape == .all || shape == .votes { for vote in try votes() { if let members = try exported(vote, split) { try write(members) } } }
        return count
    }

    private static let examples = """
        SELECT e.id, p.kind, p.content, p.tools, c.kind, c.content, e.loss_mask FROM example e JOIN completion c ON c.id = e.completion
        JOIN prompt p ON p.id = c.prompt
        """
    private static let labels = """
        SELECT e.id, p.kind, p.content, p.tools, c.kind, c.content, e.label FROM label e JOIN completion c ON c.id = e.completion
        JOIN prompt p ON p.id = c.prompt
        """
    private static let scores = """
        SELECT e.completion || ' ' || e.reward || ' ' || e.reward_hash || ' ' || e.run, p.kind, p.content, p.tools, c.kind, c.content, e.value, e.reward
        FROM score e JOIN completion c ON c.id = e.completion JOIN prompt p ON p.id = c.prompt
        """
    private static let tasks = "SELECT p.id, p.kind, p.content, p.tools, NULL, NULL, t.answer FROM task t JOIN prompt p ON p.id = t.prompt"
    private static let prompts = """
        SELECT p.id, p.kind, p.content, p.tools, NULL, NULL, t.answer FROM prompt p LEFT JOIN task t ON t.prompt = p.id
        """

    /// The rows of a query in the order of `key`, in batches, each a transaction of its own.
    private func rows(
        _ sql: String, _ key: String, _ split: SplitChoice, read: (SQLRow) throws(StoreError) -> (key: String, members: [(String, JSON)]?),
        write: ([(String, JSON)]) throws -> Void
    ) throws {
        let (condition, name) = split.condition(of: "p.id")
        var last = ""
        while true {
            let batch = try withDatabase { database throws(StoreError) in
                var batch: [(key: String, members: [(String, JSON)]?)] = []
                try database.query(
                    "\(sql) WHERE \(key) > ?1 AND \(condition) ORDER BY \(key) LIMIT ?2", [.text(last), .integer(2000)] + (name.map { [.text($0)] } ?? [])
                ) { row throws(StoreError) in batch.append(try read(row)) }
                return batch
            }
            guard let end = batch.last else { return }
            last = end.key
            for row in batch { if let members = row.members { try write(members) } }
        }
    }

    /// A vote with the contents it speaks of; completions are numbered from 1, an edited one is the last.
    private func exported(_ vote: Vote, _ split: SplitChoice) throws -> [(String, JSON)]? {
        if split != .all, try !contains(prompt: vote.item.prompt, in: split) { return nil }
        var item = try candidates(of: vote.item)
        var ids = vote.item.completions
        if let edited = vote.edited, let content = try withDatabase({ database throws(StoreError) in try database.completion(edited) }) {
            ids.append(edited)
            item.completions.append(content)
        }
        func number(_ id: String?) -> JSON? { id.flatMap { ids.firstIndex(of: $0) }.map { .integer($0 + 1) } }
        var members = item.prompt.members
        members.append(("completions", .array(item.completions.map(\.json))))
        members.append(("outcome", .string(vote.outcome.rawValue)))
        members += [("annotator", .string(vote.annotator)), ("time", .string(vote.time))]
        let optional: [(String, JSON?)] = [
            ("strength", vote.strength.map { .integer($0) }), ("note", vote.note.map { .string($0) }), ("shown_first", number(vote.shownFirst)),
            ("session", vote.session.map { .string($0) }), ("grades", vote.grades.flatMap { try? JSON.parse($0) }), ("edited", number(vote.edited)),
            ("ranking", vote.ranking.map { .array($0.map { .array($0.compactMap { number($0) }) }) }), ("withdraws", vote.withdraws.map { .string($0) }),
            ("id", .string(vote.id)),
        ]
        members += optional.compactMap { name, value in value.map { (name, $0) } }
        return members
    }

    private func contains(prompt: String, in split: SplitChoice) throws(StoreError) -> Bool {
        let (condition, name) = split.condition(of: "p.id")
        return try withDatabase { database throws(StoreError) in
            var found = false
            try database.query(
                "SELECT 1 FROM prompt p WHERE p.id = ?1 AND \(condition) AND ?2 IS NULL", [.text(prompt), .null] + (name.map { [.text($0)] } ?? [])
            ) { _ throws(StoreError) in found = true }
            return found
        }
    }
}

/// Prompt and completion of a row, as columns have them: kind, content, tools, kind, content.
private struct ExportedRow {
    let prompt: StoredPrompt
    let completion: StoredContent?

    init(_ row: SQLRow, _ column: Int32) throws(StoreError) {
        prompt = StoredPrompt(try row.content(column), tools: row.optionalText(column + 2))
        completion = row.isNull(column + 3) ? nil : try row.content(column + 3)
    }

    func answered(_ more: [(String, JSON)]) -> [(String, JSON)]? {
        completion.map { prompt.members + [("completion", $0.json)] + more }
    }

    /// {prompt, completion}, or {messages}, {text}, {input_ids, loss_mask} where there is no prompt.
    func example(mask: [UInt8]?) -> [(String, JSON)]? {
        guard let completion else { return nil }
        guard prompt.content.kind == .none else { return answered([]) }
        let tools = prompt.members.filter { $0.0 == "tools" }
        switch completion.kind {
        case .messages: return [("messages", completion.json)] + tools
        case .tokens: return [("input_ids", completion.json)] + (mask.map { [("loss_mask", .array($0.map { .integer(Int($0)) }))] } ?? [])
        case .text, .transcript, .none: return [("text", completion.json)] + tools
        }
    }

    func prompt(answer: String?) -> [(String, JSON)]? {
        guard prompt.content.kind != .none else { return nil }
        return prompt.members + (answer.map { [("ground_truth", .string($0))] } ?? [])
    }
}

extension StoredContent {
    /// A string, or a list of messages or ids.
    var json: JSON {
        switch kind {
        case .messages, .tokens: (try? JSON.parse(text)) ?? .string(text)
        case .none, .text, .transcript: .string(text)
        }
    }
}

extension StoredPrompt {
    var members: [(String, JSON)] {
        let name = content.kind == .tokens ? "prompt_ids" : "prompt"
        let kind: [(String, JSON)] = content.kind == .transcript ? [("kind", .string(content.kind.rawValue))] : []
        return [(name, content.json)] + kind + (tools.map { [("tools", (try? JSON.parse($0)) ?? .string($0))] } ?? [])
    }
}

extension StoredComparison {
    /// {prompt, chosen, rejected}; transcripts as the two whole texts that they were.
    var members: [(String, JSON)] {
        let more: [(String, JSON)] = margin.map { [("margin", .number($0))] } ?? []
        let tools = prompt.members.filter { $0.0 == "tools" }
        switch prompt.content.kind {
        case .transcript:
            let text = prompt.content.text
            return [("chosen", .string(text + chosen.text)), ("rejected", .string(text + rejected.text))] + tools + more
        case .tokens: return [("prompt_ids", prompt.content.json), ("chosen_ids", chosen.json), ("rejected_ids", rejected.json)] + tools + more
        default: return prompt.members + [("chosen", chosen.json), ("rejected", rejected.json)] + more
        }
    }
}
