import CAlign
import Foundation
import Synchronization

#if canImport(Glibc)
import Glibc
#endif

/// The one SQLite file that all stages share: prompts, completions, comparisons, reference log-probs, runs and their lineage.
///
/// Several processes may use it at once (write-ahead log); what a method wrote is whole or absent, whenever the process ends.
public final class PreferenceStore: Sendable {
    /// "algn": tells the store from other programs' databases.
    static let applicationID = 0x616C_676E

    public let path: String
    // The connection is used under the lock alone, and never leaves it.
    private let database: Mutex<Connection>

    private struct Connection: @unchecked Sendable {
        let database: Database
    }

    /// Opens the store, making the file and its folder if they are missing, and brings it to this build's version.
    /// - Throws: `StoreError` for what cannot be opened, is not a store, is newer, or lies on a network file system.
    public init(path: String) throws(StoreError) {
        self.path = path
        let folder = (path as NSString).deletingLastPathComponent
        if !folder.isEmpty {
            do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
                throw .cannotOpen(path: path, reason: "its folder \(folder) cannot be made")
            }
        }
        var isFolder: ObjCBool = false
        if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue { throw .cannotOpen(path: path, reason: "it is a folder") }
        try Self.refuseNetwork(folder.isEmpty ? "." : folder, path: path)
        let database = try Database(path: path)
        try Self.prepare(database)
        self.database = Mutex(Connection(database: database))
    }

    /// Runs `body` with the connection to itself.
    func withDatabase<Result: Sendable>(_ body: (Database) throws(StoreError) -> Result) throws(StoreError) -> Result {
        let outcome: Swift.Result<Result, StoreError> = database.withLock { connection in
            do throws(StoreError) { return .success(try body(connection.database)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    private static func prepare(_ database: Database) throws(StoreError) {
        // In one snapshot: between the two, another process may have made the store.
        let (application, tables) = try database.snapshot { () throws(StoreError) in
            (try database.integer("PRAGMA application_id"), try database.integer("SELECT count(*) FROM sqlite_master"))
        }
        guard application == applicationID || (application == 0 && tables == 0) else { throw .foreign(path: database.path) }
        try useWriteAheadLog(database)
        try database.script("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
        var known = 0
        while migration(known + 1) != nil { known += 1 }
        let found = try database.integer("PRAGMA user_version")
        guard found <= known else { throw .newer(path: database.path, found: found, known: known) }
        guard found < known else { return }
        try keepCopy(of: database, version: found)
        try database.transaction { () throws(StoreError) in
            // Another process may have migrated while this one waited for the lock.
            let found = try database.integer("PRAGMA user_version")
            for number in 1...known where number > found {
                if let sql = migration(number) { try database.script(sql) }
            }
            try database.script("PRAGMA application_id = \(applicationID); PRAGMA user_version = \(known);")
        }
    }

    /// SQLite does not wait for its turn when several processes switch a new file to the log at once, so this does.
    private static func useWriteAheadLog(_ database: Database) throws(StoreError) {
        for _ in 0..<500 {
            do throws(StoreError) { return try database.script("PRAGMA journal_mode = WAL") } catch {
                guard case .busy = error else { throw error }
                usleep(20_000)
            }
        }
        throw .busy(path: database.path)
    }

    /// Shared memory, which the write-ahead log needs, does not exist between machines.
    private static func refuseNetwork(_ folder: String, path: String) throws(StoreError) {
        #if os(Linux)
        var info = statfs()
        guard statfs(folder, &info) == 0 else { return }
        let magic = UInt32(truncatingIfNeeded: info.f_type)
        if [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x0BD0_0BD0, 0x4750_4653].contains(magic) { throw .networkFileSystem(path: path) }
        #endif
    }

    /// The statements that bring a store from the version before to `number`; nil beyond this build's.
    static func migration(_ number: Int) -> String? { align_migration(Int32(number)).map { String(cString: $0) } }

    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    /// Keeps a copy of a store beside it before its tables change: `align.sqlite.v1`. One that is there from an earlier attempt stays.
    private static func keepCopy(of database: Database, version: Int) throws(StoreError) {
        let copy = "\(database.path).v\(version)"
        guard version > 0, !exists(copy) else { return }
        // Whole or not at all: SQLite writes a file of another name, which then gets its own.
        let part = "\(copy).part-\(getpid())"
        try? FileManager.default.removeItem(atPath: part)
        try database.query("VACUUM INTO ?1", [.text(part)]) { _ throws(StoreError) in }
        do { try FileManager.default.moveItem(atPath: part, toPath: copy) } catch {
            // Another process may have made it meanwhile.
            try? FileManager.default.removeItem(atPath: part)
            guard exists(copy) else { throw .cannotOpen(path: copy, reason: "the copy before a change of version cannot be made") }
        }
    }

    /// SQLite's own check of the file's structure.
    /// - Throws: `.damaged` with the first fault found.
    public func check() throws(StoreError) {
        try withDatabase { database throws(StoreError) in
            var verdict = "ok"
            try database.query("PRAGMA quick_check(1)") { row throws(StoreError) in verdict = row.text(0) }
            if verdict != "ok" { throw .damaged(path: database.path, detail: verdict) }
        }
    }
}
