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
        try read(.pairs, files, columns, onBadRow, seed)
    }

    /// Texts to imitate. Of `{messages}` and `{conversations}` the prompt is nil and the completion the whole dialogue.
    public static func supervised(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [SupervisedExample], report: ReadReport) {
        try read(.supervised, files, columns, onBadRow, seed)
    }

    /// Prompts to be answered; rows of pairs and examples give theirs. An answer is what the row knows to be right, for rewards that compare.
    public static func prompts(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [PromptRecord], report: ReadReport) {
        try read(.prompts, files, columns, onBadRow, seed)
    }

    /// All rows of a kind.
    static func read<Row>(
        _ kind: RecordKind<Row>, _ files: [RecordFile], _ columns: [String: String], _ onBadRow: OnBadRow, _ seed: UInt64
    ) throws(RecordError) -> (rows: [Row], report: ReadReport) {
        var batches = try RecordBatches(kind, files, columns: columns, onBadRow: onBadRow, seed: seed)
        var rows: [Row] = []
        while let batch = try batches.next() { rows += batch }
        return (rows, try batches.finish())
    }
}
