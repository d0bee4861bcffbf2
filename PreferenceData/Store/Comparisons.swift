import Foundation
import Serialization

/// A comparison as the store keeps it: contents are text or canonical JSON.
public struct StoredComparison: Sendable, Equatable {
    public var prompt: String
    public var chosen: String
    public var rejected: String
    public var margin: Double?
    /// File and line, or the run that made it.
    public var source: String
    public init(prompt: String, chosen: String, rejected: String, margin: Double? = nil, source: String) {
        self.prompt = prompt
        self.chosen = chosen
        self.rejected = rejected
        self.margin = margin
        self.source = source
    }

    /// SHA-256 of the three contents with their lengths: the same pair has the same id wherever it comes from.
    public var id: String { Self.hash([prompt, chosen, rejected]) }
    var promptID: String { Self.hash([prompt]) }
    var chosenID: String { Self.hash([prompt, chosen]) }
    var rejectedID: String { Self.hash([prompt, rejected]) }

    private static func hash(_ parts: [String]) -> String {
        var hasher = SHA256Hasher()
        for part in parts {
            let bytes = Array(part.utf8)
            hasher.update(Array("\(bytes.count):".utf8))
            hasher.update(bytes)
        }
        return hasher.hex
    }
}

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
    /// Adds what is not there yet, by content: importing twice changes nothing.
    /// - Parameter added: ISO 8601.
    /// - Returns: The ids of all comparisons, in order, and how many were new.
    public func add(_ comparisons: [StoredComparison], added: String) throws(StoreError) -> (ids: [String], new: Int) {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                var (ids, new) = ([String](), 0)
                for c in comparisons {
                    try database.run("INSERT OR IGNORE INTO prompt (id, content) VALUES (?1, ?2)", .text(c.promptID), .text(c.prompt))
                    for (id, content) in [(c.chosenID, c.chosen), (c.rejectedID, c.rejected)] {
                        try database.run("INSERT OR IGNORE INTO completion (id, prompt, content) VALUES (?1, ?2, ?3)", .text(id), .text(c.promptID), .text(content))
                    }
                    new += try database.run(
                        "INSERT OR IGNORE INTO comparison (id, prompt, chosen, rejected, margin, source, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        .text(c.id), .text(c.promptID), .text(c.chosenID), .text(c.rejectedID), .optional(c.margin), .text(c.source), .text(added))
                    ids.append(c.id)
                }
                return (ids, new)
            }
        }
    }

    /// All comparisons, by id.
    public func comparisons() throws(StoreError) -> [StoredComparison] {
        try withDatabase { database throws(StoreError) in
            var result: [StoredComparison] = []
            try database.query(
                """
                SELECT p.content, w.content, l.content, c.margin, c.source FROM comparison c
                JOIN prompt p ON p.id = c.prompt JOIN completion w ON w.id = c.chosen JOIN completion l ON l.id = c.rejected ORDER BY c.id
                """
            ) { row throws(StoreError) in
                result.append(
                    StoredComparison(
                        prompt: row.text(0), chosen: row.text(1), rejected: row.text(2), margin: row.isNull(3) ? nil : row.real(3), source: row.text(4)))
            }
            return result
        }
    }

    /// Records a run, its parents and what it trains on; a run of the same id is replaced (it was resumed).
    public func begin(_ run: RunRecord, comparisons: [String] = []) throws(StoreError) {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                try database.run(
                    """
                    INSERT INTO run (id, stage, settings, directory, data_hash, model_hash, status, started) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                    ON CONFLICT (id) DO UPDATE SET status = excluded.status, finished = NULL
                    """,
                    .text(run.id), .text(run.stage), .text(run.settings), .text(run.directory), .text(run.dataHash), .text(run.modelHash),
                    .text(run.status), .text(run.started))
                for parent in run.parents {
                    try database.run("INSERT OR IGNORE INTO run_parent (run, parent) SELECT ?1, id FROM run WHERE id = ?2", .text(run.id), .text(parent))
                }
                for id in comparisons {
                    try database.run("INSERT OR IGNORE INTO run_comparison (run, comparison) VALUES (?1, ?2)", .text(run.id), .text(id))
                }
            }
        }
    }

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
