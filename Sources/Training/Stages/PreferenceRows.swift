import Models
import PreferenceData

/// The rows that preference optimisation trains on, and what their reference is asked for.
protocol PreferenceRows {
    var preflight: Preflight { get }
    /// Ids of the store's comparisons that the rows were made of.
    var comparisons: [String] { get }
    /// Something about the data that whoever trains on it should know; nil: nothing.
    var advice: String? { get }
    /// Of the training rows' tokens, and of those held out.
    var hash: String { get }
    var heldOutHash: String { get }
    /// What the reference scores, and the numbers of those that a run of these settings takes.
    func referenceRows(for training: TrainingSettings) -> (rows: [ReferenceRow], needed: Set<Int>)
    /// - Parameter reference: Of `referenceRows`; nil where there is no reference.
    func tasks(_ reference: ReferenceLogProbs?) -> (training: any TrainingTask, evaluation: (any TrainingTask)?)
}

/// How the records of preference files and of the store become rows.
private struct Reading<Record: Sendable, Row: TokenRow> {
    let settings: PreferenceSettings
    let context: StageContext
    var read: ([String]) throws -> (rows: [Record], preflight: Preflight)
    /// What pairs of the store are trained on as.
    var records: ([PreferencePair]) -> [Record]
    var origin: (Record) -> String
    var encode: (Record) throws -> RowEncoder.Encoded<Row>

    /// Rows of the files, or of the store where none is named; what is held out is split off.
    func stageData() throws -> (data: StageData<Row>, comparisons: [String]) {
        let training = settings.training
        func rows(_ files: [String]) throws -> PreparedRows<Row> {
            let read = try self.read(files)
            var prepared = PreparedRows<Row>(preflight: read.preflight)
            try prepared.encode(read.rows, skipsBadRows: training.onBadRow == .skip, on: context.compute, origin: origin, encode)
            return prepared
        }
        let stored = settings.pairs.isEmpty
            ? try StoredPairs(in: context, split: settings.split, settings: training, records: records, origin: origin, encode: encode) : nil
        let data = try StageData(stored?.prepared ?? rows(settings.pairs), held: training.evalData.isEmpty ? nil : rows(training.evalData), settings: training)
        return (data, stored?.ids ?? [])
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
    let comparisons: [String]

    init(_ settings: PreferenceSettings, _ source: ModelSource, _ context: StageContext) throws {
        self.settings = settings
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        let reading = Reading<PreferencePair, PairRow>(
            settings: settings, context: context, read: { try RecordReading.pairs($0, settings: training) }, records: { $0 }, origin: { $0.origin.place }
        ) { pair in
            var encoded = try encoder.encode(pair)
            guard settings.masksFormat, let row = encoded.row else { return encoded }
            encoded.row?.chosenMask = encoder.contentMask(row.chosen)
            encoded.row?.rejectedMask = encoder.contentMask(row.rejected)
            return checked(encoded) {
                [scoredTokens($0.chosen, $0.chosenMask, after: $0.prompt), scoredTokens($0.rejected, $0.rejectedMask, after: $0.prompt)]
            }
        }
        (data, comparisons) = try reading.stageData()
        let sharesPrefixes = settings.sharesPrefixes
        data.describe(
            stage: PreferenceOptimization.name, source: source, settings: training, template: encoder.templateDescription(training)
        ) { rows in
            [.init("prompt", rows.map(\.prompt.count)), .init("chosen", rows.map(\.chosen.count)), .init("rejected", rows.map(\.rejected.count))]
        } sizes: { row in
            let prompts = sharesPrefixes ? 1 : 2
            return (prompts * row.prompt.count + row.chosen.count + row.rejected.count, row.chosen.count + row.rejected.count, row.plainTokens)
        }
        data.preflight.identicalPairs = data.rows.count { $0.chosen == $0.rejected }
        data.preflight.example = data.rows.first.map { row in
            [("chosen", row.chosen, row.chosenMask), ("rejected", row.rejected, row.rejectedMask)].map { side, completion, mask in
                side + ": " + encoder.marked(row.prompt + completion, row.prompt.map { _ in false } + (mask ?? completion.map { _ in true }))
            }.joined(separator: "\n")
        } ?? ""
    }

    var preflight: Preflight { data.preflight }
    var hash: String { PreparedRows.hash(data.rows) }
    var heldOutHash: String { PreparedRows.hash(data.heldOut) }

    func referenceRows(for training: TrainingSettings) -> (rows: [ReferenceRow], needed: Set<Int>) {
        var order = BatchOrder(rows: data.rows.count, settings: training)
        let needed = order.rows(ofSteps: training.totalSteps(rows: data.rows.count)).union(data.rows.count..<data.rows.count + data.heldOut.count)
        return ((data.rows + data.heldOut).map(\.referenceRow), needed)
    }

    func tasks(_ reference: ReferenceLogProbs?) -> (training: any TrainingTask, evaluation: (any TrainingTask)?) {
        let objective = settings.pairObjective()
        let pairs = data.rows + data.heldOut
        let sums = reference?.sums(of: pairs, tailWeight: objective.tailWeight) ?? pairs.map { _ in (0, 0) }
        func task(_ rows: [PairRow], _ sums: some Sequence<(chosen: Double, rejected: Double)>) -> PairTask {
            PairTask(rows: rows, reference: Array(sums), objective: objective, sharesPrefixes: settings.sharesPrefixes, isReferenced: settings.needsReference)
        }
        return (
            task(data.rows, sums.prefix(data.rows.count)), data.heldOut.isEmpty ? nil : task(data.heldOut, sums.suffix(data.heldOut.count))
        )
    }
}

/// Single completions with labels.
struct UnpairedRows: PreferenceRows {
    private let settings: PreferenceSettings
    private var data: StageData<UnpairedRow>
    let comparisons: [String]

    init(_ settings: PreferenceSettings, _ source: ModelSource, _ context: StageContext) throws {
        self.settings = settings
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        maxLength = encoder.maxLength
        let reading = Reading<LabelledCompletion, UnpairedRow>(
            settings: settings, context: context, read: { try RecordReading.completions($0, settings: training) },
            records: { pairs in pairs.map { LabelledCompletion($0, chosen: true) } + pairs.map { LabelledCompletion($0, chosen: false) } },
            origin: { $0.origin.place }
        ) { completion in
            var encoded = try encoder.encode(completion)
            guard settings.masksFormat, let row = encoded.row else { return encoded }
            encoded.row?.mask = encoder.contentMask(row.completion)
            return checked(encoded) { [scoredTokens($0.completion, $0.mask, after: $0.prompt)] }
        }
        (data, comparisons) = try reading.stageData()
        data.describe(
            stage: PreferenceOptimization.name, source: source, settings: training, template: encoder.templateDescription(training)
        ) { rows in
            [
                .init("prompt", rows.map(\.prompt.count)), .init("desirable", rows.filter(\.isDesirable).map(\.completion.count)),
                .init("undesirable", rows.filter { !$0.isDesirable }.map(\.completion.count)),
            ]
        } sizes: { row in
            (row.prompt.count + row.completion.count, row.completion.count, row.prompt.count + row.completion.count)
        }
        data.preflight.example = data.rows.first.map { row in
            (row.isDesirable ? "desirable: " : "undesirable: ")
                + encoder.marked(row.prompt + row.completion, row.prompt.map { _ in false } + (row.mask ?? row.completion.map { _ in true }))
        } ?? ""
    }

    var preflight: Preflight { data.preflight }
    var hash: String { PreparedRows.hash(data.rows) }
    var heldOutHash: String { PreparedRows.hash(data.heldOut) }

    /// As far as settings and the model allow.
    private let maxLength: Int

    /// KTO's authors: λ_D·n_D/(λ_U·n_U) is to lie in [1, 4/3].
    var advice: String? {
        let (good, all) = (data.rows.count(where: \.isDesirable), data.rows.count)
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
    private func plan(for training: TrainingSettings) -> (needed: Set<Int>, training: [UnpairedTask.Mismatch], heldOut: [UnpairedTask.Mismatch]) {
        var order = BatchOrder(rows: data.rows.count, settings: training)
        let steps = training.totalSteps(rows: data.rows.count)
        let needed = order.rows(ofSteps: steps).union(data.rows.count..<data.rows.count + data.heldOut.count)
        guard isAnchoredOnKL else { return (needed, [], []) }
        var known: Set<UnpairedTask.Mismatch> = []
        var mismatches: [UnpairedTask.Mismatch] = []
        for step in 0..<steps {
            for mismatch in UnpairedTask.mismatches(of: order.microBatches(of: step).flatMap { $0 }) where known.insert(mismatch).inserted {
                mismatches.append(mismatch)
            }
        }
        return (needed, mismatches, UnpairedTask.mismatches(of: Array(data.heldOut.indices)))
    }

    func referenceRows(for training: TrainingSettings) -> (rows: [ReferenceRow], needed: Set<Int>) {
        let plan = plan(for: training)
        let own = (data.rows + data.heldOut).map { ReferenceRow(prompt: $0.prompt, completions: [$0.completion]) }
        func rows(_ mismatches: [UnpairedTask.Mismatch], _ rows: [UnpairedRow]) -> [ReferenceRow] {
            mismatches.map {
                ReferenceRow(prompt: rows[$0.row].prompt, completions: [UnpairedTask.completion($0, of: rows, maxLength: maxLength).tokens])
            }
        }
        let mismatched = rows(plan.training, data.rows) + rows(plan.heldOut, data.heldOut)
        return (own + mismatched, plan.needed.union(own.count..<own.count + mismatched.count))
    }

    func tasks(_ reference: ReferenceLogProbs?) -> (training: any TrainingTask, evaluation: (any TrainingTask)?) {
        guard let objective = settings.unpairedObjective() else { preconditionFailure("\(settings.loss) is not of single completions") }
        let count = data.rows.count + data.heldOut.count
        func sum(_ row: Int, _ mask: [Bool]?) -> Double {
            guard let reference, reference.needed.contains(row) else { return .nan }
            return reference.logProbs(row, 0, mask: mask).reduce(0, +)
        }
        let plan = plan(for: settings.training)
        func task(_ rows: [UnpairedRow], from first: Int, _ mismatches: [UnpairedTask.Mismatch], from second: Int) -> UnpairedTask {
            let sums = rows.enumerated().map { sum(first + $0, $1.mask) }
            var table: [UnpairedTask.Mismatch: Double] = [:]
            for (i, mismatch) in mismatches.enumerated() {
                table[mismatch] = sum(second + i, UnpairedTask.completion(mismatch, of: rows, maxLength: maxLength).mask)
            }
            return UnpairedTask(rows: rows, objective: objective, reference: sums, mismatched: table, maxLength: maxLength)
        }
        var evaluation = task(data.heldOut, from: data.rows.count, plan.heldOut, from: count + plan.training.count)
        evaluation.movesAnchor = false
        return (task(data.rows, from: 0, plan.training, from: count), data.heldOut.isEmpty ? nil : evaluation)
    }
}
