import Models
import Serialization
import Tensors

/// Fits a policy to preference pairs with one of the pairwise objectives: DPO, IPO, ….
///
/// Pairs become token rows with one prompt for both sides; the reference's log-probs are taken from the store, or computed once and
/// stored; then the loop runs the policy over packed batches in which both completions share their prompt.
public struct PreferenceOptimization: Stage {
    public static let name = "dpo"
    public static let summary = "fit a policy to preference pairs, without a reward model"
    public let settings: PreferenceSettings
    public init(_ settings: PreferenceSettings) { self.settings = settings }

    /// The losses that `--loss` names: one line each.
    public static let objectives: [(name: String, make: @Sendable (PreferenceSettings) -> any PairObjective)] = [
        (DPO.name, { DPO(beta: $0.beta, labelSmoothing: $0.labelSmoothing) }),
        (IPO.name, { IPO(beta: $0.beta, norm: $0.ipoNorm) }),
    ]

    public func preflight(in context: StageContext) throws -> Preflight {
        try settings.validate()
        let source = try context.model(settings.training)
        let data = try prepare(source, context).data
        let none = data.rows.map { _ in (chosen: 0.0, rejected: 0.0) }
        let task = PairTask(rows: data.rows, reference: none, objective: try objective(), sharesPrefixes: settings.sharesPrefixes)
        return try data.preflight.measured(task, source: source, settings: settings.training)
    }

    public func run(in context: StageContext) async throws -> StageOutcome {
        try settings.validate()
        let training = settings.training
        let objective = try objective()
        let source = try context.model(training)
        let (data, comparisons) = try prepare(source, context)
        context.report(.preflight(data.preflight))

        let reference = try settings.referenceModel.map { try context.openModel($0, training) } ?? source
        let identity = try reference.identity()
        let modelHash = try source.contentHash()
        let run = try StageRun(
            stage: Self.name, settings: settings, training: training, context: context, source: source,
            inputs: [
                ("model", .string(modelHash)), ("reference", .string(identity.model)), ("data", .string(PreparedRows.hash(data.rows))),
                ("held-out", .string(PreparedRows.hash(data.heldOut))),
            ],
            lineage: [
                ["role": "model", "path": .string(source.path), "hash": .string(modelHash)],
                ["role": "reference", "path": .string(reference.path), "hash": .string(identity.model)],
            ],
            comparisons: comparisons
        )
        if let outcome = run.outcome { return outcome }

        var order = BatchOrder(rows: data.rows.count, settings: training)
        let needed = order.rows(ofSteps: training.totalSteps(rows: data.rows.count)).union(data.rows.count..<data.rows.count + data.heldOut.count)
        var logProbs = try ReferenceLogProbs(
            rows: data.rows + data.heldOut, needed: needed, identity: identity, cache: context.referenceCache, batchSize: training.batchSize)
        // Without --ref-model the reference is the policy before its first step; a resumed policy is past that, unless its model is frozen.
        let isPolicy = settings.referenceModel == nil && (run.checkpoint == nil || source.isAdapted)
        if !isPolicy, !logProbs.missing.isEmpty {
            // Loaded, used and freed before the policy takes its memory.
            let policy = try reference.load(false)
            guard try logProbs.compute(with: policy, report: context.report, isCancelled: context.isCancelled) else {
                return try run.interrupted(run.state)
            }
        }
        let policy = try run.loadPolicy()
        if isPolicy, !logProbs.missing.isEmpty {
            guard try logProbs.compute(with: policy.reference ?? policy, report: context.report, isCancelled: context.isCancelled) else {
                return try run.interrupted(run.state)
            }
        }

        let sums = logProbs.sums
        let task = PairTask(
            rows: data.rows, reference: Array(sums.prefix(data.rows.count)), objective: objective, sharesPrefixes: settings.sharesPrefixes)
        let evaluation = PairTask(
            rows: data.heldOut, reference: Array(sums.suffix(data.heldOut.count)), objective: objective, sharesPrefixes: settings.sharesPrefixes)
        return try run.train(task, evaluation: data.heldOut.isEmpty ? nil : evaluation, policy: policy)
    }

    private func objective() throws(SettingError) -> any PairObjective {
        guard let entry = Self.objectives.first(where: { $0.name == settings.loss }) else {
            throw .badValue(setting: "loss", found: settings.loss, expected: "one of \(Self.objectives.map(\.name).joined(separator: ", "))")
        }
        return entry.make(settings)
    }

    /// - Returns: Rows, and the ids of the store's comparisons they were made of.
    private func prepare(_ source: ModelSource, _ context: StageContext) throws -> (data: StageData<PairRow>, comparisons: [String]) {
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        func rows(_ files: [String]) throws -> PreparedRows<PairRow> {
            let read = try RecordReading.pairs(files, settings: training)
            var prepared = PreparedRows<PairRow>(preflight: read.preflight)
            try prepared.encode(read.rows, skipsBadRows: training.onBadRow == .skip, on: context.compute, origin: { $0.origin.place }) {
                try encoder.encode($0)
            }
            return prepared
        }
        var stored: StoredPairs?
        if settings.pairs.isEmpty {
            let run = context.resumes ? try? RunDirectory.record(at: context.runPath)["id"]?.string : nil
            stored = try context.pairs.map {
                try StoredPairs($0, split: settings.split, run: run, settings: training, encoder: encoder, context: context)
            }
            guard let stored, !stored.ids.isEmpty else { throw TrainingError.noPairs(split: settings.split) }
        }
        var data = try StageData(stored?.prepared ?? rows(settings.pairs), held: training.evalData.isEmpty ? nil : rows(training.evalData), settings: training)
        data.describe(stage: Self.name, source: source, settings: training, template: encoder.templateDescription(training)) { rows in
            [.init("prompt", rows.map(\.prompt.count)), .init("chosen", rows.map(\.chosen.count)), .init("rejected", rows.map(\.rejected.count))]
        } sizes: { row in
            let prompts = settings.sharesPrefixes ? 1 : 2
            return (prompts * row.prompt.count + row.chosen.count + row.rejected.count, row.chosen.count + row.rejected.count, row.plainTokens)
        }
        data.preflight.identicalPairs = data.rows.count { $0.chosen == $0.rejected }
        data.preflight.example = data.rows.first.map { row in
            [("chosen", row.chosen), ("rejected", row.rejected)].map { side, completion in
                side + ": " + encoder.marked(row.prompt + completion, row.prompt.map { _ in false } + completion.map { _ in true })
            }.joined(separator: "\n")
        } ?? ""
        return (data, stored?.ids ?? [])
    }
}
