import PreferenceData

/// Rows as a stage would train on them, for whoever only scores them.
public enum RowLoading {
    /// Pairs of files as token rows, in file order.
    /// - Returns: The preflight has shapes, bad, dropped and truncated rows only.
    /// - Throws: What reading and encoding them for training throws.
    public static func pairs(_ files: [String], source: ModelSource, settings: TrainingSettings) throws -> (rows: [PairRow], preflight: Preflight) {
        let encoder = try RowEncoder(source, settings: settings)
        return try encoded(.pairs, files, settings, origin: { $0.origin.place }) { try encoder.encode($0) }
    }

    /// Supervised examples of files as token rows, in file order.
    public static func examples(_ files: [String], source: ModelSource, settings: TrainingSettings) throws -> (rows: [SupervisedRow], preflight: Preflight) {
        let encoder = try RowEncoder(source, settings: settings)
        return try encoded(.supervised, files, settings, origin: { $0.origin.place }) { try encoder.encode($0) }
    }

    /// What reward models are judged by, as token rows with the records they came from, in file order.
    public static func rewards(
        _ files: [String], source: ModelSource, settings: TrainingSettings
    ) throws -> (rows: [(row: RewardRow, example: RewardExample)], preflight: Preflight) {
        let encoder = try RowEncoder(source, settings: settings)
        let labelling = RewardLabelling(margin: .column, softLabels: .column, ranksScores: true, cutsLongRows: false)
        var examples: [RewardExample] = []
        let loaded = try encoded(.rewards, files, settings, origin: { $0.origin.place }) { example in
            let encoded = try encoder.encode(example, labelling)
            if encoded.row != nil { examples.append(example) }
            return encoded
        }
        return (zip(loaded.rows, examples).map { (row: $0, example: $1) }, loaded.preflight)
    }

    /// One completion of a prompt as a reward model is trained to read it.
    /// - Parameter settings: Its template decides whether the prompt is a user message or plain text.
    /// - Returns: nil where the tokens are over `maxLength`.
    public static func completion(_ text: String, after prompt: String, source: ModelSource, settings: TrainingSettings) throws -> RewardRow? {
        let labelling = RewardLabelling(margin: .none, softLabels: .none, ranksScores: false, cutsLongRows: false)
        let example = RewardExample(
            prompt: .text(prompt), completions: [.text(text)], judgement: .scored([[nil]]), grades: [],
            origin: RowOrigin(file: "the command line", line: 1), shape: .scoredCompletion, raw: nil, tools: nil, subset: nil)
        return try RowEncoder(source, settings: settings).encode(example, labelling).row
    }

    private static func encoded<Record: Sendable, Row: TokenRow>(
        _ kind: RecordKind<Record>, _ files: [String], _ settings: TrainingSettings, origin: (Record) -> String,
        _ encode: (Record) throws -> RowEncoder.Encoded<Row>
    ) throws -> (rows: [Row], preflight: Preflight) {
        var preflight = Preflight()
        var rows: [Row] = []
        var batches = try RecordBatches(kind, files, settings: settings)
        while let records = try batches.next() {
            for record in records {
                let encoded: RowEncoder.Encoded<Row>
                do { encoded = try encode(record) } catch {
                    guard settings.onBadRow == .skip else { throw error }
                    preflight.skip(.init(origin: origin(record), reason: "\(error)"))
                    continue
                }
                if encoded.isTruncated { preflight.truncated += 1 }
                if let row = encoded.row { rows.append(row) } else {
                    preflight.drop(.init(origin: origin(record), reason: encoded.dropped ?? ""))
                }
            }
        }
        preflight.note(try batches.finish())
        return (rows, preflight)
    }
}
