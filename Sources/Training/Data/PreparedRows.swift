import PreferenceData
import Serialization
import Tensors
import Tokenizers

/// Token rows of the files of one setting, with what was found on the way.
struct PreparedRows<Row: TokenRow> {
    var rows: RowList<Row>
    var preflight = Preflight()
    /// Rows that come behind those of `rows` once all are read, list by list.
    private var later: [RowList<Row>] = []
    /// The first rows that cannot be encoded, where they are not skipped, and how many there are.
    private var failures: [(origin: String, error: any Error)] = []
    private var failureCount = 0
    /// Rows are encoded in parallel.
    private let compute: Compute
    private let skipsBadRows: Bool

    /// - Parameters:
    ///   - scratch: Where the rows go.
    ///   - skipsBadRows: A row that cannot be encoded is listed instead of thrown.
    init(in scratch: ScratchFile, skipsBadRows: Bool, on compute: Compute) {
        rows = RowList(scratch)
        (self.skipsBadRows, self.compute) = (skipsBadRows, compute)
    }

    init(in context: StageContext, scratch: ScratchFile, settings: TrainingSettings) {
        self.init(in: scratch, skipsBadRows: settings.onBadRow == .skip, on: context.compute)
    }

    /// Encodes records, of which there may be more to come; results stay in their order.
    /// - Parameter list: Rows of list 1 come behind all of list 0, and so on.
    mutating func encode<Record: Sendable>(
        _ records: [Record], into list: Int = 0, origin: (Record) -> String, _ encode: (Record) throws -> RowEncoder.Encoded<Row>
    ) throws {
        var results = [Result<RowEncoder.Encoded<Row>, any Error>?](repeating: nil, count: records.count)
        results.withUnsafeMutableBufferPointer { results in
            let slots = results
            compute.parallel(records.count) { index in
                slots[index] = Result { try encode(records[index]) }
            }
        }
        for (record, result) in zip(records, results) {
            switch result {
            case nil: preconditionFailure("a row of \(records.count) was not encoded")
            case let .failure(error)? where !skipsBadRows:
                failureCount += 1
                if failures.count < BadRow.named { failures.append((origin(record), error)) }
            case let .failure(error)?: preflight.skip(.init(origin: origin(record), reason: "\(error)"))
            case let .success(encoded)?:
                if encoded.isTruncated { preflight.truncated += 1 }
                if encoded.isMerged { preflight.boundaryMerges += 1 }
                if let row = encoded.row { try append(row, to: list) } else {
                    preflight.drop(.init(origin: origin(record), reason: encoded.dropped ?? ""))
                }
            }
        }
    }

    private mutating func append(_ row: Row, to list: Int) throws {
        guard list > 0 else { return try rows.append(row) }
        while later.count < list { later.append(rows.filter { _ in false }) }
        try later[list - 1].append(row)
    }

    /// Puts the lists together, once all records were encoded.
    /// - Throws: The first of the rows that cannot be encoded, the others named in its remedy.
    mutating func finish() throws {
        for list in later { rows = rows + list }
        later = []
        guard let first = failures.first else { return }
        guard failureCount > 1, case let .badRow(origin, found, expected, remedy)? = first.error as? TrainingError else { throw first.error }
        let others = failures.dropFirst().map { failure in
            guard case let .badRow(_, found, _, _)? = failure.error as? TrainingError else { return "\(failure.origin): \(failure.error)" }
            return "\(failure.origin): \(found)"
        }
        let more = failureCount > failures.count ? ["… and \(failureCount - failures.count) more"] : []
        throw TrainingError.badRow(
            origin: origin, found: found, expected: expected,
            remedy: remedy + " \(failureCount) rows fail; --on-bad-row skip leaves them out. The others:\n" + (others + more).joined(separator: "\n"))
    }

    /// Takes a share of the prompts out, drawn from `seed`: at least one, and never all.
    mutating func holdOut(_ share: Double, seed: Int) throws -> RowList<Row> {
        let none = rows.filter { _ in false }
        guard share > 0 else { return none }
        // Of prompts no more than a hash is kept, and of rows no more than their prompt's number.
        var numbers: [[UInt8]: Int32] = [:]
        var groups: [Int32] = []
        try rows.forEach { _, row in
            var hasher = SHA256Hasher()
            row.splitKey.withUnsafeBytes { hasher.update($0) }
            let next = Int32(clamping: numbers.count)
            let key = Array(hasher.finalized().prefix(16))
            groups.append(numbers[key, default: next])
            if groups.last == next { numbers[key] = next }
        }
        guard numbers.count > 1 else { return none }
        let count = min(numbers.count - 1, max(1, Int((share * Double(numbers.count)).rounded())))
        var stream = RandomStream(seed: UInt64(seed), stream: RandomStreamID.split, index: 0)
        let heldOut = Set(stream.permutation(numbers.count).prefix(count).map { Int32(clamping: $0) })
        let held = rows.filter { heldOut.contains(groups[$0]) }
        rows = rows.filter { !heldOut.contains(groups[$0]) }
        return held
    }
}

extension TrainingSettings {
    /// The file that `--template` names, if it names one.
    var templateFile: String? { ["auto", "none"].contains(template) ? nil : template }

    static func templateText(_ file: String) throws(RunError) -> String {
        guard let text = String(validating: try DurableFiles.read(file), as: UTF8.self) else {
            throw .io(path: file, operation: "read it", reason: "it is not UTF-8 text")
        }
        return text
    }
}

extension RowEncoder {
    /// The encoder that a model and `--template`, `--max-length` ask for.
    init(_ source: ModelSource, settings: TrainingSettings) throws {
        switch settings.template {
        case "auto": template = source.template
        case "none": template = nil
        case let file: template = try ChatTemplate(source: TrainingSettings.templateText(file))
        }
        tokenizer = source.tokenizer
        variables = source.templateVariables
        model = source.path
        vocabularySize = source.vocabularySize
        maxLength = min(settings.maxLength, source.maxPositions ?? settings.maxLength)
    }

    /// How rows become text, in words.
    func templateDescription(_ settings: TrainingSettings) -> String {
        switch settings.template {
        case "auto": template == nil ? "none: the model has no chat template, text stays raw" : "the model's chat template"
        case "none": "none: text stays raw"
        case let file: file
        }
    }

    /// Tokens as text, those that the loss counts between ⟦ and ⟧.
    func marked(_ ids: [Int32], _ mask: [Bool]) -> String {
        var text = ""
        var start = 0
        while start < ids.count {
            let end = (start..<ids.count).first { mask[$0] != mask[start] } ?? ids.count
            let part = Array(ids[start..<end])
            let piece = tokenizer?.decode(part, skipSpecialTokens: false) ?? part.map(String.init).joined(separator: " ")
            text += mask[start] ? "⟦\(piece)⟧" : piece
            start = end
        }
        return text
    }
}
