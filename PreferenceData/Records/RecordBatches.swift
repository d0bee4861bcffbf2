import Serialization

/// What rows are read as.
public struct RecordKind<Row: Sendable>: Sendable {
    let shape: @Sendable (Row) -> RecordShape
    let interpret: @Sendable (RowView, RowOrigin) throws(RowFault) -> Row
}

extension RecordKind where Row == PreferencePair {
    public static var pairs: Self { Self(shape: { $0.shape }, interpret: PairShapes.read) }
}
extension RecordKind where Row == SupervisedExample {
    public static var supervised: Self { Self(shape: { $0.shape }, interpret: SupervisedShapes.read) }
}
extension RecordKind where Row == PromptRecord {
    public static var prompts: Self { Self(shape: { $0.shape }, interpret: PromptShapes.read) }
}
extension RecordKind where Row == LabelledRecord {
    public static var labelled: Self { Self(shape: { $0.shape }, interpret: UnpairedShapes.read) }
}
extension RecordKind where Row == RewardExample {
    public static var rewards: Self { Self(shape: { $0.shape }, interpret: RewardShapes.read) }
}

/// Rows of files, a batch at a time: no more than a batch of them is in memory.
///
/// Files come one after the other, in their order. One of another weight than 1 is gone through once to count its rows, and then once for
/// every copy.
public struct RecordBatches<Row: Sendable>: Sendable {
    private let kind: RecordKind<Row>
    private let files: [RecordFile]
    private let columns: [String: String]
    private let onBadRow: OnBadRow
    private let seed: UInt64
    private var report = ReadReport()
    private var counts: [RecordShape: Int] = [:]
    /// Files that were begun.
    private var begun = 0
    private var pass: Pass?
    /// Of the file that `pass` is of; the last one first. nil: every row.
    private var passes: [Set<Int>?] = []
    private var text: RecordText?

    public static var size: Int { 2048 }

    /// - Throws: `RecordError` for columns and weights that say nothing.
    public init(
        _ kind: RecordKind<Row>, _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) {
        for name in columns.keys.sorted() where !RecordShape.fields.contains(name) {
            throw .unknownColumn(name: name, known: RecordShape.fields.sorted())
        }
        for file in files where !(file.weight > 0 && file.weight <= RecordFile.largestWeight) {
            throw .badWeight(file: file.path, weight: file.weight)
        }
        (self.kind, self.files, self.columns, self.onBadRow, self.seed) = (kind, files, columns, onBadRow, seed)
    }

    /// The next rows; nil after the last.
    /// - Throws: What a file as a whole has against being read.
    public mutating func next() throws(RecordError) -> [Row]? {
        while true {
            if pass == nil, try !begin() { return nil }
            var batch: [Row] = []
            while batch.count < Self.size, let row = try pass?.next(kind, columns, &report) { batch.append(row) }
            if batch.count < Self.size { try end() }
            if !batch.isEmpty {
                report.rows += batch.count
                return batch
            }
        }
    }

    /// What was read, once there are no more rows.
    /// - Throws: `badRows` for bad rows under `.stop`, or where none is good.
    public func finish() throws(RecordError) -> ReadReport {
        if report.badRowCount > 0, onBadRow == .stop || report.rowsRead == 0 { throw .badRows(report.badRows, total: report.badRowCount) }
        var report = report
        report.shapes = counts.map { (shape: $0.key, count: $0.value) }.sorted { ($1.count, $0.shape.rawValue) < ($0.count, $1.shape.rawValue) }
        return report
    }

    // MARK: Passes

    /// - Returns: False after the last file.
    private mutating func begin() throws(RecordError) -> Bool {
        if let wanted = passes.popLast(), let text {
            pass = try Pass(text, wanted: wanted, notes: false)
            return true
        }
        guard begun < files.count else { return false }
        let file = files[begun]
        begun += 1
        let text = try RecordText(file.path)
        self.text = text
        report.files.append(file.path)
        pass = try Pass(text, wanted: nil, notes: true)
        guard file.weight != 1 else { return true }
        while try pass?.next(kind, columns, &report) != nil {}
        let good = pass?.good ?? 0
        try end()
        let copies = Int(file.weight)
        let share = file.share(of: good, fileNumber: begun - 1, seed: seed)
        passes = (share.isEmpty ? [] : [Set(share)]) + [Set<Int>?](repeating: nil, count: copies)
        return true
    }

    /// Closes the pass, and tells of its rows if it is the file's first.
    private mutating func end() throws(RecordError) {
        guard let pass else { return }
        self.pass = nil
        guard pass.notes else { return }
        guard pass.items > 0 else { throw .emptyFile(file: pass.path) }
        if let firstKeys = pass.firstKeys, let (name, column) = pass.missing(columns).min(by: { $0.key < $1.key }) {
            throw .missingColumn(file: pass.path, name: name, column: column, found: firstKeys)
        }
        report.rowsRead += pass.good
        counts.merge(pass.counts, uniquingKeysWith: +)
    }

    /// One way through a file.
    private struct Pass: Sendable {
        let path: String
        private var scanner: RecordScanner
        /// Numbers among the good rows; nil: all.
        let wanted: Set<Int>?
        /// Whether bad rows are told of.
        let notes: Bool
        var items = 0, good = 0
        var counts: [RecordShape: Int] = [:]
        var firstKeys: [String]?
        private var seen: Set<String> = []

        init(_ text: RecordText, wanted: Set<Int>?, notes: Bool) throws(RecordError) {
            path = text.path
            scanner = try RecordScanner(text)
            (self.wanted, self.notes) = (wanted, notes)
        }

        /// The columns that no row had.
        func missing(_ columns: [String: String]) -> [String: String] { columns.filter { !seen.contains($0.value) } }

        mutating func next(_ kind: RecordKind<Row>, _ columns: [String: String], _ report: inout ReadReport) throws(RecordError) -> Row? {
            while let item = try scanner.next() {
                items += 1
                do throws(RowFault) {
                    let view = try RowView(item.value.get(), columns: columns)
                    if firstKeys == nil { firstKeys = Array(view.object.keys.prefix(12)) }
                    if seen.count < columns.count { for name in columns.values where view.object[name] != nil { seen.insert(name) } }
                    let row = try kind.interpret(view, RowOrigin(file: path, line: item.line))
                    good += 1
                    counts[kind.shape(row), default: 0] += 1
                    if wanted?.contains(good - 1) ?? true { return row }
                } catch {
                    guard notes else { continue }
                    report.badRowCount += 1
                    if report.badRows.count < BadRow.named {
                        report.badRows.append(BadRow(file: path, line: item.line, reason: error.reason, remedy: error.remedy))
                    }
                }
            }
            return nil
        }
    }
}
