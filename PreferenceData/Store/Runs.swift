/// One training run, as the store remembers it.
public struct RunRecord: Sendable, Equatable {
    public var id: String
    public var stage: String
    /// JSON.
    public var settings: String
    public var directory: String
    public var dataHash: String
    public var modelHash: String
    /// "running", "finished", "interrupted" or "failed".
    public var status: String
    /// ISO 8601.
    public var started: String
    public var finished: String?
    /// Runs whose result this one started from.
    public var parents: [String]
    public init(
        id: String, stage: String, settings: String, directory: String, dataHash: String, modelHash: String, status: String = "running",
        started: String, finished: String? = nil, parents: [String] = []
    ) {
        self.id = id
        self.stage = stage
        self.settings = settings
        self.directory = directory
        self.dataHash = dataHash
        self.modelHash = modelHash
        self.status = status
        self.started = started
        self.finished = finished
        self.parents = parents
    }
}

extension PreferenceStore {
    /// Records a run, its parents and what it trains on; a run of the same id is replaced (it was resumed).
    /// - Parameter comparisons: Ids; none leaves those that are noted.
    public func begin(_ run: RunRecord, comparisons: some Collection<String> = [String]()) throws(StoreError) {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                try database.run(
                    """
                    INSERT INTO run (id, stage, settings, directory, data_hash, model_hash, status, started) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                    ON CONFLICT (id) DO UPDATE SET status = excluded.status, finished = NULL
                    """,
                    .text(run.id), .text(run.stage), .text(run.settings), .text(run.directory), .text(run.dataHash), .text(run.modelHash),
                    .text(comparisons.isEmpty ? run.status : Self.starting), .text(run.started))
                for parent in run.parents {
                    try database.run("INSERT OR IGNORE INTO run_parent (run, parent) SELECT ?1, id FROM run WHERE id = ?2", .text(run.id), .text(parent))
                }
            }
        }
        guard !comparisons.isEmpty else { return }
        // In pieces: whoever labels meanwhile shall not wait for a million rows.
        _ = try inPieces(comparisons) { (database, id) throws(StoreError) in
            try database.run("INSERT OR IGNORE INTO run_comparison (run, comparison) VALUES (?1, ?2)", .text(run.id), .text(id)) > 0
        }
        try withDatabase { database throws(StoreError) in
            _ = try database.run("UPDATE run SET status = ?2 WHERE id = ?1", .text(run.id), .text(run.status))
        }
    }

    /// Until all of a run's comparisons are noted.
    static let starting = "starting"

    /// Notes how a run ended, once: a run that has an end keeps it until it begins again.
    public func finish(run id: String, status: String, at time: String) throws(StoreError) {
        try withDatabase { database throws(StoreError) in
            _ = try database.run("UPDATE run SET status = ?2, finished = ?3 WHERE id = ?1 AND finished IS NULL", .text(id), .text(status), .text(time))
        }
    }

    /// All runs, oldest first.
    public func runs() throws(StoreError) -> [RunRecord] {
        try withDatabase { database throws(StoreError) in
            var parents: [String: [String]] = [:]
            try database.query("SELECT run, parent FROM run_parent ORDER BY run, parent") { row throws(StoreError) in parents[row.text(0), default: []].append(row.text(1)) }
            var result: [RunRecord] = []
            try database.query(
                "SELECT id, stage, settings, directory, data_hash, model_hash, status, started, finished FROM run ORDER BY started, id"
            ) { row throws(StoreError) in
                result.append(
                    RunRecord(
                        id: row.text(0), stage: row.text(1), settings: row.text(2), directory: row.text(3), dataHash: row.text(4), modelHash: row.text(5),
                        status: row.text(6), started: row.text(7), finished: row.optionalText(8), parents: parents[row.text(0)] ?? []))
            }
            return result
        }
    }

    /// The runs that trained on a comparison.
    public func runs(trainedOn comparison: String) throws(StoreError) -> [String] {
        try withDatabase { database throws(StoreError) in
            var result: [String] = []
            try database.query("SELECT run FROM run_comparison WHERE comparison = ?1 ORDER BY run", [.text(comparison)]) { row throws(StoreError) in result.append(row.text(0)) }
            return result
        }
    }
}
