import PreferenceData

extension RecordBatches {
    /// Records of files, as a stage's settings ask for them.
    /// - Throws: `RecordError`; `SettingError` for columns that say nothing.
    init(_ kind: RecordKind<Row>, _ files: [String], settings: TrainingSettings) throws {
        self = try RecordBatches(
            kind, files.map(RecordFile.parse), columns: settings.columnNames(), onBadRow: settings.readerPolicy, seed: UInt64(settings.seed))
    }
}

extension PreparedRows {
    /// Reads files to their end, a batch of records at a time.
    /// - Throws: What reading throws, before what encoding has against a row.
    mutating func read<Record: Sendable>(
        _ kind: RecordKind<Record>, _ files: [String], settings: TrainingSettings, _ take: (inout PreparedRows, [Record]) throws -> Void
    ) throws {
        var batches = try RecordBatches(kind, files, settings: settings)
        while let batch = try batches.next() { try take(&self, batch) }
        preflight.note(try batches.finish())
        try finish()
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
