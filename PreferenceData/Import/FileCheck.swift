/// What `align data check` finds in a file.
public struct FileCheck: Sendable {
    public var report: ImportReport
    /// Rows that cannot be used; a file with any is not fit to train on.
    public var problems: [DataProblem]
    public var problemCount: Int
    /// Rows that can be used and that somebody may not have meant.
    public var warnings: [DataProblem]
    public var warningCount: Int

    /// Reads a file to its end without writing anything.
    /// - Parameter limit: Problems, and warnings, that are named; the rest are counted.
    /// - Throws: `RecordError` for a file of which no row can be told.
    public init(_ file: String, with reader: RowReader = RowReader(), limit: Int = 1000) throws {
        var reader = reader
        reader.named = limit
        var (warnings, warningCount) = ([DataProblem](), 0)
        // Hashes and lines are kept of the rows, and nothing else.
        var lines: [String: Int] = [:]
        func warn(_ line: Int?, _ reason: String, _ remedy: String) {
            warningCount += 1
            if warnings.count < limit { warnings.append(DataProblem(place: "\(file):\(line ?? 0)", reason: reason, remedy: remedy)) }
        }
        report = try reader.read(file) { rows, _ in
            for row in rows {
                if let other = lines[row.key] {
                    warn(row.line, "says the same as line \(other).", "Keep one of them.")
                } else {
                    lines[row.key] = row.line ?? 0
                }
                if let opposite = row.opposite, let other = lines[opposite] {
                    warn(row.line, "prefers what line \(other) rejects.", "Keep the one that is right, or make both of them votes.")
                }
            }
        }
        problems = report.badRows.map { DataProblem(place: "\($0.file):\($0.line)", reason: $0.reason, remedy: $0.remedy) }
        problemCount = report.badRowCount
        (self.warnings, self.warningCount) = (warnings, warningCount)
    }
}

extension AddressedRow {
    /// What two rows that say the same have in common.
    fileprivate var key: String { row.kind.rawValue + " " + (row.kind == .scores ? completions[0] : id) }

    /// The key of the comparison with the sides changed.
    fileprivate var opposite: String? {
        guard case .comparison = row else { return nil }
        return row.kind.rawValue + " " + StoredComparison.id(prompt: prompt, chosen: completions[1], rejected: completions[0])
    }
}
