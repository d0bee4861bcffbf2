import Foundation

/// Long work in many short transactions: whoever votes meanwhile gets in between two of them.
extension PreferenceStore {
    /// A transaction ends after this long, so that nobody waits longer for a turn: seconds.
    private static let turn = 0.025
    /// Between two of them: long enough that one who asks every millisecond gets in. Microseconds.
    private static let pause: UInt32 = 2000
    /// Rows after which a transaction ends, however fast they were written.
    static let piece = 2000

    /// Does `steps` in as many transactions as they need. A process that is killed leaves whole steps behind.
    /// - Parameters:
    ///   - step: Writes some rows, a few dozen; returns how many rows it wrote, nil when nothing is left.
    ///   - between: Runs between two transactions, with the rows of the one before.
    func inTurns(
        _ step: (Database) throws(StoreError) -> Int?, between: (Int) throws(StoreError) -> Void = { (_: Int) throws(StoreError) in }
    ) throws(StoreError) {
        var isLeft = true
        while isLeft {
            let rows = try withDatabase { database throws(StoreError) in
                try database.transaction { () throws(StoreError) in
                    let start = ContinuousClock.now
                    var rows = 0
                    repeat {
                        guard let written = try step(database) else {
                            isLeft = false
                            break
                        }
                        rows += written
                    } while rows < Self.piece && ContinuousClock.now - start < .seconds(Self.turn)
                    return rows
                }
            }
            guard isLeft else { return }
            usleep(Self.pause)
            try between(rows)
        }
    }

    /// Writes rows one by one, in turns.
    /// - Returns: How many rows `write` says were new.
    func inPieces<Row: Sendable>(_ rows: some Collection<Row>, _ write: (Database, Row) throws(StoreError) -> Bool) throws(StoreError) -> Int {
        var (new, rest) = (0, rows[...])
        try inTurns { database throws(StoreError) in
            if rest.isEmpty { return nil }
            let step = rest.prefix(32)
            rest = rest.dropFirst(32)
            for row in step where try write(database, row) { new += 1 }
            return step.count
        }
        return new
    }
}
