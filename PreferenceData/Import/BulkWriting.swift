import Foundation

/// How many rows of each kind were new, and how many the store had already.
public struct WriteCounts: Sendable, Equatable {
    public var new: [StoredRow.Kind: Int] = [:]
    public var known: [StoredRow.Kind: Int] = [:]
    public init() {}

    public var newRows: Int { new.values.reduce(0, +) }
    public var knownRows: Int { known.values.reduce(0, +) }

    mutating func note(_ kind: StoredRow.Kind, isNew: Bool) {
        if isNew { new[kind, default: 0] += 1 } else { known[kind, default: 0] += 1 }
    }
}

extension PreferenceStore {
    /// Pages of the write-ahead log after which it is brought into the file, in between the turns.
    private static let logPages = 16_384

    /// Writes rows in the order of their prompts' ids, in many short transactions: votes get in between, and a process that is killed leaves
    /// whole rows behind, which the next import knows.
    func write(_ rows: [AddressedRow], source: StoredSource, at time: String, into counts: inout WriteCounts) throws(StoreError) {
        let order = rows.indices.sorted { (rows[$0].prompt, rows[$0].id, $0) < (rows[$1].prompt, rows[$1].id, $1) }
        // Every reference is to a row that the same transaction writes before it.
        try withDatabase { database throws(StoreError) in
            try database.script("PRAGMA foreign_keys = OFF; PRAGMA cache_size = -131072; PRAGMA wal_autocheckpoint = 0")
            try database.add(source, at: time)
        }
        defer {
            try? withDatabase { database throws(StoreError) in
                try database.script("PRAGMA foreign_keys = ON; PRAGMA cache_size = -2000; PRAGMA wal_autocheckpoint = 1000; PRAGMA wal_checkpoint(PASSIVE)")
            }
        }
        var (next, logged, lastPrompt) = (0, 0, "")
        try inTurns { database throws(StoreError) in
            guard next < order.count else { return nil }
            var writer = RowWriter(database: database, source: source, time: time, lastPrompt: lastPrompt)
            let step = order[next..<min(order.count, next + 32)]
            for index in step { counts.note(rows[index].row.kind, isNew: try writer.add(rows[index])) }
            lastPrompt = writer.lastPrompt
            next += step.count
            return step.count
        } between: { written throws(StoreError) in
            logged += 2 * written
            guard logged > Self.logPages else { return }
            logged = 0
            try withDatabase { database throws(StoreError) in try database.script("PRAGMA wal_checkpoint(PASSIVE)") }
        }
    }
}

/// Puts one row after the other into the tables, within somebody's transaction.
private struct RowWriter {
    let database: Database
    let source: StoredSource
    let time: String
    /// Rows come by prompt: what the one before was of need not be looked up again.
    private(set) var lastPrompt: String

    init(database: Database, source: StoredSource, time: String, lastPrompt: String) {
        (self.database, self.source, self.time, self.lastPrompt) = (database, source, time, lastPrompt)
    }

    /// - Returns: Whether the store had no such row.
    mutating func add(_ row: AddressedRow) throws(StoreError) -> Bool {
        if row.prompt != lastPrompt {
            try database.add(row.row.prompt, id: row.prompt)
            lastPrompt = row.prompt
        }
        for (id, content) in zip(row.completions, row.row.completions) { try database.add(completion: content, id: id, of: row.prompt) }
        switch row.row {
        case let .comparison(comparison):
            return try database.add(
                comparison: comparison, id: row.id, prompt: row.prompt, chosen: row.completions[0], rejected: row.completions[1], line: row.line, at: time) > 0
        case let .example(_, _, mask):
            return try database.run(
                "INSERT OR IGNORE INTO example (id, completion, loss_mask, source, line, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", .text(row.id),
                .text(row.completions[0]), mask.map { .blob($0.map { $0 ? 1 : 0 }) } ?? .null, .text(source.id), .optional(row.line), .text(time)) > 0
        case let .label(_, _, isGood):
            return try database.run(
                "INSERT OR IGNORE INTO label (id, completion, label, source, line, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", .text(row.id),
                .text(row.completions[0]), .integer(isGood ? 1 : 0), .text(source.id), .optional(row.line), .text(time)) > 0
        case let .task(_, answer):
            return try database.run(
                "INSERT OR IGNORE INTO task (prompt, answer, source, line, added) VALUES (?1, ?2, ?3, ?4, ?5)", .text(row.prompt), .optional(answer),
                .text(source.id), .optional(row.line), .text(time)) > 0
        case let .score(_, _, reward, value, model):
            if let model { try database.add(Generation(completion: row.completions[0], model: model, time: time)) }
            return try database.add(Score(completion: row.completions[0], reward: reward, value: value, time: time), replaces: false)
        case .item:
            return try database.add(LabelItem(prompt: row.prompt, completions: row.completions), source: source, priority: 0, at: time)
        case let .vote(_, vote, kind):
            if try database.has("SELECT 1 FROM vote WHERE id = ?1", .text(row.id)) { return false }
            try database.add(annotator: vote.annotator, kind, at: time)
            _ = try database.add(vote.item, source: source, priority: 0, at: time)
            try database.add(vote)
            return true
        }
    }
}
