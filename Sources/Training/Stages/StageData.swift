import Foundation
import Models
import PreferenceData

/// A stage's rows, those held out, and what to say of them.
struct StageData<Row: TokenRow> {
    var rows: RowList<Row>
    var heldOut: RowList<Row>
    var preflight: Preflight

    /// - Parameter held: Rows of `--eval-data`; nil takes `--eval-split` of the training rows.
    /// - Throws: `TrainingError.noRows`.
    init(_ prepared: PreparedRows<Row>, held: PreparedRows<Row>?, settings: TrainingSettings) throws {
        var prepared = prepared
        heldOut = try held?.rows ?? prepared.holdOut(settings.evalSplit, seed: settings.seed)
        rows = prepared.rows
        preflight = prepared.preflight
        if let held { preflight.add(held.preflight) }
        guard !rows.isEmpty else {
            throw TrainingError.noRows(
                dropped: preflight.droppedCount, reason: preflight.dropped.first.map { "\($0.origin): \($0.reason)" } ?? "the files have none")
        }
        if let held, held.rows.isEmpty { throw TrainingError.noRows(dropped: held.preflight.droppedCount, reason: "--eval-data has none to evaluate on") }
    }

    /// The training rows, and behind them those held out.
    var all: RowList<Row> { rows + heldOut }

    /// Fills the preflight.
    /// - Parameters:
    ///   - lengths: Names of a row's parts, and what reads their tokens' counts off it: a row may have several of a part.
    ///   - sizes: Of a row: tokens in the batch, log-probs, tokens of a plain implementation.
    ///   - isIdentical: Whether it teaches nothing, its completions being the same.
    mutating func describe(
        stage: String, source: ModelSource, settings: TrainingSettings, template: String, lengths: [(name: String, counts: (Row) -> [Int])],
        sizes: (Row) -> (tokens: Int, scored: Int, plain: Int), isIdentical: (Row) -> Bool = { _ in false }, example: (Row) -> String
    ) throws {
        preflight.stage = stage
        preflight.rows = rows.count
        preflight.evalRows = heldOut.count
        preflight.heldOutPrompts = try heldOut.prefix(8).map(\.splitKey)
        preflight.template = template
        preflight.stepsPerEpoch = settings.stepsPerEpoch(rows: rows.count)
        preflight.steps = settings.totalSteps(rows: rows.count)
        var counts = lengths.map { _ in [Int32]() }
        var largest = LargestRows(settings.batchSize)
        try rows.forEach { _, row in
            for (part, length) in lengths.enumerated() { counts[part] += length.counts(row).map { Int32(clamping: $0) } }
            let size = sizes(row)
            preflight.tokensPerEpoch += size.plain
            largest.add(size.tokens, size.scored)
            if isIdentical(row) { preflight.identicalPairs += 1 }
        }
        try heldOut.forEach { _, row in
            let size = sizes(row)
            largest.add(size.tokens, size.scored)
        }
        preflight.lengths = zip(lengths, counts).map { Preflight.Lengths($0.name, $1) }
        preflight.memoryEstimate = source.memoryEstimate(.training, largest.tokens, largest.scored)
        preflight.example = try example(rows.row(0))
        (preflight.rowsOnDisk, preflight.rowsInMemory) = (rows.fileBytes, all.memory)
    }
}

/// The micro-step that would hold the longest rows: no order of rows needs more.
private struct LargestRows {
    private let count: Int
    private var sizes: [(tokens: Int, scored: Int)] = []

    init(_ count: Int) { self.count = count }

    mutating func add(_ tokens: Int, _ scored: Int) {
        // The longest first; of equals the earlier one.
        guard sizes.count < count || tokens > sizes[count - 1].tokens else { return }
        sizes.insert((tokens, scored), at: sizes.firstIndex { $0.tokens < tokens } ?? sizes.count)
        if sizes.count > count { sizes.removeLast() }
    }

    var tokens: Int { sizes.reduce(0) { $0 + $1.tokens } }
    var scored: Int { sizes.reduce(0) { $0 + $1.scored } }
}

extension Preflight {
    /// With the time that training will take, from one micro-step forward and backward.
    func measured(_ task: any TrainingTask, source: ModelSource, settings: TrainingSettings) throws -> Preflight {
        let policy = try source.load(true)
        var order = BatchOrder(rows: task.rowCount, settings: settings)
        let rows = order.microBatches(of: 0)[0]
        let batch = try task.holding(rows).batch(rows)
        var seconds = 0.0
        // The first pass touches fresh memory; the second is what training is like.
        for _ in 0..<2 {
            let start = ContinuousClock.now
            let scores = try policy.logProbs(of: batch)
            try policy.backward(ScoreGradient(
                logProbs: scores.logProbs.values.map { _ in 0 }, readouts: scores.readouts.map { _ in 0 }))
            let elapsed = (ContinuousClock.now - start).components
            seconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
            if seconds > 10 { break }
        }
        var measured = self
        let tokens = Double(tokensPerEpoch) * Double(steps) / Double(max(1, stepsPerEpoch))
        measured.timeEstimate = seconds / Double(max(1, batch.plainTokenCount)) * tokens
        return measured
    }
}

extension StageContext {
    /// The model that `--model` names, or the default one.
    func model(_ settings: TrainingSettings) throws -> ModelSource {
        guard let path = settings.model ?? defaultModel else { throw TrainingError.missingModel }
        return try openModel(path, settings)
    }

    /// The same, of a stage that asks it for log-probs.
    /// - Throws: `ModelError.noLanguageHead`.
    func languageModel(_ settings: TrainingSettings) throws -> ModelSource { try model(settings).predicting() }

    /// A model whose log-probs or logits are held against those of `policy`: a reference, a teacher.
    /// - Throws: `ModelError.noLanguageHead`, `TrainingError.otherTokens` if its ids do not mean what the policy's do.
    func companion(_ path: String, of policy: ModelSource, _ settings: TrainingSettings) throws -> ModelSource {
        let model = try openModel(path, settings).predicting()
        if let theirs = model.tokenizer, let ours = policy.tokenizer,
            let id = (0..<Int32(min(ours.vocabularySize, policy.vocabularySize))).first(where: { theirs.token($0) != ours.token($0) }) {
            throw TrainingError.otherTokens(model: model.path, id: Int(id), found: theirs.token(id) ?? "", expected: ours.token(id) ?? "")
        }
        return model
    }

    /// Where a stage's token rows go.
    func scratch() -> ScratchFile { ScratchFile(near: (runPath as NSString).deletingLastPathComponent, memoryLimit: rowMemory) }
}

extension ModelSource {
    fileprivate func predicting() throws -> ModelSource {
        guard predictsTokens else { throw ModelError.noLanguageHead(architecture: path) }
        return self
    }

    /// Bytes of this model beside one that trains; their activations take turns.
    func bytesBeside(_ use: Use) -> Int { memoryEstimate(use, 0, 0).map { max(0, $0 - Transformer.processBytes) } ?? 0 }
}

extension RowOrigin {
    /// `file:line`; what came from no file has no line.
    var place: String { line > 0 ? "\(file):\(line)" : file }
}
