/// Why the store cannot do what was asked of it.
public enum StoreError: Error, Equatable, CustomStringConvertible {
    case cannotOpen(path: String, reason: String)
    /// A database of another program.
    case foreign(path: String)
    case notADatabase(path: String)
    /// A file to be merged that is no preference store.
    case notAStore(path: String)
    case newer(path: String, found: Int, known: Int)
    /// A store that is only read cannot be brought to this build's version.
    case older(path: String, found: Int, known: Int)
    case networkFileSystem(path: String)
    case damaged(path: String, detail: String)
    case busy(path: String)
    /// A row holds what no build writes.
    case badValue(column: String, found: String)
    /// A vote that cannot be: what is wrong with it.
    case badVote(reason: String)
    case sqlite(path: String, statement: String, code: Int32, message: String)

    public var description: String {
        switch self {
        case let .cannotOpen(path, reason): "\(path): the store cannot be opened: \(reason). Name another file with --store."
        case let .foreign(path): "\(path): this is another program's database, not a preference store. Name another file with --store."
        case let .notADatabase(path): "\(path): this is not an SQLite file. Name another file with --store, or move this one away."
        case let .notAStore(path): "\(path): this is not a preference store. Merge files that 'align data import' or 'align label' made; other data comes in by 'align data import'."
        case let .newer(path, found, known): "\(path): the store has version \(found), this build reads up to \(known). Use the newer build that wrote it."
        case let .older(path, found, known): "\(path): the store has version \(found), this build writes \(known). Open it once: align data stats --store \(path)."
        case let .networkFileSystem(path): "\(path): the store lies on a network file system, where several processes cannot share it safely. Name a file on a local disk with --store."
        case let .damaged(path, detail): "\(path): the store is damaged (\(detail)). Recover what can be read with: sqlite3 \(path) .recover"
        case let .busy(path): "\(path): another process has held the store for more than 10 seconds. Wait for it, or name another file with --store."
        case let .badValue(column, found):
            "the store's column \(column) holds \"\(found.prefix(80))\", which no build writes. Restore the copy that lies beside it, or import again."
        case let .badVote(reason): "the vote cannot be kept: \(reason)."
        case let .sqlite(path, statement, code, message): "\(path): \(message) (SQLite code \(code)) in: \(statement)"
        }
    }
}
