import Foundation

extension PreferenceStore {
    /// How long an item is kept for a sitting that shows it, seconds: as long as a long text takes to be read.
    public static let reservationTime = 600.0

    /// Keeps an item for a sitting that is about to show it, and lets go of what the sitting kept before.
    ///
    /// In one transaction with the counting, so that of two annotators who ask at once for an item's last place one gets it.
    /// - Parameters:
    ///   - session: The sitting.
    ///   - votesWanted: Of different annotators, skips not counted.
    ///   - now: When a reservation of `reservationTime` begins; others' that ended before count no more.
    /// - Returns: False if as many others as are wanted have judged the item or have it on their screens; nothing is kept then.
    public func reserve(_ item: LabelItem, by annotator: String, session: String, votesWanted: Int, now: Date = Date()) throws(StoreError) -> Bool {
        func text(_ date: Date) -> String { date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }
        return try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                try database.run("DELETE FROM reservation WHERE session = ?1 OR expires <= ?2", .text(session), .text(text(now)))
                var others = Set(Vote.standing(try database.votes(on: item.id, by: nil)).filter { $0.outcome != .skip }.map(\.annotator))
                try database.query("SELECT annotator FROM reservation WHERE item = ?1", [.text(item.id)]) { row throws(StoreError) in others.insert(row.text(0)) }
                others.remove(annotator)
                guard others.count < votesWanted else { return false }
                try database.run(
                    "INSERT INTO reservation (item, session, annotator, expires) VALUES (?1, ?2, ?3, ?4)", .text(item.id), .text(session), .text(annotator),
                    .text(text(now + Self.reservationTime)))
                return true
            }
        }
    }

    /// Lets go of what a sitting kept.
    public func release(session: String) throws(StoreError) {
        try withDatabase { database throws(StoreError) in _ = try database.run("DELETE FROM reservation WHERE session = ?1", .text(session)) }
    }
}
