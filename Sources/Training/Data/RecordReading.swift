import PreferenceData

/// Records of files, as a stage's settings ask for them.
enum RecordReading {
    /// - Throws: `RecordError`, before anything is trained; `SettingError` for columns that say nothing.
    static func pairs(_ files: [String], settings: TrainingSettings) throws -> (rows: [PreferencePair], preflight: Preflight) {
        let read = try Records.pairs(
            files.map(RecordFile.parse), columns: settings.columnNames(), onBadRow: settings.readerPolicy, seed: UInt64(settings.seed))
        return (read.rows, Preflight(read.report))
    }

    static func completions(_ files: [String], settings: TrainingSettings) throws -> (rows: [LabelledCompletion], preflight: Preflight) {
        let read = try Records.unpaired(
            files.map(RecordFile.parse), columns: settings.columnNames(), onBadRow: settings.readerPolicy, seed: UInt64(settings.seed))
        return (read.rows, Preflight(read.report))
    }

    static func examples(_ files: [String], settings: TrainingSettings) throws -> (rows: [SupervisedExample], preflight: Preflight) {
        let read = try Records.supervised(
            files.map(RecordFile.parse), columns: settings.columnNames(), onBadRow: settings.readerPolicy, seed: UInt64(settings.seed))
        return (read.rows, Preflight(read.report))
    }

    static func prompts(_ files: [String], settings: TrainingSettings) throws -> (rows: [(prompt: Content, answer: String?, origin: RowOrigin)], preflight: Preflight) {
        let read = try Records.prompts(
            files.map(RecordFile.parse), columns: settings.columnNames(), onBadRow: settings.readerPolicy, seed: UInt64(settings.seed))
        return (read.rows, Preflight(read.report))
    }
}

extension TrainingSettings {
    var readerPolicy: OnBadRow { onBadRow == .skip ? .skip : .stop }

    /// `--columns prompt=question,chosen=better` as a table.
    public func columnNames() throws(SettingError) -> [String: String] {
        var names: [String: String] = [:]
        for part in (columns ?? "").split(separator: ",") {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard sides.count == 2, !sides[0].isEmpty, !sides[1].isEmpty, names[sides[0]] == nil else {
                throw .badValue(setting: "columns", found: String(part), expected: "our name and the file's, such as prompt=question")
            }
            names[sides[0]] = sides[1]
        }
        return names
    }
}

extension Preflight {
    init(_ report: ReadReport) {
        self.init()
        shapes = report.shapes.map { ($0.shape.rawValue, $0.count) }
        badRows = report.badRows.map { Dropped(origin: "\($0.file):\($0.line)", reason: "\($0.reason) \($0.remedy)") }
        badRowCount = report.badRowCount
    }
}
