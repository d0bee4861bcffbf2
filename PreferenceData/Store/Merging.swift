extension PreferenceStore {
    /// Tables in an order in which what is referred to comes first.
    private static let merged = [
        "source", "prompt", "completion", "generation", "comparison", "example", "label", "task", "score", "prompt_split", "annotator", "item", "gold", "vote",
        "run", "run_parent", "run_comparison",
    ]
    /// Of these, those without row numbers.
    private static let rowless: Set = ["run", "score", "prompt_split", "gold", "run_parent", "run_comparison"]

    /// Takes in everything of another store but its reference log-probs, which are a cache; the other file is only read.
    ///
    /// What both have, by id, stays as it is here: a prompt's split, a run's status.
    /// - Returns: New rows by table.
    public func merge(_ other: String) throws(StoreError) -> [(table: String, new: Int)] {
        guard Self.exists(other) else { throw .cannotOpen(path: other, reason: "there is no such file") }
        let version = try withDatabase { database throws(StoreError) in try database.integer("PRAGMA user_version") }
        try withDatabase { database throws(StoreError) in
            do throws(StoreError) { try database.query("ATTACH DATABASE ?1 AS other", [.text(other)]) { _ throws(StoreError) in } } catch {
                // SQLite does not say which of its files is none.
                if case .notADatabase = error { throw .notAStore(path: other) }
                throw error
            }
        }
        defer { try? withDatabase { database throws(StoreError) in try database.script("DETACH DATABASE other") } }
        try withDatabase { database throws(StoreError) in
            guard try database.integer("PRAGMA other.application_id") == Self.applicationID else { throw .notAStore(path: other) }
            let found = try database.integer("PRAGMA other.user_version")
            guard found <= version else { throw .newer(path: other, found: found, known: version) }
            guard found == version else { throw .older(path: other, found: found, known: version) }
        }
        var result: [(table: String, new: Int)] = []
        for table in Self.merged { result.append((table, try copy(table))) }
        return result
    }

    /// Copies what is new of a table, in the order in which its rows were written (a vote comes behind the one it withdraws), or of their key where
    /// they have no numbers, so that every turn knows where the last one ended.
    private func copy(_ table: String) throws(StoreError) -> Int {
        let columns = try names("SELECT name FROM pragma_table_info(?1) ORDER BY cid", table).joined(separator: ", ")
        let isRowless = Self.rowless.contains(table)
        let keys = try isRowless ? names("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk", table) : ["rowid"]
        let key = keys.joined(separator: ", ")
        var (new, last, isFirst) = (0, [SQLValue](), true)
        func places(from start: Int) -> String { keys.indices.map { "?\(start + $0)" }.joined(separator: ", ") }
        try inTurns { database throws(StoreError) in
            // The key of the step's last row, and how many rows there are up to it.
            var end: [SQLValue] = [], rows = 0
            let rest = isFirst ? "" : "WHERE (\(key)) > (\(places(from: 1)))"
            try database.query("SELECT \(key) FROM other.\(table) \(rest) ORDER BY \(key) LIMIT 64", last) { row throws(StoreError) in
                end = keys.indices.map { isRowless ? .text(row.text(Int32($0))) : .integer(row.integer(0)) }
                rows += 1
            }
            guard rows > 0 else { return nil }
            let range = (isFirst ? "" : "(\(key)) > (\(places(from: 1))) AND ") + "(\(key)) <= (\(places(from: 1 + last.count)))"
            let before = try database.integer("SELECT total_changes()")
            try database.query("INSERT OR IGNORE INTO main.\(table) (\(columns)) SELECT \(columns) FROM other.\(table) WHERE \(range) ORDER BY \(key)", last + end) {
                _ throws(StoreError) in
            }
            new += try database.integer("SELECT total_changes()") - before
            (last, isFirst) = (end, false)
            return rows
        }
        return new
    }

    private func names(_ sql: String, _ table: String) throws(StoreError) -> [String] {
        try withDatabase { database throws(StoreError) in
            var names: [String] = []
            try database.query(sql, [.text(table)]) { row throws(StoreError) in names.append(row.text(0)) }
            return names
        }
    }
}
