/// A row that could not be read.
public struct BadRow: Sendable, Equatable, CustomStringConvertible {
    public var file: String
    public var line: Int
    /// What was found, and what was expected.
    public var reason: String
    public var remedy: String

    public init(file: String, line: Int, reason: String, remedy: String) {
        self.file = file
        self.line = line
        self.reason = reason
        self.remedy = remedy
    }

    public var description: String { "\(file):\(line): \(reason) \(remedy)" }
}

/// What to do about bad rows.
public enum OnBadRow: String, Sendable, CaseIterable {
    /// Read on to the end, then throw `RecordError.badRows`.
    case stop
    /// Leave them out; the report counts them.
    case skip
}

/// What was read.
public struct ReadReport: Sendable {
    /// Good rows of each shape, the most frequent first; before weights.
    public var shapes: [(shape: RecordShape, count: Int)] = []
    /// Rows handed over: after weights.
    public var rows = 0
    /// Good rows in the files: before weights.
    public var rowsRead = 0
    /// The first bad rows, at most `BadRow.named`.
    public var badRows: [BadRow] = []
    /// All bad rows.
    public var badRowCount = 0
    public var files: [String] = []
}

extension BadRow {
    /// How many bad rows are named; the rest are counted.
    public static let named = 20
}

/// Why records could not be read.
public enum RecordError: Error, Equatable {
    case unreadable(file: String, reason: String)
    case tooLarge(file: String, bytes: Int, limit: Int)
    case unsupportedFormat(file: String, found: String, remedy: String)
    case badRows([BadRow], total: Int)
    case emptyFile(file: String)
    /// `columns` maps a name that no shape has.
    case unknownColumn(name: String, known: [String])
    /// `columns` names a field that no row of the file has.
    case missingColumn(file: String, name: String, column: String, found: [String])
    case badWeight(file: String, weight: Double)
}

extension RecordError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .unreadable(file, reason):
            "\(file): cannot be read: \(reason)"
        case let .tooLarge(file, bytes, limit):
            "\(file): has \(bytes) bytes or more, at most \(limit) are read. Split it into several files and name them all."
        case let .unsupportedFormat(file, found, remedy):
            "\(file): found \(found), expected JSON lines or one JSON array, plain or gzipped. \(remedy)"
        case let .badRows(rows, total):
            rows.map(\.description).joined(separator: "\n")
                + (total > rows.count ? "\n… and \(total - rows.count) more of \(total) bad rows." : "")
                + "\nMend the \(total == 1 ? "row" : "rows"), or skip bad rows with --on-bad-row skip."
        case let .emptyFile(file):
            "\(file): found no rows, expected one JSON object a line or a JSON array of objects. Check that the file was written completely."
        case let .unknownColumn(name, known):
            "--columns: found \"\(name)\", expected one of \(known.joined(separator: ", ")). Write the known name first, then the file's: prompt=question."
        case let .missingColumn(file, name, column, found):
            "\(file): no row has the field \"\(column)\" that stands for \(name); found \(found.joined(separator: ", ")). Correct the file's name after \"\(name)=\" in --columns."
        case let .badWeight(file, weight):
            "\(file): found the weight \(weight), expected a number above 0 and at most \(Int(RecordFile.largestWeight)). Write it after the file: file.jsonl:0.5."
        }
    }
}

/// Why one row is bad; `BadRow` adds the place.
struct RowFault: Error, Equatable {
    var reason: String
    var remedy: String
}
