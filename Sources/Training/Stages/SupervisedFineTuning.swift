import Models
import Serialization
import Tensors

/// Fits a policy to examples by next-token cross-entropy on their completions; of conversations, on every assistant turn.
public struct SupervisedFineTuning: Stage {
    public static let name = "sft"
    public static let summary = "fit a policy to examples of good completions"
    public let settings: SupervisedSettings
    public init(_ settings: SupervisedSettings) { self.settings = settings }

    public func preflight(in context: StageContext) throws -> Preflight {
        try settings.validate()
        let source = try context.languageModel(settings.training)
        let data = try prepare(source, context)
        return try data.preflight.measured(SupervisedTask(data.rows), source: source, settings: settings.training)
    }

    public func run(in context: StageContext) async throws -> StageOutcome {
        try settings.validate()
        let training = settings.training
        let source = try context.languageModel(training)
        let data = try prepare(source, context)
        context.report(.preflight(data.preflight))

        let modelHash = try source.contentHash()
        let run = try StageRun(
            stage: Self.name, settings: settings, training: training, context: context, source: source,
            inputs: [
                ("model", .string(modelHash)), ("data", .string(try data.rows.hash())),
                ("held-out", .string(try data.heldOut.hash())),
            ],
            lineage: [["role": "model", "path": .string(source.path), "hash": .string(modelHash)]]
        )
        if let outcome = run.outcome { return outcome }
        return try await run.train(
            SupervisedTask(data.rows), evaluation: data.heldOut.isEmpty ? nil : SupervisedTask(data.heldOut),
            policy: run.loadPolicy())
    }

    /// The rows that it would train on.
    func prepare(_ source: ModelSource, _ context: StageContext) throws -> StageData<SupervisedRow> {
        let training = settings.training
        let encoder = try RowEncoder(source, settings: training)
        let scratch = context.scratch()
        func rows(_ files: [String]) throws -> PreparedRows<SupervisedRow> {
            var prepared = PreparedRows<SupervisedRow>(in: context, scratch: scratch, settings: training)
            try prepared.read(.supervised, files, settings: training) { rows, examples in
                try rows.encode(examples, origin: { $0.origin.place }) { try encoder.encode($0) }
            }
            return prepared
        }
        var data = try StageData(rows(settings.data), held: training.evalData.isEmpty ? nil : rows(training.evalData), settings: training)
        try data.describe(
            stage: Self.name, source: source, settings: training, template: encoder.templateDescription(training),
            lengths: [("tokens", { [$0.tokens.count] }), ("loss tokens", { [$0.lossTokens] })],
            sizes: { ($0.tokens.count, $0.lossTokens, $0.tokens.count) }, example: { encoder.marked($0.tokens, $0.mask) })
        return data
    }
}
