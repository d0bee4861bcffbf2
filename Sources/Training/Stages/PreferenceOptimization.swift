import Models
import Serialization
import Tensors

/// Fits a policy to preferences with one of the offline objectives: DPO, IPO, KTO, ….
///
/// Pairs become token rows with one prompt for both sides; the reference's log-probs are taken from the store, or computed once and
/// stored; then the loop runs the policy over packed batches in which both completions share their prompt. Losses of single
/// completions (KTO) take rows with labels, or pairs split in two.
public struct PreferenceOptimization: Stage {
    public static let name = "dpo"
    public static let summary = "fit a policy to preference pairs, without a reward model"
    public let settings: PreferenceSettings
    /// What the losses take and `settings` do not say is filled in: run records show every number that was used.
    public init(_ settings: PreferenceSettings) { self.settings = settings.filled }

    public func preflight(in context: StageContext) throws -> Preflight {
        try settings.validate()
        let source = try context.languageModel(settings.training)
        let data = try prepare(source, context)
        return try data.preflight.measured(data.tasks(nil).training, source: source, settings: settings.training)
    }

    public func run(in context: StageContext) async throws -> StageOutcome {
        try settings.validate()
        let training = settings.training
        let source = try context.languageModel(training)
        let data = try prepare(source, context)
        context.report(.preflight(data.preflight))
        if let advice = data.advice { context.report(.notice(advice)) }

        let reference = try settings.referenceModel.map { try context.companion($0, of: source, training) } ?? source
        let identity = settings.needsReference ? try reference.identity() : nil
        let modelHash = try source.contentHash()
        let run = try StageRun(
            stage: Self.name, settings: settings, training: training, context: context, source: source,
            inputs: [("model", .string(modelHash))] + (identity.map { [("reference", .string($0.model))] } ?? [])
                + [("data", .string(try data.hash())), ("held-out", .string(try data.heldOutHash()))],
            lineage: [["role": "model", "path": .string(source.path), "hash": .string(modelHash)]]
                + (identity.map { [["role": "reference", "path": .string(reference.path), "hash": .string($0.model)]] } ?? []),
            comparisons: data.comparisons
        )
        if let outcome = run.outcome { return outcome }

        guard let identity else {
            let tasks = data.tasks(nil)
            return try await run.train(tasks.training, evaluation: tasks.evaluation, policy: run.loadPolicy())
        }

        if settings.movesReference == true {
            let policy = try run.loadPolicy()
            let moved = try run.checkpoint.map { try context.openModel($0 + "/" + RunDirectory.referenceName, training) } ?? reference
            let moving = try MovingReference(
                moved.load(false), source: moved, following: policy, mixture: settings[\.referenceMixture], interval: settings[\.referenceInterval],
                compute: context.compute)
            let tasks = data.tasks(nil)
            return try await run.train(tasks.training, evaluation: tasks.evaluation, policy: policy, reference: moving)
        }

        var logProbs = try ReferenceLogProbs(
            rows: data.referenceRows(for: training), identity: identity, cache: context.referenceCache, batchSize: training.batchSize)
        // Without --ref-model the reference is the policy before its first step; a resumed policy is past that, unless its model is frozen.
        let isPolicy = settings.referenceModel == nil && (run.checkpoint == nil || source.isAdapted)
        if !isPolicy, !logProbs.missing.isEmpty {
            // Loaded, used and freed before the policy takes its memory.
            let policy = try reference.loadFrozen()
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

        let tasks = data.tasks(logProbs)
        return try await run.train(tasks.training, evaluation: tasks.evaluation, policy: policy)
    }

    private func prepare(_ source: ModelSource, _ context: StageContext) throws -> any PreferenceRows {
        try settings.unpairedObjective() == nil ? PairedRows(settings, source, context) : UnpairedRows(settings, source, context)
    }
}
