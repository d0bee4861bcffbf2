extension PreferenceStore {
    /// Tables in an order in which what is referred to comes first, and whether they have row numbers by which they can be taken in pieces.
    private static let merged: [(name: String, hasRows: Bool)] = [
        ("source", true), ("prompt", true), ("completion", true), ("generation", true), ("comparison", true), ("example", true), ("label", true),
        ("task", true), ("score", false), ("prompt_split", false), ("annotator", true), ("item", true), ("gold", false), ("vote", true), ("run", false),
        ("run_parent", false), ("run_comparison", false),
    ]

    /// Takes in everything of another store but its reference log-probs, which are a cache; the other file is only read.
    ///
    /// What both have, by id, stays as it is here: a prompt's split, a run's status.
    /// - Returns: New rows by table.
    public func merge(_ other: String) throws(StoreError) -> [(table: String, new: Int)] {
        guard Self.exists(other) else { throw .cannotOpen(path: other, reason: "there is no such file") }
        let version = try withDatabase { database throws(StoreError) in try database.integer("PRAGMA user_version") }
        try withDatabase { database throws(StoreError) in try database.query("ATTACH DATABASE ?1 AS other", [.text(other)]) { _ throws(StoreError) in } }
        defer { try? withDatabase { database throws(StoreError) in try database.script("DETACH DATABASE other") } }
        try withDatabase { database throws(StoreError) in
            guard try database.integer("PRAGMA other.application_id") == Self.applicationID else { throw .foreign(path: other) }
            let found = try database.integer("PRAGMA other.user_version")
            guard found <= version else { throw .newer(path: other, found: found, known: version) }
            guard found == version else { throw .older(path: other, found: found, known: version) }
        }
        var result: [(table: String, new: Int)] = []
        for (table, hasRows) in Self.merged {
            var new = 0
            guard hasRows else {
                new = try copy("INSERT OR IGNORE INTO main.\(table) SELECT * FROM other.\(table)", nil)
                result.append((table, new))
                continue
            }
            let columns = try columnNames(of: table)
            let end = try withDatabase { database throws(StoreError) in try database.integer("SELECT ifnull(max(rowid), 0) FROM other.\(table)") }
            for start in stride(from: 0, to: end, by: Self.piece) {
                new += try copy(
                    "INSERT OR IGNORE INTO main.\(table) (\(columns)) SELECT \(columns) FROM other.\(table) WHERE rowid > ?1 AND rowid <= ?2", start)
            }
            result.append((table, new))
        }
        return result
    }

    private func copy(_ sql: String, _ start: Int?) throws(StoreError) -> Int {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                let before = try database.integer("SELECT total_changes()")
                try database.query(sql, start.map { [.integer($0), .integer($0 + Self.piece)] } ?? []) { _ throws(StoreError) in }
                return try database.integer("SELECT total_changes()") - before
            }
        }
    }

    private func columnNames(of table: String) throws(StoreError) -> String {
        try withDatabase { database throws(StoreError) in
            var names: [String] = []
            try database.query("SELECT name FROM pragma_table_info(?1) ORDER BY cid", [.text(table)]) { row throws(StoreError) in names.append(row.text(0)) }
            return names.joined(separator: ", ")
        }
    }
}
