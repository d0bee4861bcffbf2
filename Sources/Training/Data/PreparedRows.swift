import PreferenceData
import Serialization
import Tensors
import Tokenizers

/// A row of token ids that a stage trains on.
protocol TokenRow: Sendable {
    /// What decides to which side of a split the row goes: rows with one prompt stay together.
    var splitKey: [Int32] { get }
    /// All tokens, parts apart, for the hash of the data.
    var parts: [[Int32]] { get }
}

extension PairRow: TokenRow {
    var splitKey: [Int32] { prompt }
    var parts: [[Int32]] { [prompt, chosen, rejected] + [chosenMask, rejectedMask].compactMap { $0?.map { $0 ? 1 : 0 } } }
}

extension UnpairedRow: TokenRow {
    var splitKey: [Int32] { prompt }
    var parts: [[Int32]] { [prompt, completion, [isDesirable ? 1 : 0]] + [mask].compactMap { $0?.map { $0 ? 1 : 0 } } }
}

extension SupervisedRow: TokenRow {
    var splitKey: [Int32] { Array(tokens.prefix(mask.firstIndex(of: true) ?? tokens.count)) }
    var parts: [[Int32]] { [tokens, mask.map { $0 ? 1 : 0 }] }
}

/// Token rows of the files of one setting, with what was found on the way.
struct PreparedRows<Row: TokenRow> {
    var rows: [Row] = []
    var preflight = Preflight()

    /// Encodes `records` in parallel; results stay in their order.
    /// - Parameter skipsBadRows: A row that cannot be encoded is listed instead of thrown.
    mutating func encode<Record: Sendable>(
        _ records: [Record], skipsBadRows: Bool, on compute: Compute, origin: (Record) -> String,
        _ encode: (Record) throws -> RowEncoder.Encoded<Row>
    ) throws {
        var results = [Result<RowEncoder.Encoded<Row>, any Error>?](repeating: nil, count: records.count)
        results.withUnsafeMutableBufferPointer { results in
            let slots = results
            compute.parallel(records.count) { index in
                slots[index] = Result { try encode(records[index]) }
            }
        }
        if !skipsBadRows { try PreparedRows.refuse(zip(records, results).compactMap { record, result in
            if case let .failure(error)? = result { (origin(record), error) } else { nil }
        }) }
        for (record, result) in zip(records, results) {
            switch result {
            case nil: preconditionFailure("a row of \(records.count) was not encoded")
            case let .failure(error)?:
                preflight.badRows.append(.init(origin: origin(record), reason: "\(error)"))
                preflight.badRowCount += 1
            case let .success(encoded)?:
                if encoded.isTruncated { preflight.truncated += 1 }
                if encoded.isMerged { preflight.boundaryMerges += 1 }
                if let row = encoded.row {
                    rows.append(row)
                } else {
                    preflight.dropped.append(.init(origin: origin(record), reason: encoded.dropped ?? ""))
                }
            }
        }
    }

    /// Throws the first of `failures`; up to 20 others are named in its remedy.
    private static func refuse(_ failures: [(origin: String, error: any Error)]) throws {
        guard let first = failures.first else { return }
        guard failures.count > 1, case let .badRow(origin, found, expected, remedy)? = first.error as? TrainingError else { throw first.error }
        let others = failures.dropFirst().prefix(19).map { failure in
            guard case let .badRow(_, found, _, _)? = failure.error as? TrainingError else { return "\(failure.origin): \(failure.error)" }
            return "\(failure.origin): \(found)"
        }
        let more = failures.count > 20 ? ["… and \(failures.count - 20) more"] : []
        throw TrainingError.badRow(
            origin: origin, found: found, expected: expected,
            remedy: remedy + " \(failures.count) rows fail; --on-bad-row skip leaves them out. The others:\n" + (others + more).joined(separator: "\n"))
    }

    /// Takes a share of the prompts out, drawn from `seed`: at least one, and never all.
    mutating func holdOut(_ share: Double, seed: Int) -> [Row] {
        guard share > 0 else { return [] }
        var groups: [[Int32]: Int] = [:]
        for row in rows where groups[row.splitKey] == nil { groups[row.splitKey] = groups.count }
        guard groups.count > 1 else { return [] }
        let count = min(groups.count - 1, max(1, Int((share * Double(groups.count)).rounded())))
        var stream = RandomStream(seed: UInt64(seed), stream: RandomStreamID.split, index: 0)
        let heldOut = Set(stream.permutation(groups.count).prefix(count))
        let held = rows.filter { heldOut.contains(groups[$0.splitKey] ?? -1) }
        rows.removeAll { heldOut.contains(groups[$0.splitKey] ?? -1) }
        return held
    }

    /// SHA-256 over all tokens and where parts and rows end.
    static func hash(_ rows: [Row]) -> String {
        var bytes: [UInt8] = []
        for part in rows.lazy.flatMap(\.parts) {
            for value in [Int32(part.count)] + part { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
        }
        return SHA256.hex(of: bytes)
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
