/// Rows as a stage would train on them, for whoever only scores them.
public enum RowLoading {
    /// Pairs of files as token rows, in file order.
    /// - Returns: The preflight has shapes, bad, dropped and truncated rows only.
    /// - Throws: What reading and encoding them for training throws.
    public static func pairs(_ files: [String], source: ModelSource, settings: TrainingSettings) throws -> (rows: [PairRow], preflight: Preflight) {
        let encoder = try RowEncoder(source, settings: settings)
        let read = try RecordReading.pairs(files, settings: settings)
        return try encoded(read.rows, read.preflight, settings, origin: { $0.origin.place }) { try encoder.encode($0) }
    }

    /// Supervised examples of files as token rows, in file order.
    public static func examples(_ files: [String], source: ModelSource, settings: TrainingSettings) throws -> (rows: [SupervisedRow], preflight: Preflight) {
        let encoder = try RowEncoder(source, settings: settings)
        let read = try RecordReading.examples(files, settings: settings)
        return try encoded(read.rows, read.preflight, settings, origin: { $0.origin.place }) { try encoder.encode($0) }
    }

    private static func encoded<Record: Sendable, Row: TokenRow>(
        _ records: [Record], _ preflight: Preflight, _ settings: TrainingSettings, origin: (Record) -> String,
        _ encode: (Record) throws -> RowEncoder.Encoded<Row>
    ) throws -> (rows: [Row], preflight: Preflight) {
        var preflight = preflight
        var rows: [Row] = []
        for record in records {
            let encoded: RowEncoder.Encoded<Row>
            do { encoded = try encode(record) } catch {
                guard settings.onBadRow == .skip else { throw error }
                preflight.badRows.append(.init(origin: origin(record), reason: "\(error)"))
                continue
            }
            if encoded.isTruncated { preflight.truncated += 1 }
            if let row = encoded.row { rows.append(row) } else {
                preflight.dropped.append(.init(origin: origin(record), reason: encoded.dropped ?? ""))
            }
        }
        return (rows, preflight)
    }
}
