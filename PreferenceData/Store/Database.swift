import CAlign
import Foundation

/// A value that a statement binds or a row holds.
enum SQLValue: Sendable, Equatable {
    case null
    case integer(Int)
    case real(Double)
    case text(String)
    case blob([UInt8])

    static func optional(_ text: String?) -> SQLValue { text.map { .text($0) } ?? .null }
    static func optional(_ number: Int?) -> SQLValue { number.map { .integer($0) } ?? .null }
    static func optional(_ number: Double?) -> SQLValue { number.map { .real($0) } ?? .null }
}

/// The current row of a query; valid inside the closure that it is handed to.
struct SQLRow {
    fileprivate let statement: OpaquePointer

    func integer(_ column: Int32) -> Int { Int(sqlite3_column_int64(statement, column)) }
    func real(_ column: Int32) -> Double { sqlite3_column_double(statement, column) }
    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }
    func text(_ column: Int32) -> String { String(decoding: blob(column), as: UTF8.self) }
    func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }
    func blob(_ column: Int32) -> [UInt8] {
        let count = Int(sqlite3_column_bytes(statement, column))
        guard count > 0, let bytes = sqlite3_column_blob(statement, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: bytes, count: count))
    }
}

/// One SQLite connection; values are bound, never spliced, and statements are prepared once.
final class Database {
    let path: String
    private let handle: OpaquePointer
    private var prepared: [String: OpaquePointer] = [:]
    /// Rows that the largest transaction so far changed: as long as it took, others waited.
    private(set) var largestTransaction = 0

    init(path: String) throws(StoreError) {
        self.path = path
        var handle: OpaquePointer?
        let code = sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let handle else {
            let reason = handle.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
            sqlite3_close(handle)
            throw .cannotOpen(path: path, reason: reason)
        }
        self.handle = handle
        // SQLite's own waiting grows to 100 ms a nap, in which a writer of many short transactions would never be met between two of them.
        sqlite3_busy_handler(handle, { _, naps in
            usleep(1000)
            return naps < 10_000 ? 1 : 0
        }, nil)
    }

    deinit {
        for statement in prepared.values { sqlite3_finalize(statement) }
        sqlite3_close(handle)
    }

    private func failure(_ code: Int32, _ sql: String) -> StoreError {
        switch code & 0xFF {
        case SQLITE_BUSY, SQLITE_LOCKED: .busy(path: path)
        case SQLITE_NOTADB: .notADatabase(path: path)
        case SQLITE_CORRUPT: .damaged(path: path, detail: String(cString: sqlite3_errmsg(handle)))
        case SQLITE_CANTOPEN, SQLITE_READONLY: .cannotOpen(path: path, reason: String(cString: sqlite3_errmsg(handle)))
        default: .sqlite(path: path, statement: sql, code: code, message: String(cString: sqlite3_errmsg(handle)))
        }
    }

    /// Runs several statements that bind nothing: migrations and pragmas.
    func script(_ sql: String) throws(StoreError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw failure(code, String(sql.prefix(120))) }
    }

    /// Runs one statement and hands its rows to `each`.
    func query(_ sql: String, _ values: [SQLValue] = [], _ each: (SQLRow) throws(StoreError) -> Void) throws(StoreError) {
        let statement = try prepare(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (i, value) in values.enumerated() {
            let code = bind(value, to: statement, at: Int32(i + 1))
            guard code == SQLITE_OK else { throw failure(code, sql) }
        }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: try each(SQLRow(statement: statement))
            case SQLITE_DONE: return
            case let code: throw failure(code, sql)
            }
        }
    }

    /// Runs one statement that has no rows; returns how many it changed.
    @discardableResult
    func run(_ sql: String, _ values: SQLValue...) throws(StoreError) -> Int {
        try query(sql, values) { _ throws(StoreError) in }
        return Int(sqlite3_changes(handle))
    }

    /// The first column of the first row, as an integer.
    func integer(_ sql: String) throws(StoreError) -> Int {
        var result = 0
        try query(sql) { row throws(StoreError) in result = row.integer(0) }
        return result
    }

    /// Whether the query has a row.
    func has(_ sql: String, _ values: SQLValue...) throws(StoreError) -> Bool {
        var found = false
        try query(sql, values) { _ throws(StoreError) in found = true }
        return found
    }

    /// All of `body` or nothing of it. The write lock is taken at once, so that two writers wait instead of failing midway.
    func transaction<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try transaction("BEGIN IMMEDIATE", body)
    }

    /// Everything that `body` reads is of one moment, whatever other processes write meanwhile.
    func snapshot<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try transaction("BEGIN", body)
    }

    private func transaction<Result>(_ begin: String, _ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try script(begin)
        do throws(StoreError) {
            let before = sqlite3_total_changes(handle)
            let result = try body()
            try script("COMMIT")
            largestTransaction = max(largestTransaction, Int(sqlite3_total_changes(handle) - before))
            return result
        } catch {
            sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
            throw error
        }
    }

    private func prepare(_ sql: String) throws(StoreError) -> OpaquePointer {
        if let statement = prepared[sql] { return statement }
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v2(handle, sql, -1, &statement, nil)
        guard code == SQLITE_OK, let statement else { throw failure(code, sql) }
        prepared[sql] = statement
        return statement
    }

    private func bind(_ value: SQLValue, to statement: OpaquePointer, at index: Int32) -> Int32 {
        // SQLite copies what it is given (SQLITE_TRANSIENT, which C defines as -1).
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        switch value {
        case .null: return sqlite3_bind_null(statement, index)
        case let .integer(number): return sqlite3_bind_int64(statement, index, Int64(number))
        case let .real(number): return sqlite3_bind_double(statement, index, number)
        case let .text(text):
            var text = text
            return text.withUTF8 { bytes in
                bytes.withMemoryRebound(to: CChar.self) { sqlite3_bind_text(statement, index, $0.baseAddress ?? UnsafePointer(emptyText), Int32($0.count), transient) }
            }
        case let .blob(bytes):
            return bytes.withUnsafeBytes { bytes in
                bytes.isEmpty ? sqlite3_bind_zeroblob(statement, index, 0) : sqlite3_bind_blob(statement, index, bytes.baseAddress, Int32(bytes.count), transient)
            }
        }
    }
}

/// What an empty text's pointer stands on: SQLite takes nil for NULL.
private nonisolated(unsafe) let emptyText: UnsafeMutablePointer<CChar> = {  // written once, here
    let memory = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
    memory.initialize(to: 0)
    return memory
}()
