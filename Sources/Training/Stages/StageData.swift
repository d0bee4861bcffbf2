import Models
import PreferenceData

/// A stage's rows, those held out, and what to say of them.
struct StageData<Row: TokenRow> {
    var rows: [Row]
    var heldOut: [Row]
    var preflight: Preflight

    /// - Parameter held: Rows of `--eval-data`; nil takes `--eval-split` of the training rows.
    /// - Throws: `TrainingError.noRows`.
    init(_ prepared: PreparedRows<Row>, held: PreparedRows<Row>?, settings: TrainingSettings) throws(TrainingError) {
        var prepared = prepared
        heldOut = held?.rows ?? prepared.holdOut(settings.evalSplit, seed: settings.seed)
        rows = prepared.rows
        preflight = prepared.preflight
        if let held {
            preflight.badRows += held.preflight.badRows
            preflight.badRowCount += held.preflight.badRowCount
            preflight.dropped += held.preflight.dropped
            preflight.truncated += held.preflight.truncated
            preflight.boundaryMerges += held.preflight.boundaryMerges
        }
        guard !rows.isEmpty else {
            throw .noRows(dropped: preflight.dropped.count, reason: preflight.dropped.first.map { "\($0.origin): \($0.reason)" } ?? "the files have none")
        }
        if let held, held.rows.isEmpty { throw .noRows(dropped: held.preflight.dropped.count, reason: "--eval-data has none to evaluate on") }
    }

    /// Fills the preflight.
    /// - Parameter sizes: Of a row: tokens in the batch, log-probs, tokens of a plain implementation.
    mutating func describe(
        stage: String, source: ModelSource, settings: TrainingSettings, template: String, lengths: ([Row]) -> [Preflight.Lengths],
        sizes: (Row) -> (tokens: Int, scored: Int, plain: Int)
    ) {
        preflight.stage = stage
        preflight.rows = rows.count
        preflight.evalRows = heldOut.count
        preflight.heldOutPrompts = heldOut.prefix(8).map(\.splitKey)
        preflight.template = template
        preflight.lengths = lengths(rows)
        preflight.stepsPerEpoch = settings.stepsPerEpoch(rows: rows.count)
        preflight.steps = settings.totalSteps(rows: rows.count)
        let all = rows.map(sizes)
        preflight.tokensPerEpoch = all.reduce(0) { $0 + $1.plain }
        // The micro-step that would hold the longest rows: no order of rows needs more.
        let largest = (all + heldOut.map(sizes)).sorted { $0.tokens > $1.tokens }.prefix(settings.batchSize)
        preflight.memoryEstimate = source.memoryEstimate(
            largest.reduce(0) { $0 + $1.tokens }, largest.reduce(0) { $0 + $1.scored })
    }
}

extension Preflight {
    /// With the time that training will take, from one micro-step forward and backward.
    func measured(_ task: any TrainingTask, source: ModelSource, settings: TrainingSettings) throws -> Preflight {
        let policy = try source.load(true)
        var order = BatchOrder(rows: task.rowCount, settings: settings)
        let batch = task.batch(order.microBatches(of: 0)[0])
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
}

extension RowOrigin {
    /// `file:line`; what came from no file has no line.
    var place: String { line > 0 ? "\(file):\(line)" : file }
}
