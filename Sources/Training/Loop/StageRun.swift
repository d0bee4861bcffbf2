import Foundation
import Models
import PreferenceData
import Serialization
import Tensors

/// What all stages do around their loop: open or resume the run directory, load the policy, train, write the result.
struct StageRun {
    let stage: String
    let settings: TrainingSettings
    let context: StageContext
    let source: ModelSource
    let directory: RunDirectory
    let state: LoopState
    /// The checkpoint that is resumed from.
    let checkpoint: String?
    /// Set if the run was finished before.
    let outcome: StageOutcome?

    /// - Parameters:
    ///   - inputs: Hashes of everything that is read; like the settings they may not change on resume.
    ///   - comparisons: Ids of the store's comparisons that are trained on.
    init(
        stage: String, settings: some StageSettings, training: TrainingSettings, context: StageContext, source: ModelSource,
        inputs: [(String, JSON)], lineage: [JSON], comparisons: ComparisonIDs = ComparisonIDs()
    ) throws {
        var (inputs, lineage) = (inputs, lineage)
        if let base = training.merging.base {
            inputs.append(("merging-base", .string(try context.openModel(base, training).contentHash())))
            lineage.append(["role": "merging base", "path": .string(base)])
        }
        let ancestors = lineage.compactMap { $0["path"]?.string }.filter { $0 != source.path }
        self.stage = stage
        self.settings = training
        self.context = context
        self.source = source
        var record = JSONObject(
            [("stage", .string(stage)), ("status", "running"), ("settings", settings.json)]
                + [("inputs", .object(JSONObject(inputs + [("precision", .string(source.precision))])))]
                + [
                    ("kernels", .string(source.kernels)), ("numerics", .integer(source.numericsVersion)),
                    ("threads", .integer(context.compute.threads)), ("seed", .integer(training.seed)), ("lineage", .array(lineage)),
                ] + context.record)
        // Two runs are never the same: the time and the place are in it.
        record["id"] = .string(SHA256.hex(of: Array((context.runPath + JSON.object(record).text()).utf8)))
        directory = try RunDirectory(context.runPath, record: record, resumes: context.resumes)
        if let kernels = directory.record["kernels"]?.string, kernels != source.kernels {
            context.report(.notice("the run was started with \(kernels) kernels and goes on with \(source.kernels): bits will differ from an uninterrupted run"))
        }
        checkpoint = directory.checkpoints().last?.path
        if let checkpoint {
            let file = checkpoint + "/" + RunDirectory.stateName
            guard let json = try? JSON.parse(DurableFiles.read(file)) else {
                throw RunError.damaged(file: file, field: "state", found: "no JSON", expected: "a loop state")
            }
            state = try LoopState(json: json, file: file)
            context.report(.notice("resuming \(context.runPath) after step \(state.step)"))
        } else {
            state = LoopState()
            if context.resumes { context.report(.notice("\(context.runPath) has no checkpoint: starting at step 0")) }
        }
        outcome = StageRun.finished(directory, stage: stage)
        if let outcome, let id = directory.record["id"]?.string {
            // A process that was killed between the two left the ledger behind run.json.
            try context.ledger?.finish(run: id, status: outcome.status.rawValue, at: RunRecord.now)
        } else if outcome == nil {
            try directory.openMetrics(cutAt: state.metricsBytes)
            try directory.update([("status", "running")])
            try context.ledger?.begin(RunRecord(directory.record, directory: directory.path, models: [source.path] + ancestors), comparisons: comparisons)
        }
    }

    /// How the run ended, in run.json and in the ledger.
    private func close(_ status: String, _ members: [(String, JSON)] = []) throws {
        try directory.update([("status", .string(status))] + members)
        if let id = directory.record["id"]?.string { try context.ledger?.finish(run: id, status: status, at: RunRecord.now) }
    }

    /// The policy that goes on: of the checkpoint, or the model as it came.
    func loadPolicy() throws -> any TrainablePolicy {
        guard let checkpoint else { return try source.load(true) }
        guard source.isAdapted else { return try context.openModel(checkpoint, settings).load(true) }
        let policy = try source.load(true)
        try source.restore(policy, checkpoint)
        return policy
    }

    /// Trains and writes `model/`; run.json says how it ended, also if it fails.
    /// - Parameter reference: Set if it moves with the policy.
    func train(
        _ task: any TrainingTask, evaluation: (any TrainingTask)?, policy: any TrainablePolicy, reference: MovingReference? = nil
    ) async throws -> StageOutcome {
        let source = source
        var loop = TrainingLoop(
            stage: stage, training: settings, task: task, evaluation: evaluation, policy: policy, optimizer: try optimizer(of: policy), run: directory,
            state: state, saveWeights: { try source.save(policy, $0, $1) }, reference: reference, context: context)
        let status: StageOutcome.Status
        do { status = try await loop.train() } catch { throw failed(error) }
        return try finish(status, loop.state, policy)
    }

    /// The same around a loop of the stage's own.
    func train(
        _ policy: any TrainablePolicy,
        _ loop: (_ optimizer: AdamW, _ saveWeights: @escaping (_ dtype: String, _ folder: String) throws -> Void) async throws -> (StageOutcome.Status, LoopState)
    ) async throws -> StageOutcome {
        let source = source
        let (status, state): (StageOutcome.Status, LoopState)
        do { (status, state) = try await loop(try optimizer(of: policy)) { try source.save(policy, $0, $1) } } catch { throw failed(error) }
        return try finish(status, state, policy)
    }

    private func optimizer(of policy: any TrainablePolicy) throws -> AdamW {
        let optimizer = AdamW(policy, settings: settings.optimizer, compute: context.compute)
        if let checkpoint { try OptimizerFile.load(into: optimizer, from: checkpoint + "/" + RunDirectory.optimizerName) }
        optimizer.steps = state.updates
        if let base = settings.merging.base {
            // Both are freed before training: what is kept is their difference.
            let task = try OnlineMerging.task(reference: source.load(false), base: context.openModel(base, settings).load(false), path: base)
            optimizer.merging = OnlineMerging(task: task, alpha: settings.merging.alpha, keep: settings.merging.keep, seed: UInt64(settings.seed))
        }
        return optimizer
    }

    private func failed(_ error: any Error) -> any Error {
        try? close("failed", [("error", .string("\(error)"))])
        return error
    }

    private func finish(_ status: StageOutcome.Status, _ state: LoopState, _ policy: any TrainablePolicy) throws -> StageOutcome {
        guard status != .interrupted else { return try interrupted(state) }
        var after = state.last
        if settings.loadsBest || settings.earlyStoppingPatience > 0, state.bestStep > 0 {
            if state.bestStep != state.step { try source.restore(policy, directory.bestPath) }
            after = state.best
        }
        try directory.replaceFolder(directory.modelPath) { try source.save(policy, settings.saveType.rawValue, $0) }
        try directory.syncMetrics()
        let outcome = StageOutcome(
            status: status, stage: stage, runPath: directory.path, modelPath: directory.modelPath, steps: state.step,
            training: state.training, before: state.before, after: after)
        try close(status.rawValue, [("outcome", outcome.json)])
        return outcome
    }

    /// Marks the run as stopped from outside; `--resume` goes on.
    func interrupted(_ state: LoopState) throws -> StageOutcome {
        try directory.syncMetrics()
        try close(StageOutcome.Status.interrupted.rawValue)
        return StageOutcome(
            status: .interrupted, stage: stage, runPath: directory.path, modelPath: nil, steps: state.step, training: state.training,
            before: state.before, after: [:])
    }

    /// The outcome of a run that needs nothing more.
    private static func finished(_ directory: RunDirectory, stage: String) -> StageOutcome? {
        guard let status = directory.record["status"]?.string.flatMap(StageOutcome.Status.init), status != .interrupted,
            let outcome = directory.record["outcome"], FileManager.default.fileExists(atPath: directory.modelPath)
        else { return nil }
        func table(_ key: String) -> [String: Double] { (outcome[key]?.object ?? JSONObject()).members.reduce(into: [:]) { $0[$1.key] = $1.value.double } }
        return StageOutcome(
            status: status, stage: stage, runPath: directory.path, modelPath: directory.modelPath, steps: outcome["steps"]?.int ?? 0,
            training: table("training"), before: table("before"), after: table("after"))
    }
}

extension StageOutcome {
    /// As it stands in run.json.
    public var json: JSON {
        func table(_ metrics: [String: Double]) -> JSON {
            .object(JSONObject(metrics.keys.sorted().map { ($0, .number(metrics[$0] ?? 0)) }))
        }
        return [
            "status": .string(status.rawValue), "steps": .integer(steps), "training": table(training), "before": table(before),
            "after": table(after),
        ]
    }
}
