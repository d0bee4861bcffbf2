import Dispatch
import Foundation
import Serialization
import Synchronization

/// What became of one file's rows.
public struct ImportReport: Sendable {
    public var file: String
    /// SHA-256 of the file's bytes, as they lie on the disk.
    public var hash = ""
    /// Rows in the file, good and bad.
    public var rows = 0
    /// Rows of each shape, the most frequent first.
    public var shapes: [(shape: RecordShape, count: Int)] = []
    /// What the rows came to; a row may come to several.
    public var counts = WriteCounts()
    /// The first bad rows.
    public var badRows: [BadRow] = []
    public var badRowCount = 0

    init(file: String) { self.file = file }
}

/// Reads files in any of the known shapes and hands their rows on in batches; `PreferenceStore.importFile` writes them.
public struct RowReader: Sendable {
    public var format = ImportFormat.auto
    /// Canonical name to the file's.
    public var columns: [String: String] = [:]
    /// How many bad rows are named; the rest are counted.
    public var named = BadRow.named
    /// Rows that are read before a batch is handed on: `sort` then brings them into the order of the store.
    public var batch = 250_000
    /// Bytes of text after which a batch is handed on earlier.
    public var batchBytes = 256 << 20

    /// Rows are looked at, and neither hashed nor handed on.
    private var isCheck = false

    public init() {}

    /// Rows parsed at once, by all threads.
    private static let slice = 4096
    /// Bytes of them: values take many times the memory of their text.
    private static let sliceBytes = 16 << 20

    private struct Parsed: Sendable {
        var shape: RecordShape?
        var rows: [AddressedRow] = []
        var fault: RowFault?
        /// A message of a thread, which the whole file must be known for.
        var message: JSON?
    }

    /// Reads a file to its end for what is wrong with it, and keeps nothing of it.
    func check(_ file: String) throws -> ImportReport {
        var reader = self
        reader.isCheck = true
        return try reader.read(file) { _, _ in }
    }

    /// - Parameter take: Gets rows in the file's order.
    func read(_ file: String, _ take: ([AddressedRow], StoredSource) throws -> Void) throws -> ImportReport {
        for name in columns.keys.sorted() where !RecordShape.fields.contains(name) {
            throw RecordError.unknownColumn(name: name, known: RecordShape.fields.sorted())
        }
        var report = ImportReport(file: file)
        let text = try RecordText(file, hashes: !isCheck)
        report.hash = text.hash
        var scanner = try RecordScanner(text)
        let stem = String((file as NSString).lastPathComponent.prefix { $0 != "." })
        let context = ImportContext(source: StoredSource(id: text.hash, name: file), annotator: stem)
        var shapes: [RecordShape: Int] = [:]
        var threads = ThreadCollector()
        var judges = UnnamedJudges(annotator: context.annotator)
        var (waiting, waitingBytes) = ([AddressedRow](), 0)
        var isEmpty = true
        while true {
            var pieces: [RecordScanner.Piece] = []
            var size = 0
            while pieces.count < Self.slice, size < Self.sliceBytes, let piece = try scanner.nextPiece() {
                pieces.append(piece)
                size += piece.size
            }
            if pieces.isEmpty { break }
            isEmpty = false
            for (line, parsed) in parse(pieces, scanner, file, context) {
                report.rows += 1
                do throws(RowFault) {
                    if let fault = parsed.fault { throw fault }
                    if let message = parsed.message { try threads.add(RowView(message, columns: columns), line: line) }
                } catch {
                    report.note(error, line: line, named: named)
                    continue
                }
                if let shape = parsed.shape { shapes[shape, default: 0] += 1 }
                for row in parsed.rows { waiting.append(row.isUnnamed ? judges.named(row) : row) }
                waitingBytes += parsed.rows.reduce(0) { $0 + $1.size }
            }
            if waiting.count >= batch || waitingBytes >= batchBytes {
                try take(waiting, context.source)
                (waiting, waitingBytes) = ([], 0)
            }
        }
        if isEmpty { throw RecordError.emptyFile(file: file) }
        let dialogues = threads.dialogues()
        for (line, fault) in dialogues.faults { report.note(fault, line: line, named: named) }
        waiting += dialogues.rows.map { AddressedRow($0.row, line: $0.line) }
        if !waiting.isEmpty { try take(waiting, context.source) }
        report.shapes = shapes.map { (shape: $0.key, count: $0.value) }.sorted { ($1.count, $0.shape.rawValue) < ($0.count, $1.shape.rawValue) }
        return report
    }

    /// Parses and hashes pieces on all processors; results stay in their order.
    private func parse(_ pieces: [RecordScanner.Piece], _ scanner: RecordScanner, _ file: String, _ context: ImportContext) -> [(line: Int, parsed: Parsed)] {
        let chunk = 128
        let results = Mutex([Int: [(line: Int, parsed: Parsed)]]())
        let chunks = (pieces.count + chunk - 1) / chunk
        DispatchQueue.concurrentPerform(iterations: chunks) { number in
            let part = pieces[number * chunk..<min(pieces.count, (number + 1) * chunk)].map { piece in
                let item = scanner.item(piece)
                return (line: item.line, parsed: parse(item, file, context))
            }
            results.withLock { $0[number] = part }
        }
        return results.withLock { results in (0..<chunks).flatMap { results[$0] ?? [] } }
    }

    private func parse(_ item: RecordScanner.Item, _ file: String, _ context: ImportContext) -> Parsed {
        do throws(RowFault) {
            let value = try item.value.get()
            let view = try RowView(value, columns: columns)
            if [.auto, .examples].contains(format), ThreadCollector.matches(view) { return Parsed(shape: .thread, message: value) }
            let (shape, rows) = try ImportShape.read(view, RowOrigin(file: file, line: item.line), context, format: format)
            return Parsed(shape: shape, rows: isCheck ? [] : rows.map { AddressedRow($0, line: item.line, unnamed: context.annotator) })
        } catch { return Parsed(fault: error) }
    }
}

extension ImportReport {
    mutating func note(_ fault: RowFault, line: Int, named: Int) {
        badRowCount += 1
        if badRows.count < named { badRows.append(BadRow(file: file, line: line, reason: fault.reason, remedy: fault.remedy)) }
    }
}

extension PreferenceStore {
    /// Takes a file's rows in; what the store has already, by content, stays as it is.
    ///
    /// A process that is killed leaves whole rows behind, and importing again adds the rest.
    /// - Parameter onBadRow: `.stop` reads on to the end, and throws `RecordError.badRows` without writing anything of the file. One longer than a
    ///   batch is gone through once before the first row is written.
    /// - Throws: `RecordError` for the file, `StoreError` for the store.
    public func importFile(_ file: String, with reader: RowReader = RowReader(), onBadRow: OnBadRow = .stop, at time: String) throws -> ImportReport {
        var counts = WriteCounts()
        let held = Held()
        var isChecked = onBadRow == .skip
        var report = try reader.read(file) { rows, source in
            // The first batch waits for the verdict on the whole file, which the second one says is long.
            guard let (rows, source) = held.exchange((rows, source)) else { return }
            if !isChecked {
                let check = try reader.check(file)
                if check.badRowCount > 0 { throw RecordError.badRows(check.badRows, total: check.badRowCount) }
                isChecked = true
            }
            try write(rows, source: source, at: time, into: &counts)
        }
        if report.badRowCount > 0, onBadRow == .stop || report.badRowCount == report.rows { throw RecordError.badRows(report.badRows, total: report.badRowCount) }
        if let (rows, source) = held.exchange(nil) { try write(rows, source: source, at: time, into: &counts) }
        report.counts = counts
        return report
    }
}

/// A batch that waits.
private final class Held {
    private var batch: (rows: [AddressedRow], source: StoredSource)?
    func exchange(_ next: (rows: [AddressedRow], source: StoredSource)?) -> (rows: [AddressedRow], source: StoredSource)? {
        defer { batch = next }
        return batch
    }
}
