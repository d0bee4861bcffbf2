import Models
import PreferenceData
import Serialization
import Tensors

/// An online stage: sample, score, learn, with the method that it is named after.
public struct OnlineStage<Method: OnlineMethod>: Stage {
    public static var name: String { Method.name }
    public static var summary: String { Method.summary }
    public let settings: Method.Settings
    public init(_ settings: Method.Settings) { self.settings = settings }

    private var online: OnlineSettings { settings.online }
    private var training: TrainingSettings { settings.training }

    public func preflight(in context: StageContext) throws -> Preflight {
        try settings.validate()
        let source = try context.languageModel(training)
        return try prepare(source, context).preflight
    }

    /// Bytes of the models beside the policy; activations take turns.
    private func bytesBeside(_ source: ModelSource, _ context: StageContext) throws -> Int {
        var bytes = 0
        if let value = try valueSource(source, context) { bytes += value.bytesBeside(.training) }
        if wantsReference, online.referenceModel != nil || !source.isAdapted { bytes += try referenceSource(source, context).bytesBeside(.frozen) }
        if Method(settings).pull != nil { bytes += source.bytesBeside(.following) }
        return bytes
    }

    private func valueSource(_ source: ModelSource, _ context: StageContext) throws -> ModelSource? {
        try Method(settings).critic.map { try ($0.model.map { try context.openModel($0, training) } ?? source).valuing(for: source) }
    }

    private var wantsReference: Bool { online.beta > 0 || online.tracksKL || Method(settings).needsReference }

    private func referenceSource(_ policy: ModelSource, _ context: StageContext) throws -> ModelSource {
        try online.referenceModel.map { try context.companion($0, of: policy, training) } ?? policy
    }

    public func run(in context: StageContext) async throws -> StageOutcome {
        try settings.validate()
        let source = try context.languageModel(training)
        let data = try prepare(source, context)
        context.report(.preflight(data.preflight))
        guard let openRollouts = context.openRollouts, let openReward = context.openReward, let spec = online.reward else {
            preconditionFailure("an online stage in a context without rollouts or rewards")
        }
        // A reward that cannot be had is better known before the first sample.
        let reward = try openReward(spec)
        let heldOutReward = try online.heldOutReward.map(openReward)
        let method = Method(settings)
        let referenceSource = try referenceSource(source, context)
        let valueSource = try valueSource(source, context)
        let modelHash = try source.contentHash()
        let run = try StageRun(
            stage: Self.name, settings: settings, training: training, context: context, source: source,
            inputs: [
                ("model", .string(modelHash)), ("reference", .string(try referenceSource.contentHash())),
                ("data", .string(try data.rows.hash())), ("held-out", .string(try data.heldOut.hash())), ("reward", .string(reward.name)),
            ] + (try valueSource.map { [("value-model", .string(try $0.contentHash()))] } ?? []),
            lineage: [["role": "model", "path": .string(source.path), "hash": .string(modelHash)]]
                + (online.referenceModel.map { [["role": "reference", "path": .string($0)]] } ?? [])
                + (method.critic?.model.map { [["role": "value", "path": .string($0)]] } ?? []))
        if let outcome = run.outcome { return outcome }

        let policy = try run.loadPolicy()
        let reference = wantsReference ? try self.reference(policy, referenceSource) : nil
        let critic = try valueSource.flatMap { source in try method.critic.map { try self.critic($0, source, run) } }
        let anchor = try method.pull.map { try self.anchor($0, source, context) }
        let rollouts = try openRollouts(policy, source)
        guard rollouts.givesTokens else { throw RolloutError.noTokens(engine: rollouts.model.name) }
        let completions = try CompletionLog(folder: context.runPath, keepingTo: run.state.step)
        let keeper = context.samples.map { SampleKeeper($0, run: run.directory, model: modelHash, reward: reward.name) }
        return try await run.train(policy) { optimizer, saveWeights in
            let pool = method.poolsSamples ? try run.checkpoint.map { try SamplePool(checkpoint: $0) } ?? SamplePool() : nil
            var loop = OnlineLoop(
                method: method, online: online, training: training, prompts: data.rows, heldOut: data.heldOut, policy: policy, optimizer: optimizer,
                reference: reference, critic: critic, anchor: anchor, rolling: Rolling(settings: online, seed: UInt64(training.seed), stopIDs: source.stopIDs, rollouts: rollouts),
                reward: reward, heldOutReward: heldOutReward, run: run.directory, completions: completions, keeper: keeper, saveWeights: saveWeights, context: context,
                pool: pool, state: run.state, order: BatchOrder(rows: data.rows.count, settings: training))
            let status = try await loop.train()
            try completions.sync()
            if status != .interrupted, let critic, let valueSource {
                try run.directory.replaceFolder(run.directory.path + "/" + Self.valueModelName) { try valueSource.save(critic.model, training.saveType.rawValue, $0) }
            }
            return (status, loop.state)
        }
    }

    /// Folder of the value model in a finished run.
    public static var valueModelName: String { "value-model" }

    /// The value model as the run's last checkpoint has it, or as it starts.
    private func critic(_ settings: ValueSettings, _ source: ModelSource, _ run: StageRun) throws -> Critic {
        let model = try source.load(true)
        let optimizer = AdamW(model, settings: training.optimizer, compute: run.context.compute)
        if let checkpoint = run.checkpoint {
            try source.restore(model, checkpoint + "/" + Critic.folder)
            try OptimizerFile.load(into: optimizer, from: checkpoint + "/" + Critic.optimizerName)
        }
        optimizer.steps = Int(run.state.memory[Critic.updates] ?? 0)
        return Critic(settings, model: model, optimizer: optimizer) { try source.save(model, "F32", $0) }
    }

    /// The policy with its adapters off, or a model of its own that does not train.
    private func reference(_ policy: any TrainablePolicy, _ source: ModelSource) throws -> any Policy {
        if online.referenceModel == nil, let own = policy.reference { return own }
        return try source.loadFrozen()
    }

    /// A model for the policy that sampled. An adapted one has an adapter of its own for what the policy's holds.
    private func anchor(_ pull: Anchor.Pull, _ source: ModelSource, _ context: StageContext) throws -> Anchor {
        guard let policy = try source.load(source.isAdapted) as? any TrainablePolicy & DistributionPolicy else { preconditionFailure("a model without distributions") }
        return Anchor(pull, policy: policy, temperature: online.temperature, compute: context.compute)
    }

    private func prepare(_ source: ModelSource, _ context: StageContext) throws -> StageData<PromptRow> {
        let encoder = try RowEncoder(source, settings: training)
        let scratch = context.scratch()
        func rows(_ files: [String]) throws -> PreparedRows<PromptRow> {
            var prepared = PreparedRows<PromptRow>(in: context, scratch: scratch, settings: training)
            try prepared.read(.prompts, files, settings: training) { rows, prompts in
                try rows.encode(prompts, origin: { $0.origin.place }) {
                    try encoder.encode($0.prompt, answer: $0.answer, origin: $0.origin.place, room: 1)
                }
            }
            return prepared
        }
        var data = try StageData(rows(online.prompts), held: training.evalData.isEmpty ? nil : rows(training.evalData), settings: training)
        func completions(_ row: PromptRow) -> Int { online.samples * min(online.maxNewTokens, max(1, encoder.maxLength - row.tokens.count)) }
        try data.describe(
            stage: Self.name, source: source, settings: training, template: encoder.templateDescription(training),
            lengths: [("prompt", { [$0.tokens.count] })],
            sizes: { ($0.tokens.count + completions($0), completions($0), online.samples * $0.tokens.count + completions($0)) },
            example: { encoder.marked($0.tokens, $0.tokens.map { _ in false }) })
        let beside = try bytesBeside(source, context)
        data.preflight.memoryEstimate = data.preflight.memoryEstimate.map { $0 + beside }
        return data
    }
}
