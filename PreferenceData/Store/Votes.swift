import Foundation
import Serialization

extension PreferenceStore {
    /// The time as votes have it: ISO 8601, UTC, milliseconds.
    public static func now() -> String { Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }

    /// Who votes.
    public enum AnnotatorKind: String, Sendable, CaseIterable { case human, model, rule }

    /// Makes an annotator known; one that is known stays as it is.
    public func register(annotator: String, as kind: AnnotatorKind, at time: String) throws(StoreError) {
        try withDatabase { database throws(StoreError) in try database.add(annotator: annotator, kind, at: time) }
    }

    /// All annotators, by name.
    public func annotators() throws(StoreError) -> [(id: String, kind: AnnotatorKind)] {
        try withDatabase { database throws(StoreError) in
            var result: [(id: String, kind: AnnotatorKind)] = []
            try database.query("SELECT id, kind FROM annotator ORDER BY id") { row throws(StoreError) in
                result.append((row.text(0), AnnotatorKind(rawValue: row.text(1)) ?? .human))
            }
            return result
        }
    }

    /// Appends a vote; on return it is on the disk, whatever happens to the machine then.
    ///
    /// Its completions must be in the store; its item and annotator are made known if they are not.
    /// - Returns: The vote's id.
    /// - Throws: `.badVote` for one that contradicts itself or names what is not there.
    @discardableResult
    public func append(_ vote: Vote) throws(StoreError) -> String { try append([vote])[0] }

    /// Appends votes, all or none; on return they are on the disk.
    @discardableResult
    public func append(_ votes: [Vote]) throws(StoreError) -> [String] {
        for vote in votes { if let fault = vote.fault { throw .badVote(reason: fault) } }
        return try withDatabase { database throws(StoreError) in
            // The write-ahead log is synced at this commit, and not at those of others, who can do their work again.
            try database.script("PRAGMA synchronous = FULL")
            defer { try? database.script("PRAGMA synchronous = NORMAL") }
            return try database.transaction { () throws(StoreError) in
                var ids: [String] = []
                for vote in votes { ids.append(try database.add(vote)) }
                return ids
            }
        }
    }

    /// Votes in the order in which they were cast, withdrawn ones and withdrawals among them.
    public func votes(on item: String? = nil, by annotator: String? = nil) throws(StoreError) -> [Vote] {
        try withDatabase { database throws(StoreError) in try database.votes(on: item, by: annotator) }
    }

    /// The votes that hold: withdrawn ones left out, and of several by one annotator on one item all but the last.
    public func standingVotes(on item: String? = nil, by annotator: String? = nil) throws(StoreError) -> [Vote] {
        Vote.standing(try votes(on: item, by: annotator))
    }

    /// An outcome that is known, to measure annotators by.
    public func setGold(_ item: LabelItem, expected: Vote.Outcome, reason: String? = nil) throws(StoreError) {
        try withDatabase { database throws(StoreError) in
            _ = try database.run(
                "INSERT OR REPLACE INTO gold (item, expected, reason) VALUES (?1, ?2, ?3)", .text(item.id), .text(expected.rawValue), .optional(reason))
        }
    }

    /// The known outcomes, by item's id.
    public func gold() throws(StoreError) -> [String: (expected: Vote.Outcome, reason: String?)] {
        try withDatabase { database throws(StoreError) in
            var result: [String: (expected: Vote.Outcome, reason: String?)] = [:]
            try database.query("SELECT item, expected, reason FROM gold ORDER BY item") { row throws(StoreError) in
                result[row.text(0)] = (try Vote.Outcome(row, 1), row.optionalText(2))
            }
            return result
        }
    }
}

extension Database {
    func add(annotator: String, _ kind: PreferenceStore.AnnotatorKind, at time: String) throws(StoreError) {
        try run("INSERT OR IGNORE INTO annotator (id, kind, added) VALUES (?1, ?2, ?3)", .text(annotator), .text(kind.rawValue), .text(time))
    }

    /// - Returns: The id, whether the vote is new or not.
    @discardableResult
    func add(_ vote: Vote) throws(StoreError) -> String {
        let id = vote.id
        for completion in vote.item.completions + [vote.edited].compactMap(\.self) {
            guard try has("SELECT 1 FROM completion WHERE id = ?1 AND prompt = ?2", .text(completion), .text(vote.item.prompt)) else {
                throw .badVote(reason: "the store has no completion \(completion) of prompt \(vote.item.prompt)")
            }
        }
        if let target = vote.withdraws, try !has("SELECT 1 FROM vote WHERE id = ?1 AND annotator = ?2", .text(target), .text(vote.annotator)) {
            throw .badVote(reason: "\(vote.annotator) cast no vote \(target), so it cannot be withdrawn")
        }
        try add(annotator: vote.annotator, .human, at: vote.time)
        _ = try add(vote.item, source: StoredSource(named: "votes"), priority: 0, at: vote.time)
        try run(
            """
            INSERT OR IGNORE INTO vote (id, item, annotator, time, outcome, strength, note, shown_first, session, grades, edited, ranking, withdraws)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
            """,
            .text(id), .text(vote.item.id), .text(vote.annotator), .text(vote.time), .text(vote.outcome.rawValue), .optional(vote.strength),
            .optional(vote.note), .optional(vote.shownFirst), .optional(vote.session), .optional(vote.grades), .optional(vote.edited),
            .optional(vote.rankingText), .optional(vote.withdraws))
        return id
    }

    func votes(on item: String?, by annotator: String?) throws(StoreError) -> [Vote] {
        var result: [Vote] = []
        try query(
            """
            SELECT i.prompt, i.completions, v.annotator, v.time, v.outcome, v.strength, v.note, v.shown_first, v.session, v.grades, v.edited,
                v.ranking, v.withdraws
            FROM vote v JOIN item i ON i.id = v.item WHERE (?1 IS NULL OR v.item = ?1) AND (?2 IS NULL OR v.annotator = ?2) ORDER BY v.time, v.id
            """, [.optional(item), .optional(annotator)]
        ) { row throws(StoreError) in
            var vote = Vote(
                item: try LabelItem(row, prompt: 0, completions: 1), annotator: row.text(2), time: row.text(3), outcome: try Vote.Outcome(row, 4))
            vote.strength = row.isNull(5) ? nil : row.integer(5)
            vote.note = row.optionalText(6)
            vote.shownFirst = row.optionalText(7)
            vote.session = row.optionalText(8)
            vote.grades = row.optionalText(9)
            vote.edited = row.optionalText(10)
            if let text = row.optionalText(11) {
                guard let tiers = (try? JSON.parse(text))?.array else { throw .badValue(column: "ranking", found: text) }
                vote.ranking = tiers.map { ($0.array ?? []).compactMap(\.string) }
            }
            vote.withdraws = row.optionalText(12)
            result.append(vote)
        }
        return result
    }
}

extension Vote.Outcome {
    init(_ row: SQLRow, _ column: Int32) throws(StoreError) {
        guard let outcome = Vote.Outcome(rawValue: row.text(column)) else { throw .badValue(column: "outcome", found: row.text(column)) }
        self = outcome
    }
}
