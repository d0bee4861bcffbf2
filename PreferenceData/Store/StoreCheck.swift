/// Something that is wrong with data.
public struct DataProblem: Sendable, Equatable, CustomStringConvertible {
    /// File and line, or table and id.
    public var place: String
    public var reason: String
    public var remedy: String
    public init(place: String, reason: String, remedy: String) {
        (self.place, self.reason, self.remedy) = (place, reason, remedy)
    }
    public var description: String { "\(place): \(reason) \(remedy)" }
}

extension PreferenceStore {
    /// Looks at everything: the file's structure, references, that ids are the hashes of what they name, and that no split leaks into another.
    /// - Parameter limit: Problems that are named; the rest are counted.
    public func problems(limit: Int = 1000) throws(StoreError) -> (named: [DataProblem], count: Int) {
        var (named, count) = ([DataProblem](), 0)
        func note(_ place: String, _ reason: String, _ remedy: String) {
            count += 1
            if named.count < limit { named.append(DataProblem(place: place, reason: reason, remedy: remedy)) }
        }
        try check()
        let restore = "Restore the copy that lies beside the store, or import again into a new one."
        try withDatabase { database throws(StoreError) in
            try database.query("PRAGMA foreign_key_check") { row throws(StoreError) in
                note("table \(row.text(0)), row \(row.integer(1))", "names a row of \(row.text(2)) that is not there.", restore)
            }
        }
        var splits: [String: (split: String, prompt: String)] = [:]
        try scanPrompts { id, prompt, split throws(StoreError) in
            if prompt.id != id { note("prompt \(id)", "the content's hash is \(prompt.id), expected the id.", restore) }
            guard let split else { return }
            let key = ContentHash.of([Self.splitKey(prompt)])
            if let other = splits[key], other.split != split {
                note("prompt \(id)", "is in split \(split), and \(other.prompt), which opens with the same question, in \(other.split).", "Split again: align data split --again.")
            } else {
                splits[key] = (split, id)
            }
        }
        var last = ""
        while true {
            let rows = try withDatabase { database throws(StoreError) in
                var rows: [(id: String, prompt: String, content: StoredContent)] = []
                try database.query("SELECT id, prompt, kind, content FROM completion WHERE id > ?1 ORDER BY id LIMIT 2000", [.text(last)]) { row throws(StoreError) in
                    rows.append((row.text(0), row.text(1), try row.content(2)))
                }
                return rows
            }
            guard let end = rows.last else { break }
            last = end.id
            for row in rows where ContentHash.of([row.prompt] + row.content.parts, under: row.prompt) != row.id {
                note("completion \(row.id)", "the id is not the hash of prompt and content.", restore)
            }
        }
        for vote in try votes() { if let fault = vote.fault { note("vote \(vote.id)", fault + ".", restore) } }
        return (named, count)
    }
}
