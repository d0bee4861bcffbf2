import Serialization

/// Token rows by number. Their tokens lie in a scratch file; in memory are where each row lies and how long it is, and the rows that are held
/// because a step is about to use them.
struct RowList<Row: TokenRow>: Sendable {
    /// Where a row lies: 16 bytes of memory.
    struct Entry: Sendable {
        var offset: Int
        var bytes: UInt32
        var tokens: UInt32
    }

    /// nil: the rows are in memory, all of them; of those who have few.
    private let scratch: ScratchFile?
    private var entries: [Entry] = []
    private var rows: [Row] = []
    private var held: [Int: Row] = [:]

    init(_ rows: [Row]) { (scratch, self.rows) = (nil, rows) }
    init(_ scratch: ScratchFile, _ entries: [Entry] = []) { (self.scratch, self.entries) = (scratch, entries) }

    var count: Int { scratch == nil ? rows.count : entries.count }
    var isEmpty: Bool { count == 0 }
    var indices: Range<Int> { 0..<count }

    /// Bytes that the list keeps in memory, whatever the number of tokens in its rows: the index, the rows held, and the scratch file's own part.
    var memory: Int {
        entries.count * MemoryLayout<Entry>.stride + held.keys.reduce(0) { $0 + Int(entries[$1].bytes) } + (scratch?.sizes.memory ?? 0)
    }

    /// Bytes of its rows on the disk.
    var fileBytes: Int { scratch?.sizes.file ?? 0 }

    /// Tokens of a row, which need not be held.
    func tokens(of row: Int) -> Int { scratch == nil ? rows[row].tokenCount : Int(entries[row].tokens) }

    /// A row that is held.
    subscript(row: Int) -> Row {
        if scratch == nil { return rows[row] }
        guard let found = held[row] else { preconditionFailure("row \(row) of \(count) is not held, \(held.count) are") }
        return found
    }

    /// The list with these rows held, and no others.
    func holding(_ numbers: some Sequence<Int>) throws(RunError) -> RowList {
        guard scratch != nil else { return self }
        var list = self
        list.held = [:]
        for number in numbers where list.held[number] == nil { list.held[number] = try row(number) }
        return list
    }

    /// A row, held or not.
    func row(_ number: Int) throws(RunError) -> Row {
        guard let scratch else { return rows[number] }
        if let held = held[number] { return held }
        let entry = entries[number]
        var parts = RowParts(try scratch.read(entry.offset..<entry.offset + Int(entry.bytes)))
        do throws(RowParts.Damaged) { return try Row(from: &parts) } catch { throw .damagedRow(file: scratch.name, offset: entry.offset) }
    }

    /// One row after the other; none is kept.
    func forEach(_ body: (Int, Row) throws -> Void) throws {
        for number in indices { try body(number, try row(number)) }
    }

    func prefix(_ count: Int) throws(RunError) -> [Row] {
        var rows: [Row] = []
        for number in indices.prefix(count) { rows.append(try row(number)) }
        return rows
    }

    /// Writes a row behind the others.
    mutating func append(_ row: Row) throws(RunError) {
        guard let scratch else { return rows.append(row) }
        var bytes = RowBytes()
        row.write(to: &bytes)
        let offset = try scratch.append(bytes.bytes)
        entries.append(Entry(offset: offset, bytes: UInt32(clamping: bytes.bytes.count), tokens: UInt32(clamping: row.tokenCount)))
    }

    /// The rows of which `isWanted`, in their order; their tokens are where they were.
    func filter(_ isWanted: (Int) -> Bool) -> RowList {
        var list = self
        list.held = [:]
        list.entries = entries.indices.filter(isWanted).map { entries[$0] }
        list.rows = rows.indices.filter(isWanted).map { rows[$0] }
        return list
    }

    /// Both lists' rows; they are of one scratch file.
    static func + (a: RowList, b: RowList) -> RowList {
        precondition(a.scratch === b.scratch, "\(a.count) rows and \(b.count) rows of two scratch files")
        var list = a
        list.entries += b.entries
        list.rows += b.rows
        list.held = [:]
        return list
    }

    /// SHA-256 over all tokens and where parts and rows end.
    func hash() throws(RunError) -> String {
        var hasher = SHA256Hasher()
        for number in indices {
            var bytes: [UInt8] = []
            for part in try row(number).parts {
                for value in [Int32(part.count)] + part { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
            }
            hasher.update(bytes)
        }
        return hasher.hex
    }
}
