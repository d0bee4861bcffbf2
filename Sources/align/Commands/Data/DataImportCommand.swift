import PreferenceData
import Serialization

/// Takes files into the preference store.
struct DataImportCommand: Command {
    static let usage = Usage(
        "data import", "Take files of preferences, labels, examples or prompts into the store.",
        [DataFlags.store] + DataFlags.reading + [
            .optional("on-bad-row", "stop|skip", "stop: nothing of a file with a bad row is taken; skip: bad rows are listed and left out", default: "stop"),
            DataFlags.json,
        ],
        positionals: [Positional(placeholder: "FILE", help: "JSON lines or a JSON array, gzipped or not", count: .any)],
        example: "align data import prefs.jsonl --on-bad-row skip",
        notes: DataFlags.shapes + """

            Rows are known by the hash of their content: importing a file twice changes nothing. Other programs can use
            the store meanwhile.
            """)

    let files: [String]
    let store: String
    let reader: RowReader
    let onBadRow: OnBadRow
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        guard !arguments.positionals.isEmpty else { throw .missingArgument(command: Self.usage.name, placeholder: "FILE", help: "what to take in") }
        files = arguments.positionals
        store = DataFlags.path(arguments)
        reader = try DataFlags.reader(arguments)
        onBadRow = try arguments.choice("on-bad-row", default: .stop)
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        for file in files where !fileExists(file) { throw CommandError.missingFile(path: file, what: "rows to import") }
        let store = try PreferenceStore(path: store)
        var reports: [ImportReport] = []
        for file in files {
            let report = try store.importFile(file, with: reader, onBadRow: onBadRow, at: DataFlags.now)
            if !isJSON { try Output.write(Self.text(report)) }
            reports.append(report)
        }
        if isJSON { try Output.line(DataFlags.document(["files": .array(reports.map(Self.json))])) }
    }

    static func text(_ report: ImportReport) -> String {
        var lines = ["\(report.file): \(grouped(report.rows)) rows"]
        lines += report.shapes.map { "  \(grouped($0.count)) \($0.shape.rawValue)" }
        lines.append("  new: \(DataFlags.text(report.counts.new)); in the store already: \(DataFlags.text(report.counts.known))")
        if report.badRowCount > 0 {
            lines.append("  left out: \(grouped(report.badRowCount)) rows")
            lines += report.badRows.map { "    \($0)" }
            if report.badRowCount > report.badRows.count { lines.append("    … and \(report.badRowCount - report.badRows.count) more ('align data check' lists all)") }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    static func json(_ report: ImportReport) -> JSON {
        [
            "file": .string(report.file), "sha256": .string(report.hash), "rows": .integer(report.rows),
            "shapes": .object(JSONObject(report.shapes.map { ($0.shape.rawValue, .integer($0.count)) })), "new": DataFlags.counts(report.counts.new),
            "known": DataFlags.counts(report.counts.known), "bad": .integer(report.badRowCount),
            "bad_rows": .array(report.badRows.map { ["line": .integer($0.line), "reason": .string($0.reason), "remedy": .string($0.remedy)] }),
        ]
    }
}
