import Models
import PreferenceData

/// The rows that preference optimisation trains on, and what their reference is asked for.
protocol PreferenceRows {
    var preflight: Preflight { get }
    /// Ids of the store's comparisons that the rows were made of.
    var comparisons: ComparisonIDs { get }
    /// Something about the data that whoever trains on it should know; nil: nothing.
    var advice: String? { get }
    /// Of the training rows' tokens, and of those held out.
    func hash() throws -> String
    func heldOutHash() throws -> String
    /// What the reference scores of the rows that a run of these settings takes.
    func referenceRows(for training: TrainingSettings) -> ReferenceRows
    /// - Parameter reference: Of `referenceRows`; nil where there is no reference.
    func tasks(_ reference: ReferenceLogProbs?) -> (training: any TrainingTask, evaluation: (any TrainingTask)?)
}

/// How the records of preference files and of the store become rows.
private struct Reading<Record: Sendable, Row: TokenRow> {
    let settings: PreferenceSettings
    let context: StageContext
    let kind: RecordKind<Record>
    /// Encodes records of files, and pairs of the store.
    var encode: (inout PreparedRows<Row>, [Record]) throws -> Void
    var encodePairs: (inout PreparedRows<Row>, [PreferencePair]) throws -> Void

    /// Rows of the files, or of the store where none is named; what is held out is split off.
    func stageData() throws -> (data: StageData<Row>, comparisons: ComparisonIDs) {
        let training = settings.training
        let scratch = context.scratch()
        let empty = PreparedRows<Row>(in: context, scratch: scratch, settings: training)
        func rows(_ files: [String]) throws -> PreparedRows<Row> {
            var prepared = empty
            try prepared.read(kind, files, settings: training, encode)
            return prepared
        }
        let stored = settings.pairs.isEmpty ? try StoredPairs(in: context, split: settings.split, into: empty, encode: encodePairs) : nil
        let data = try StageData(stored?.prepared ?? rows(settings.pairs), held: training.evalData.isEmpty ? nil : rows(training.evalData), settings: training)
        return (data, stored?.ids ?? ComparisonIDs())
    }
}

/// Rows that the loss counts nothing of, once format tokens are left out, are dropped.
private func checked<Row>(_ encoded: RowEncoder.Encoded<Row>, _ counts: (Row) -> [Int]) -> RowEncoder.Encoded<Row> {
    guard let row = encoded.row, counts(row).contains(0) else { return encoded }
    var dropped = encoded
    (dropped.row, dropped.dropped) = (nil, "a completion has nothing but format tokens (--mask-format-tokens)")
    return dropped
}

extension PreferenceRows {
    var advice: String? { nil }
}

/// Preference pairs.
struct PairedRows: PreferenceRows {
    private let settings: PreferenceSettings
    private var data: StageData<PairRow>
    let comparisons: ComparisonIDs

    init(_ settings: PreferenceSettings, _ source: ModelSource, _ context: StageContext) throws {
        self.settings = settings
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        func row(_ pair: PreferencePair) throws -> RowEncoder.Encoded<PairRow> {
            var encoded = try encoder.encode(pair)
            guard settings.masksFormat, let row = encoded.row else { return encoded }
            encoded.row?.chosenMask = encoder.contentMask(row.chosen)
            encoded.row?.rejectedMask = encoder.contentMask(row.rejected)
            return checked(encoded) {
                [scoredTokens($0.chosen, $0.chosenMask, after: $0.prompt), scoredTokens($0.rejected, $0.rejectedMask, after: $0.prompt)]
            }
        }
        func encode(_ rows: inout PreparedRows<PairRow>, _ pairs: [PreferencePair]) throws { try rows.encode(pairs, origin: { $0.origin.place }, row) }
        (data, comparisons) = try Reading<PreferencePair, PairRow>(
            settings: settings, context: context, kind: .pairs, encode: encode, encodePairs: encode).stageData()
        let prompts = settings.sharesPrefixes ? 1 : 2
        try data.describe(
            stage: PreferenceOptimization.name, source: source, settings: training, template: encoder.templateDescription(training),
            lengths: [("prompt", { [$0.prompt.count] }), ("chosen", { [$0.chosen.count] }), ("rejected", { [$0.rejected.count] })],
            sizes: { ($0.chosen.count + $0.rejected.count + prompts * $0.prompt.count, $0.chosen.count + $0.rejected.count, $0.plainTokens) },
            isIdentical: { $0.chosen == $0.rejected }
        ) { row in
            [("chosen", row.chosen, row.chosenMask), ("rejected", row.rejected, row.rejectedMask)].map { side, completion, mask in
                side + ": " + encoder.marked(row.prompt + completion, row.prompt.map { _ in false } + (mask ?? completion.map { _ in true }))
            }.joined(separator: "\n")
        }
    }

    var preflight: Preflight { data.preflight }
    func hash() throws -> String { try data.rows.hash() }
    func heldOutHash() throws -> String { try data.heldOut.hash() }

    func referenceRows(for training: TrainingSettings) -> ReferenceRows {
        let (all, tailWeight) = (data.all, settings.pairObjective().tailWeight)
        return ReferenceRows(needed: data.neededRows(for: training), count: all.count, completions: 2) { number in
            let row = try all.row(number)
            return ReferenceRow(prompt: row.prompt, completions: [row.chosen, row.rejected], masks: [row.chosenMask, row.rejectedMask])
        } sums: { values in
            // Tokens that only one side has weigh `tailWeight`.
            let shared = min(values[0].count, values[1].count)
            return values.map { LengthDesensitisation.sum($0, shared: shared, tailWeight: tailWeight) }
        }
    }

    func tasks(_ reference: ReferenceLogProbs?) -> (training: any TrainingTask, evaluation: (any TrainingTask)?) {
        let objective = settings.pairObjective()
        func task(_ rows: RowList<PairRow>, from first: Int) -> PairTask {
            let sums = rows.indices.map { (chosen: reference?.sum(first + $0, 0) ?? 0, rejected: reference?.sum(first + $0, 1) ?? 0) }
            return PairTask(rows, reference: sums, objective: objective, sharesPrefixes: settings.sharesPrefixes, isReferenced: settings.needsReference)
        }
        return (task(data.rows, from: 0), data.heldOut.isEmpty ? nil : task(data.heldOut, from: data.rows.count))
    }
}

extension StageData {
    /// Numbers, in order, of the training rows that a run of these settings takes, and of all held-out rows, which come behind them.
    func neededRows(for training: TrainingSettings) -> [Int] {
        var order = BatchOrder(rows: rows.count, settings: training)
        return order.rows(ofSteps: training.totalSteps(rows: rows.count)) + Array(rows.count..<rows.count + heldOut.count)
    }
}

/// Single completions with labels.
struct UnpairedRows: PreferenceRows {
    private let settings: PreferenceSettings
    private var data: StageData<UnpairedRow>
    let comparisons: ComparisonIDs

    init(_ settings: PreferenceSettings, _ source: ModelSource, _ context: StageContext) throws {
        self.settings = settings
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        maxLength = encoder.maxLength
        func row(_ completion: LabelledCompletion) throws -> RowEncoder.Encoded<UnpairedRow> {
            var encoded = try encoder.encode(completion)
            guard settings.masksFormat, let row = encoded.row else { return encoded }
            encoded.row?.mask = encoder.contentMask(row.completion)
            return checked(encoded) { [scoredTokens($0.completion, $0.mask, after: $0.prompt)] }
        }
        func encode(_ rows: inout PreparedRows<UnpairedRow>, _ completions: [LabelledCompletion], into list: Int = 0) throws {
            try rows.encode(completions, into: list, origin: { $0.origin.place }, row)
        }
        (data, comparisons) = try Reading<LabelledRecord, UnpairedRow>(settings: settings, context: context, kind: .labelled) { rows, records in
            // Of all files: what came with a label, then the chosen sides of pairs, then the rejected ones.
            try encode(&rows, records.compactMap(\.single))
            let pairs = records.filter { $0.single == nil }
            try encode(&rows, pairs.compactMap(\.desirable), into: 1)
            try encode(&rows, pairs.compactMap(\.undesirable), into: 2)
        } encodePairs: { rows, pairs in
            try encode(&rows, pairs.map { LabelledCompletion($0, chosen: true) } + pairs.map { LabelledCompletion($0, chosen: false) })
        }.stageData()
        var good = 0
        try data.describe(
            stage: PreferenceOptimization.name, source: source, settings: training, template: encoder.templateDescription(training),
            lengths: [
                ("prompt", { [$0.prompt.count] }), ("desirable", { $0.isDesirable ? [$0.completion.count] : [] }),
                ("undesirable", { $0.isDesirable ? [] : [$0.completion.count] }),
            ],
            sizes: { ($0.prompt.count + $0.completion.count, $0.completion.count, $0.prompt.count + $0.completion.count) }
        ) { row in
            (row.isDesirable ? "desirable: " : "undesirable: ")
                + encoder.marked(row.prompt + row.completion, row.prompt.map { _ in false } + (row.mask ?? row.completion.map { _ in true }))
        }
        try data.rows.forEach { _, row in if row.isDesirable { good += 1 } }
        desirable = good
    }

    var preflight: Preflight { data.preflight }
    func hash() throws -> String { try data.rows.hash() }
    func heldOutHash() throws -> String { try data.heldOut.hash() }

    /// As far as settings and the model allow.
    private let maxLength: Int
    /// Training rows whose completion is desirable.
    private let desirable: Int

    /// KTO's authors: λ_D·n_D/(λ_U·n_U) is to lie in [1, 4/3].
    var advice: String? {
        let (good, all) = (desirable, data.rows.count)
        let ratio = (settings.desirableWeight ?? 1) * Double(good) / ((settings.undesirableWeight ?? 1) * Double(all - good))
        guard !(ratio >= 1 && ratio <= 4.0 / 3) else { return nil }
        return "\(good) of \(all) completions are desirable; with their weights that is \(Float(ratio)) to 1, between 1 and 1.33 is advised: "
            + "set --desirable-weight or --undesirable-weight"
    }

    private var isAnchoredOnKL: Bool {
        guard let objective = settings.unpairedObjective(), case .mismatchedKL = type(of: objective).anchoring else { return false }
        return true
    }

    /// Each row's completion first; then, for KTO, prompts with the completions that their steps mismatch them with, held-out ones last.
    private func plan(for training: TrainingSettings) -> (needed: [Int], training: [UnpairedTask.Mismatch], heldOut: [UnpairedTask.Mismatch]) {
        let needed = data.neededRows(for: training)
        guard isAnchoredOnKL else { return (needed, [], []) }
        var order = BatchOrder(rows: data.rows.count, settings: training)
        let steps = training.totalSteps(rows: data.rows.count)
        var known: Set<UnpairedTask.Mismatch> = []
        var mismatches: [UnpairedTask.Mismatch] = []
        for step in 0..<steps {
            for mismatch in UnpairedTask.mismatches(of: order.microBatches(of: step).flatMap { $0 }) where known.insert(mismatch).inserted {
                mismatches.append(mismatch)
            }
        }
        return (needed, mismatches, UnpairedTask.mismatches(of: Array(data.heldOut.indices)))
    }

    func referenceRows(for training: TrainingSettings) -> ReferenceRows {
        let plan = plan(for: training)
        let (data, all, maxLength) = (data, data.all, maxLength)
        let (second, third) = (all.count, all.count + plan.training.count)
        let count = third + plan.heldOut.count
        return ReferenceRows(needed: plan.needed + Array(second..<count), count: count, completions: 1) { number in
            if number < second {
                let row = try all.row(number)
                return ReferenceRow(prompt: row.prompt, completions: [row.completion], masks: [row.mask])
            }
            let (mismatch, rows) = number < third ? (plan.training[number - second], data.rows) : (plan.heldOut[number - third], data.heldOut)
            let held = try rows.holding([mismatch.row, mismatch.other])
            let (tokens, mask) = UnpairedTask.completion(mismatch, of: held, maxLength: maxLength)
            return ReferenceRow(prompt: held[mismatch.row].prompt, completions: [tokens], masks: [mask])
        } sums: { $0.map { $0.reduce(0, +) } }
    }

    func tasks(_ reference: ReferenceLogProbs?) -> (training: any TrainingTask, evaluation: (any TrainingTask)?) {
        guard let objective = settings.unpairedObjective() else { preconditionFailure("\(settings.loss) is not of single completions") }
        let count = data.rows.count + data.heldOut.count
        let plan = plan(for: settings.training)
        func task(_ rows: RowList<UnpairedRow>, from first: Int, _ mismatches: [UnpairedTask.Mismatch], from second: Int) -> UnpairedTask {
            let sums = rows.indices.map { reference?.sum(first + $0) ?? .nan }
            let table = mismatches.enumerated().map { ($1, reference?.sum(second + $0) ?? .nan) }
            return UnpairedTask(
                rows, objective: objective, reference: sums, mismatched: Dictionary(uniqueKeysWithValues: table), maxLength: maxLength)
        }
        var evaluation = task(data.heldOut, from: data.rows.count, plan.heldOut, from: count + plan.training.count)
        evaluation.movesAnchor = false
        return (task(data.rows, from: 0, plan.training, from: count), data.heldOut.isEmpty ? nil : evaluation)
    }
}
