import PreferenceData
import Serialization

/// Says what is wrong with files, or with the store, before anything is trained on them.
struct DataCheckCommand: Command {
    static let usage = Usage(
        "data check", "Look for everything that is wrong with files or with the store; nothing is written.",
        [DataFlags.store] + DataFlags.reading + [
            .optional("limit", "N", "problems, and warnings, that are listed of each file; the rest are counted", default: "1000"), DataFlags.json,
        ],
        positionals: [Positional(placeholder: "FILE", help: "files as for data import; without any, the store is looked at", count: .any)],
        example: "align data check prefs.jsonl",
        notes: """
            Every bad row has its line, the reason and a remedy. Rows that say the same twice, or the opposite of each other,
            are warnings. Of the store: the file's structure, references, ids against contents, splits that share prompts.
            Exits with 65 if there is a problem, with 0 if there are at most warnings.
            """)

    let files: [String]
    let store: String
    let reader: RowReader
    let limit: Int
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        files = arguments.positionals
        if !files.isEmpty, arguments.optionalText("store") != nil {
            throw .conflict(command: Self.usage.name, flags: ["store"], reason: "files or the store are looked at, not both")
        }
        store = DataFlags.path(arguments)
        reader = try DataFlags.reader(arguments)
        limit = try arguments.integer("limit", in: 1...10_000_000, default: 1000, expected: "a number of problems, such as 1000")
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        var problems = 0
        if files.isEmpty {
            let found = try DataFlags.existing(store).problems(limit: limit)
            problems = found.count
            if isJSON {
                try Output.line(DataFlags.document(["store": .string(store), "problems": DataFlags.problems(found.named), "problem_count": .integer(found.count)]))
            } else {
                try Output.write(found.named.map { "\($0)\n" }.joined() + more(found.named.count, of: found.count) + (found.count == 0 ? "\(store): no problems\n" : ""))
            }
        } else {
            for file in files where !fileExists(file) { throw CommandError.missingFile(path: file, what: "rows to check") }
            var documents: [JSON] = []
            for file in files {
                let check = try FileCheck(file, with: reader, limit: limit)
                problems += check.problemCount
                if isJSON { documents.append(json(check)) } else { try Output.write(text(check)) }
            }
            if isJSON { try Output.line(DataFlags.document(["files": .array(documents)])) }
        }
        if problems > 0 { throw CommandError.problems(problems) }
    }

    private func more(_ named: Int, of count: Int) -> String { count > named ? "… and \(count - named) more\n" : "" }

    private func text(_ check: FileCheck) -> String {
        var lines = check.problems.map(\.description)
        lines += check.warnings.map { "warning: \($0)" }
        let shapes = check.report.shapes.map { "\(grouped($0.count)) \($0.shape.rawValue)" }.joined(separator: ", ")
        lines.append("\(check.report.file): \(grouped(check.report.rows)) rows, \(check.problemCount) bad, \(check.warningCount) warnings" + (shapes.isEmpty ? "" : "; \(shapes)"))
        return more(check.problems.count, of: check.problemCount) + lines.joined(separator: "\n") + "\n"
    }

    private func json(_ check: FileCheck) -> JSON {
        [
            "file": .string(check.report.file), "rows": .integer(check.report.rows),
            "shapes": .object(JSONObject(check.report.shapes.map { ($0.shape.rawValue, .integer($0.count)) })),
            "problems": DataFlags.problems(check.problems), "problem_count": .integer(check.problemCount),
            "warnings": DataFlags.problems(check.warnings), "warning_count": .integer(check.warningCount),
        ]
    }
}
