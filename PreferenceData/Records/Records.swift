import Serialization

/// Reads preference pairs, supervised examples and prompts from JSON lines or JSON arrays, plain or gzipped.
///
/// Each row's shape is found from its fields, so a file may mix shapes; `ReadReport.shapes` says how many of each there were.
/// Of the files' rows a `RecordFile.weight` takes a share or copies; files come one after the other, in their order.
///
/// - `columns`: canonical name to the file's, for files that name things otherwise: `["prompt": "question"]`.
/// - `seed`: of the shares that weights take.
/// - All throw `RecordError`: for files that cannot be read, `badRows` for bad rows under `.stop`, or where none is good.
public enum Records {
    /// Preference pairs. Prompt and completions of a pair are all texts, all messages or all token ids, and its completions differ.
    /// A prompt may be an empty text (unconditional text without a chat template), but not an empty list of messages.
    ///
    /// In Human/Assistant transcripts an empty last answer is kept (it says nothing, and ends); everywhere else it is a bad row.
    public static func pairs(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [PreferencePair], report: ReadReport) {
        try read(files, columns, onBadRow, seed, shape: { $0.shape }, interpret: PairShapes.read)
    }

    /// Texts to imitate. Of `{messages}` and `{conversations}` the prompt is nil and the completion the whole dialogue.
    public static func supervised(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [SupervisedExample], report: ReadReport) {
        try read(files, columns, onBadRow, seed, shape: { $0.shape }, interpret: SupervisedShapes.read)
    }

    /// Prompts to be answered; rows of pairs and examples give theirs. An answer is what the row knows to be right, for rewards that compare.
    public static func prompts(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [(prompt: Content, answer: String?, origin: RowOrigin)], report: ReadReport) {
        let (rows, report) = try read(files, columns, onBadRow, seed, shape: { $0.shape }, interpret: PromptShapes.read)
        return (rows.map { (prompt: $0.content, answer: $0.answer, origin: $0.origin) }, report)
    }

    // MARK: Reading

    static func read<Row>(
        _ files: [RecordFile], _ columns: [String: String], _ onBadRow: OnBadRow, _ seed: UInt64,
        shape: (Row) -> RecordShape, interpret: (RowView, RowOrigin) throws(RowFault) -> Row
    ) throws(RecordError) -> (rows: [Row], report: ReadReport) {
        for name in columns.keys.sorted() where !RecordShape.fields.contains(name) {
            throw .unknownColumn(name: name, known: RecordShape.fields.sorted())
        }
        for file in files where !(file.weight > 0 && file.weight <= RecordFile.largestWeight) {
            throw .badWeight(file: file.path, weight: file.weight)
        }
        var rows: [Row] = []
        var report = ReadReport()
        var counts: [RecordShape: Int] = [:]
        for (number, file) in files.enumerated() {
            let found = try self.rows(of: file.path, columns, &report, interpret: interpret)
            for row in found { counts[shape(row), default: 0] += 1 }
            report.rowsRead += found.count
            report.files.append(file.path)
            if file.weight == 1 {
                rows.append(contentsOf: found)
            } else {
                rows.append(contentsOf: file.selection(of: found.count, fileNumber: number, seed: seed).map { found[$0] })
            }
        }
        if report.badRowCount > 0, onBadRow == .stop || report.rowsRead == 0 {
            throw .badRows(report.badRows, total: report.badRowCount)
        }
        report.rows = rows.count
        report.shapes = counts.map { (shape: $0.key, count: $0.value) }.sorted { ($1.count, $0.shape.rawValue) < ($0.count, $1.shape.rawValue) }
        return (rows, report)
    }

    private static func rows<Row>(
        of file: String, _ columns: [String: String], _ report: inout ReadReport,
        interpret: (RowView, RowOrigin) throws(RowFault) -> Row
    ) throws(RecordError) -> [Row] {
        var scanner = RecordScanner(try RecordBytes.load(file))
        var rows: [Row] = []
        var items = 0
        var missing = columns
        var firstKeys: [String]?
        while let item = scanner.next() {
            items += 1
            do throws(RowFault) {
                let view = try RowView(item.value.get(), columns: columns)
                if firstKeys == nil { firstKeys = Array(view.object.keys.prefix(12)) }
                if !missing.isEmpty { missing = missing.filter { view.object[$0.value] == nil } }
                rows.append(try interpret(view, RowOrigin(file: file, line: item.line)))
            } catch {
                report.badRowCount += 1
                if report.badRows.count < BadRow.named {
                    report.badRows.append(BadRow(file: file, line: item.line, reason: error.reason, remedy: error.remedy))
                }
            }
        }
        guard items > 0 else { throw .emptyFile(file: file) }
        if let firstKeys, let (name, column) = missing.min(by: { $0.key < $1.key }) {
            throw .missingColumn(file: file, name: name, column: column, found: firstKeys)
        }
        return rows
    }
}
