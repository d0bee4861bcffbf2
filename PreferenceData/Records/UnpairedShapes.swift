import Serialization

/// A completion of a prompt, and whether it is desirable.
public struct LabelledCompletion: Sendable, Equatable {
    public var prompt: Content
    public var completion: Content
    public var isDesirable: Bool
    public var origin: RowOrigin
    public var shape: RecordShape
    /// The text as written, where messages were parsed out of transcripts: for training without a chat template.
    public var raw: (prompt: String, completion: String)? { rawPrompt.flatMap { prompt in rawCompletion.map { (prompt, $0) } } }
    /// The row's `tools`, as the file has them.
    public var tools: JSON?
    private var rawPrompt: String?, rawCompletion: String?

    init(prompt: Content, completion: Content, isDesirable: Bool, origin: RowOrigin, shape: RecordShape, tools: JSON?) {
        (self.prompt, self.completion, self.isDesirable) = (prompt, completion, isDesirable)
        (self.origin, self.shape, self.tools) = (origin, shape, tools)
    }

    /// One side of a pair.
    public init(_ pair: PreferencePair, chosen: Bool) {
        self.init(
            prompt: pair.prompt, completion: chosen ? pair.chosen : pair.rejected, isDesirable: chosen, origin: pair.origin, shape: pair.shape,
            tools: pair.tools)
        rawPrompt = pair.raw?.prompt
        rawCompletion = chosen ? pair.raw?.chosen : pair.raw?.rejected
    }
}

/// What a row says of single completions: one with its label, or the two sides of a pair.
public struct LabelledRecord: Sendable {
    public var desirable: LabelledCompletion?, undesirable: LabelledCompletion?
    public var shape: RecordShape

    /// Its completion, if it is no pair.
    public var single: LabelledCompletion? { desirable == nil || undesirable == nil ? desirable ?? undesirable : nil }
}

/// Reads a row as completions with labels: one with its own, or the two sides of a pair.
enum UnpairedShapes {
    typealias Row = LabelledRecord

    static func read(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> Row {
        let labelled: LabelledCompletion
        if row.has("prompt_ids", "completion_ids") {
            labelled = try LabelledCompletion(
                prompt: .tokens(row.tokens("prompt_ids")), completion: .tokens(row.tokens("completion_ids")), isDesirable: label(row), origin: origin,
                shape: .labelledTokens, tools: nil)
        } else if row.has("label") || row.has("kto_tag") {
            let example = try SupervisedShapes.read(row, origin)
            let (prompt, completion) = try split(example)
            labelled = try LabelledCompletion(
                prompt: prompt, completion: completion, isDesirable: label(row), origin: origin, shape: .labelledCompletion, tools: example.tools)
        } else if row.has("chosen", "rejected") || row.has("chosen_ids", "rejected_ids") || row.has("response_j", "response_k") {
            let pair = try PairShapes.read(row, origin)
            return Row(desirable: LabelledCompletion(pair, chosen: true), undesirable: LabelledCompletion(pair, chosen: false), shape: pair.shape)
        } else {
            throw row.unknownShape(of: RecordShape.unpaired)
        }
        if labelled.completion.isEmpty {
            throw RowFault(reason: "the completion is empty, expected something to train on.", remedy: "Leave the row out.")
        }
        return labelled.isDesirable ? Row(desirable: labelled, shape: labelled.shape) : Row(undesirable: labelled, shape: labelled.shape)
    }

    /// Of the JSON type, not of the value: 1 may be a score, and "false" is not false.
    private static func label(_ row: RowView) throws(RowFault) -> Bool {
        let field = row.has("label") ? "label" : "kto_tag"
        guard let value = row[field] else {
            throw RowFault(reason: "\"\(row.name("label"))\" is missing, expected true or false.", remedy: "Say of each completion whether it is desirable.")
        }
        guard case let .bool(label) = value else { throw row.wrongType(field, value, expected: "true or false") }
        return label
    }

    /// Of a dialogue, the last answer is the completion.
    private static func split(_ example: SupervisedExample) throws(RowFault) -> (prompt: Content, completion: Content) {
        if let prompt = example.prompt { return (prompt, example.completion) }
        if case let .messages(messages) = example.completion, messages.count > 1, messages.last?.role == "assistant" {
            return (.messages(Array(messages.dropLast())), .messages(Array(messages.suffix(1))))
        }
        throw RowFault(
            reason: "found no prompt and completion, expected {prompt, completion, label} or a dialogue that ends with an answer.",
            remedy: "Give the prompt its own field.")
    }
}

extension Records {
    /// Completions with labels. Pairs are split in two: the desirable completions of all files come first, then the undesirable ones,
    /// so that neighbours seldom have one prompt.
    public static func unpaired(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [LabelledCompletion], report: ReadReport) {
        var (rows, report) = try read(.labelled, files, columns, onBadRow, seed)
        let single = rows.compactMap(\.single)
        rows.removeAll { $0.single != nil }
        let completions = single + rows.compactMap(\.desirable) + rows.compactMap(\.undesirable)
        report.rows = completions.count
        return (completions, report)
    }
}
