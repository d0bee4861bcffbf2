import Serialization

/// A prompt and completions of it that are to be compared.
public struct Candidates: Sendable, Equatable {
    public var prompt: StoredPrompt
    public var completions: [StoredContent]
    public init(prompt: StoredPrompt, completions: [StoredContent]) {
        self.prompt = prompt
        self.completions = completions
    }
    public var item: LabelItem { LabelItem(prompt: prompt.id, completions: completions.map(prompt.completionID)) }
}

extension PreferenceStore {
    /// Puts items in the queue for labelling; those that are there already stay as they are.
    /// - Parameter priority: Higher is asked earlier.
    /// - Returns: The items, in order, and how many were new.
    public func enqueue(_ candidates: [Candidates], source: StoredSource, priority: Double = 0, added: String) throws(StoreError) -> (items: [LabelItem], new: Int) {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                var (items, new) = ([LabelItem](), 0)
                for candidate in candidates {
                    let (item, isNew) = try database.add(candidate, source: source, priority: priority, at: added)
                    items.append(item)
                    if isNew { new += 1 }
                }
                return (items, new)
            }
        }
    }

    /// Items that `annotator` has not voted on and that still want votes: the highest priority first, then by id.
    /// - Parameters:
    ///   - votesWanted: Of different annotators, skips not counted; an item that has as many is done.
    ///   - source: Items of one source alone.
    public func itemsToLabel(by annotator: String, votesWanted: Int = 1, source: String? = nil, limit: Int = .max) throws(StoreError) -> [LabelItem] {
        let (votes, items) = try withDatabase { database throws(StoreError) in
            try database.snapshot { () throws(StoreError) in (try database.votes(on: nil, by: nil), try database.items(source: source)) }
        }
        var judged: [String: Int] = [:], own: Set<String> = []
        for vote in Vote.standing(votes) {
            if vote.outcome != .skip { judged[vote.item.id, default: 0] += 1 }
            if vote.annotator == annotator { own.insert(vote.item.id) }
        }
        return Array(items.filter { !own.contains($0.id) && judged[$0.id, default: 0] < votesWanted }.prefix(limit))
    }

    /// All items: the highest priority first, then by id.
    public func items(source: String? = nil) throws(StoreError) -> [LabelItem] {
        try withDatabase { database throws(StoreError) in try database.items(source: source) }
    }

    /// What an item's ids stand for: the prompt, and the completions in the item's order.
    /// - Throws: `.badVote` if the store does not have them.
    public func candidates(of item: LabelItem) throws(StoreError) -> Candidates {
        try withDatabase { database throws(StoreError) in
            guard let prompt = try database.prompt(item.prompt) else { throw .badVote(reason: "the store has no prompt \(item.prompt)") }
            var completions: [StoredContent] = []
            for id in item.completions {
                guard let completion = try database.completion(id) else { throw .badVote(reason: "the store has no completion \(id)") }
                completions.append(completion)
            }
            return Candidates(prompt: prompt, completions: completions)
        }
    }

    /// Keeps a completion that somebody wrote or a model sampled; the prompt becomes known with it.
    /// - Returns: Its id.
    @discardableResult
    public func add(completion: StoredContent, of prompt: StoredPrompt) throws(StoreError) -> String {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                let id = prompt.completionID(completion)
                try database.add(prompt, id: prompt.id)
                try database.add(completion: completion, id: id, of: prompt.id)
                return id
            }
        }
    }
}

extension Database {
    func add(_ candidates: Candidates, source: StoredSource, priority: Double, at time: String) throws(StoreError) -> (item: LabelItem, isNew: Bool) {
        let item = candidates.item
        guard Set(item.completions).count == item.completions.count, item.completions.count > 1 else {
            throw .badVote(reason: "an item needs two different completions or more, found \(Set(item.completions).count) in \(item.completions.count)")
        }
        try add(candidates.prompt, id: item.prompt)
        for completion in candidates.completions {
            try add(completion: completion, id: candidates.prompt.completionID(completion), of: item.prompt)
        }
        return (item, try add(item, source: source, priority: priority, at: time))
    }

    func add(_ item: LabelItem, source: StoredSource, priority: Double, at time: String) throws(StoreError) -> Bool {
        try add(source, at: time)
        return try run(
            "INSERT OR IGNORE INTO item (id, prompt, completions, source, priority, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", .text(item.id),
            .text(item.prompt), .text(JSON.array(item.completions.map { .string($0) }).text()), .text(source.id), .real(priority), .text(time)) > 0
    }

    func items(source: String?) throws(StoreError) -> [LabelItem] {
        var items: [LabelItem] = []
        try query(
            "SELECT prompt, completions FROM item WHERE ?1 IS NULL OR source = ?1 ORDER BY priority DESC, id", [.optional(source)]
        ) { row throws(StoreError) in items.append(try LabelItem(row, prompt: 0, completions: 1)) }
        return items
    }

    func prompt(_ id: String) throws(StoreError) -> StoredPrompt? {
        var result: StoredPrompt?
        try query("SELECT kind, content, tools FROM prompt WHERE id = ?1", [.text(id)]) { row throws(StoreError) in
            result = StoredPrompt(try row.content(0), tools: row.optionalText(2))
        }
        return result
    }

    func completion(_ id: String) throws(StoreError) -> StoredContent? {
        var result: StoredContent?
        try query("SELECT kind, content FROM completion WHERE id = ?1", [.text(id)]) { row throws(StoreError) in result = try row.content(0) }
        return result
    }
}

extension LabelItem {
    init(_ row: SQLRow, prompt: Int32, completions: Int32) throws(StoreError) {
        let text = row.text(completions)
        guard let ids = (try? JSON.parse(text))?.array?.compactMap(\.string) else { throw .badValue(column: "completions", found: text) }
        self.init(prompt: row.text(prompt), completions: ids)
    }
}
