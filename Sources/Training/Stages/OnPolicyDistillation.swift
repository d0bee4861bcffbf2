import Models
import PreferenceData
import Serialization
import Tensors

/// `align gkd`.
public struct DistillationSettings: StageSettings {
    public var data: [String] = []
    public var teacher: String?
    public var beta = 0.5
    public var lossTemperature = 1.0
    public var onPolicyShare = 0.5
    public var temperature = 0.9
    public var maxNewTokens = 128
    public var training = TrainingSettings(learningRate: 2e-5)
    public init() {}

    public static let fields: [SettingField<DistillationSettings>] = [
        .list("data", \.data, placeholder: "FILE", group: "Distillation", aliases: ["dataset_name", "dataset"], isRequired: true,
            help: "examples: their completions are learned as the teacher sees them, their prompts are what the student answers; JSON lines or a JSON array"),
        .text("teacher", \.teacher, placeholder: "PATH", group: "Distillation", aliases: ["teacher_model_name_or_path"],
            help: "the model to learn from: of the same tokenizer, of any size"),
        .number("beta", \.beta, expected: "a number from 0 to 1", where: { (0...1).contains($0) }, group: "Distillation",
            help: "divergence: 0 is KL(teacher‖student), 1 is KL(student‖teacher), between them the generalised Jensen-Shannon divergence"),
        .number("loss-temperature", \.lossTemperature, expected: "a number above 0, such as 1", where: { $0 >= 1e-3 && $0 <= 100 }, group: "Distillation",
            help: "of both distributions in the divergence"),
        .number("lmbda", \.onPolicyShare, expected: "a share in [0, 1]", where: { (0...1).contains($0) }, group: "Distillation", aliases: ["lambda", "on_policy_share"],
            help: "share of steps whose completions the student writes itself; the others take those of the data"),
        .number("temperature", \.temperature, expected: "a number above 0, such as 0.9", where: { $0 >= 1e-3 && $0 <= 100 }, group: "Rollouts",
            help: "of the student's sampling"),
        .integer("max-new-tokens", \.maxNewTokens, in: 1...1_000_000, group: "Rollouts", aliases: ["max_completion_length"], help: "longest completion of the student"),
    ] + TrainingSettings.fields.map { $0.lifted(to: \.training) }

    public func validate() throws(SettingError) {
        try checkRequired()
        if teacher == nil { throw .missing(setting: "teacher", placeholder: "PATH", help: "the model to learn from") }
        try training.validate()
        if training.earlyStoppingPatience > 0 || training.loadsBest {
            throw .conflict(settings: ["early-stopping-patience", "load-best-model-at-end"], reason: "distillation keeps the last weights; leave these out")
        }
    }

    /// What the sampler is told.
    var rollouts: OnlineSettings {
        var settings = OnlineSettings()
        (settings.samples, settings.temperature, settings.maxNewTokens) = (1, temperature, maxNewTokens)
        return settings
    }
}

/// Generalised knowledge distillation: the student learns the teacher's distribution, on the data's completions and on its own.
///
///     L = (1/N) Σ_t D(p_teacher(·|x, y_<t), p_student(·|x, y_<t)),  y of the data, or with probability λ drawn from the student
///
/// The divergence is over the whole vocabulary, the logits of a few tokens at a time. What the student draws is constant in the gradient.
/// Source: Agarwal et al. 2024 (GKD), algorithm 1.
public struct OnPolicyDistillation: Stage {
    public static let name = "gkd"
    public static let summary = "learn a teacher's distribution, on examples and on one's own answers"
    public let settings: DistillationSettings
    public init(_ settings: DistillationSettings) { self.settings = settings }

    private var training: TrainingSettings { settings.training }

    public func preflight(in context: StageContext) throws -> Preflight {
        try settings.validate()
        let source = try context.languageModel(training)
        return try prepare(source, teacher: teacher(of: source, context), context).preflight
    }

    public func run(in context: StageContext) async throws -> StageOutcome {
        try settings.validate()
        let source = try context.languageModel(training)
        let teacherSource = try teacher(of: source, context)
        let data = try prepare(source, teacher: teacherSource, context)
        context.report(.preflight(data.preflight))
        guard let openRollouts = context.openRollouts else { preconditionFailure("a stage that samples in a context without rollouts") }
        let (modelHash, teacherHash) = (try source.contentHash(), try teacherSource.contentHash())
        let run = try StageRun(
            stage: Self.name, settings: settings, training: training, context: context, source: source,
            inputs: [
                ("model", .string(modelHash)), ("teacher", .string(teacherHash)), ("data", .string(try data.rows.hash())),
                ("held-out", .string(try data.heldOut.hash())),
            ],
            lineage: [
                ["role": "model", "path": .string(source.path), "hash": .string(modelHash)],
                ["role": "teacher", "path": .string(teacherSource.path), "hash": .string(teacherHash)],
            ])
        if let outcome = run.outcome { return outcome }

        let policy = try run.loadPolicy()
        guard let student = policy as? any TrainablePolicy & DistributionPolicy, let teacher = try teacherSource.loadFrozen() as? any DistributionPolicy else {
            preconditionFailure("a model without distributions")
        }
        let rollouts = try openRollouts(policy, source)
        guard rollouts.givesTokens else { throw RolloutError.noTokens(engine: rollouts.model.name) }
        let completions = try CompletionLog(folder: context.runPath, keepingTo: run.state.step)
        let keeper = context.samples.map { SampleKeeper($0, run: run.directory, model: modelHash, reward: nil) }
        let text: ([Int32]) -> String = { source.tokenizer?.decode($0, skipSpecialTokens: false) ?? $0.map(String.init).joined(separator: " ") }
        return try await run.train(policy) { optimizer, saveWeights in
            var loop = DistillationLoop(
                objective: GKD(beta: settings.beta, temperature: settings.lossTemperature), training: training, onPolicyShare: settings.onPolicyShare, rows: data.rows,
                heldOut: data.heldOut, student: student, teacher: teacher, optimizer: optimizer,
                rolling: Rolling(settings: settings.rollouts, seed: UInt64(training.seed), stopIDs: source.stopIDs, rollouts: rollouts), run: run.directory,
                completions: completions, keeper: keeper, saveWeights: saveWeights, text: text, context: context, state: run.state,
                order: BatchOrder(rows: data.rows.count, settings: training))
            let status = try await loop.train()
            try completions.sync()
            return (status, loop.state)
        }
    }

    /// The model of `--teacher`, whose ids must mean what the student's do. Adapters are the student's alone.
    private func teacher(of student: ModelSource, _ context: StageContext) throws -> ModelSource {
        var plain = training
        plain.adapter = AdapterSettings()
        let teacher = try context.companion(settings.teacher ?? "", of: student, plain)
        guard teacher.vocabularySize == student.vocabularySize else {
            throw TrainingError.otherVocabulary(model: teacher.path, found: teacher.vocabularySize, expected: student.vocabularySize)
        }
        return teacher
    }

    private func prepare(_ source: ModelSource, teacher: ModelSource, _ context: StageContext) throws -> StageData<SupervisedRow> {
        var supervised = SupervisedSettings()
        (supervised.data, supervised.training) = (settings.data, training)
        var data = try SupervisedFineTuning(supervised).prepare(source, context)
        data.preflight.stage = Self.name
        data.preflight.memoryEstimate = data.preflight.memoryEstimate.map { $0 + teacher.bytesBeside(.frozen) }
        guard settings.onPolicyShare > 0 else { return data }
        // What has no prompt can be learned from but not answered.
        try data.all.forEach { _, row in
            guard row.prompt.isEmpty else { return }
            throw TrainingError.badRow(
                origin: row.origin, found: "no prompt", expected: "one for the student to answer", remedy: "Leave the row out, or distil with --lmbda 0.")
        }
        return data
    }
}
