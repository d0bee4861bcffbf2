import Models
import PreferenceData
import Serialization
import Tensors

/// Trains a reward model: a language model's backbone with a score head, on preferences, rankings, scores or labelled steps.
///
/// A row's completions share their prompt, computed once; the head is read at each completion's last token (of steps: at each step's),
/// whatever follows it. Nothing is padded, so that a score depends on its own tokens alone. The model that is written is opened again,
/// and must give the scores it was left with.
public struct RewardModelling: Stage {
    public static let name = "reward"
    public static let summary = "train a reward model on preferences, rankings, scores or labelled steps"
    public static let producesLanguageModel = false
    public let settings: RewardSettings
    public init(_ settings: RewardSettings) { self.settings = settings }

    /// The losses that `--loss` names: one line each.
    public static let objectives: [(name: String, accepts: @Sendable (RewardLabel) -> Bool, make: @Sendable (RewardSettings) -> any RewardObjective)] = [
        (BradleyTerry.name, BradleyTerry.accepts, {
            BradleyTerry(labelSmoothing: $0.labelSmoothing, centering: $0.centering, gradeWeight: $0.gradeWeight)
        }),
        (PlackettLuce.name, PlackettLuce.accepts, { _ in PlackettLuce() }),
        (ScoreRegression.name, ScoreRegression.accepts, { _ in ScoreRegression() }),
        (ProcessReward.name, ProcessReward.accepts, { _ in ProcessReward() }),
    ]

    public func preflight(in context: StageContext) throws -> Preflight {
        try settings.validate()
        let base = try context.model(settings.training)
        let data = try prepare(base, context).data
        let source = try scoring(base, data)
        return try data.preflight.measured(try task(data.rows), source: source, settings: settings.training)
    }

    public func run(in context: StageContext) async throws -> StageOutcome {
        try settings.validate()
        let training = settings.training
        let base = try context.model(training)
        let (data, comparisons) = try prepare(base, context)
        context.report(.preflight(data.preflight))
        let source = try scoring(base, data)

        let modelHash = try source.contentHash()
        let head = try settings.head.map { [("head", JSON.string(SHA256.hex(of: try DurableFiles.read($0))))] } ?? []
        let run = try StageRun(
            stage: Self.name, settings: settings, training: training, context: context, source: source,
            inputs: [
                ("model", .string(modelHash)), ("data", .string(try data.rows.hash())), ("held-out", .string(try data.heldOut.hash())),
            ] + head,
            lineage: [["role": "model", "path": .string(source.path), "hash": .string(modelHash)]], comparisons: comparisons)
        if let outcome = run.outcome { return outcome }
        let policy = try run.loadPolicy()
        let outcome = try await run.train(try task(data.rows), evaluation: data.heldOut.isEmpty ? nil : try task(data.heldOut), policy: policy)
        if let model = outcome.modelPath {
            let sample = try RowList((data.heldOut + data.rows).prefix(8))
            try SavedScores(policy: policy, source: source, isRounded: training.saveType != .f32, context: context, settings: training)
                .check(model, batch: task(sample).batch(Array(sample.indices)))
        }
        return outcome
    }

    // MARK: Data

    /// The rows that it would train on.
    func rows(in context: StageContext) throws -> [RewardRow] {
        let rows = try prepare(try context.model(settings.training), context).data.rows
        return try rows.prefix(rows.count)
    }

    /// - Returns: Rows, and the ids of the store's comparisons they were made of.
    private func prepare(_ source: ModelSource, _ context: StageContext) throws -> (data: StageData<RewardRow>, comparisons: ComparisonIDs) {
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        let isPairwise = [BradleyTerry.name, PlackettLuce.name].contains(settings.loss)
        let labelling = RewardLabelling(
            margin: settings.margin, softLabels: settings.softLabels, ranksScores: isPairwise, cutsLongRows: settings.longRows == .cut)
        guard let objective = Self.objectives.first(where: { $0.name == settings.loss }) else {
            throw SettingError.badValue(setting: "loss", found: settings.loss, expected: "one of \(Self.objectives.map(\.name).joined(separator: ", "))")
        }
        func encode(_ example: RewardExample) throws -> RowEncoder.Encoded<RewardRow> {
            let encoded = try encoder.encode(example, labelling)
            if let row = encoded.row, !objective.accepts(row.label) {
                throw TrainingError.badRow(
                    origin: row.origin, found: "a row of \(example.shape.rawValue)", expected: "one that the loss \(objective.name) learns from",
                    remedy: "Choose another --loss: \(Self.objectives.filter { $0.accepts(row.label) }.map(\.name).joined(separator: ", ")).")
            }
            return encoded
        }
        func take(_ rows: inout PreparedRows<RewardRow>, _ examples: [RewardExample]) throws { try rows.encode(examples, origin: { $0.origin.place }, encode) }
        let empty = PreparedRows<RewardRow>(in: context, scratch: context.scratch(), settings: training)
        func rows(_ files: [String]) throws -> PreparedRows<RewardRow> {
            var prepared = empty
            try prepared.read(.rewards, files, settings: training, take)
            return prepared
        }
        let stored = settings.pairs.isEmpty
            ? try StoredPairs(in: context, split: settings.split, into: empty) { try take(&$0, $1.map { RewardExample($0) }) } : nil
        var data = try StageData(stored?.prepared ?? rows(settings.pairs), held: training.evalData.isEmpty ? nil : rows(training.evalData), settings: training)
        try data.describe(
            stage: Self.name, source: source, settings: training, template: encoder.templateDescription(training),
            lengths: [("prompt", { [$0.prompt.count] }), ("completion", { $0.completions.map(\.count) })],
            sizes: { row in
                let prompts = settings.sharesPrefixes ? 1 : row.completions.count
                return (prompts * row.prompt.count + row.completions.joined().count, 0, row.plainTokens)
            }, isIdentical: { Set($0.completions).count < $0.completions.count }
        ) { row in
            zip(row.completions, row.points).map { completion, points in
                let read = Set(points)
                return encoder.marked(row.prompt + completion, row.prompt.map { _ in false } + completion.indices.map(read.contains))
            }.joined(separator: "\n")
        }
        data.preflight.notes = try notes(data.rows, source)
        return (data, stored?.ids ?? ComparisonIDs())
    }

    /// What was made of the rows' ends and labels, in words.
    private func notes(_ rows: RowList<RewardRow>, _ source: ModelSource) throws -> [String] {
        var ends: [Int32: Int] = [:]
        var (hasSteps, margins, soft, graded) = (false, 0, 0, 0)
        try rows.forEach { _, row in
            for completion in row.completions { ends[completion.last ?? 0, default: 0] += 1 }
            if case .steps = row.label { hasSteps = true }
            if case let .preference(margin, probability) = row.label {
                if margin != 0 { margins += 1 }
                if probability != 1 { soft += 1 }
            }
            if !row.grades.isEmpty { graded += 1 }
        }
        let shown = ends.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(3).map { token, count in
            "\(source.tokenizer.map { JSON.string($0.decode([token])).text() } ?? "\(token)") (\(count))"
        }
        let where_ = hasSteps ? "at the last token of each step" : "at the last token of each completion"
        var notes = [
            "the score is read \(where_), which is \(shown.joined(separator: ", ")); raw text gets an end-of-sequence token, templates and token ids nothing"
        ]
        if margins > 0 { notes.append("\(margins) rows have a margin") }
        if soft > 0 { notes.append("\(soft) rows have a soft label") }
        if graded > 0 { notes.append("\(graded) rows have gradings" + (settings.gradeWeight > 0 ? "" : ", unused without --grade-weight")) }
        return notes
    }

    // MARK: Model and task

    /// Attributes that the rows score; one for every other label.
    private func outputs(_ rows: RowList<RewardRow>) throws -> Int {
        var outputs = 1
        try rows.forEach { index, row in
            guard case let .scores(scores) = row.label else { return }
            for attributes in scores {
                if index == 0 { outputs = attributes.count }
                guard attributes.count == outputs else {
                    throw TrainingError.badRow(
                        origin: row.origin, found: "\(attributes.count) scores of a completion", expected: "\(outputs), as in the first row",
                        remedy: "Give every completion the same attributes, null where one is missing.")
                }
            }
        }
        return outputs
    }

    private var gradingOutputs: Int { settings.gradeWeight > 0 ? Grading.outputs : 0 }

    private func scoring(_ source: ModelSource, _ data: StageData<RewardRow>) throws -> ModelSource {
        guard let scoring = source.scoring else { throw ModelError.noScoreHead(architecture: source.path) }
        var finalTokens: Set<Int32> = []
        try data.rows.forEach { _, row in finalTokens.formUnion(row.completions.compactMap(\.last)) }
        return try scoring(ScoreHead(
            outputs: try outputs(data.all), gradingOutputs: gradingOutputs, file: settings.head, start: settings.headStart,
            seed: UInt64(settings.training.seed), finalTokens: finalTokens))
    }

    private func task(_ rows: RowList<RewardRow>) throws -> RewardTask {
        guard let objective = Self.objectives.first(where: { $0.name == settings.loss })?.make(settings) else {
            preconditionFailure("the loss \(settings.loss) was accepted")
        }
        return RewardTask(rows, objective: objective, outputs: try outputs(rows) + gradingOutputs, sharesPrefixes: settings.sharesPrefixes)
    }
}
