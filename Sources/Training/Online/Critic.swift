import Models
import Tensors

/// How a value model is had, and how it learns.
public struct ValueSettings: Codable, Sendable, Equatable {
    /// A reward model, whose head is taken, or a language model; nil is the policy's own start.
    public var model: String?
    /// Peak; 0 takes the policy's.
    public var learningRate = 0.0
    /// Steps of the run in which the value model learns alone.
    public var warmupSteps = 0
    /// ε of the value loss.
    public var clipRange = 0.2
    /// c: what the value loss is multiplied by.
    public var coefficient = 0.1
    public init() {}

    public static let fields: [SettingField<ValueSettings>] = [
        .text("value-model", \.model, placeholder: "PATH", group: "Value model", aliases: ["value_model_name_or_path", "critic"],
            help: "what the value model starts as: a reward model with its head, or a language model with a head of zeros; the policy's own start if absent"),
        .number("value-learning-rate", \.learningRate, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Value model", aliases: ["critic_learning_rate"],
            help: "peak learning rate of the value model; 0: as --learning-rate"),
        .integer("value-warmup-steps", \.warmupSteps, in: 0...1_000_000, group: "Value model",
            help: "first steps of the run, in which only the value model learns"),
        .number("cliprange-value", \.clipRange, expected: "a number above 0", where: { $0 > 0 }, group: "Value model", aliases: ["value_clip"],
            help: "how far a value moves within a step before its gradient ends"),
        .number("vf-coef", \.coefficient, expected: "a number above 0", where: { $0 > 0 }, group: "Value model", help: "weight of the value loss"),
    ]

    /// The policy's schedule, with a peak of its own.
    func schedule(_ training: TrainingSettings, totalSteps: Int) -> LearningRateSchedule {
        var training = training
        if learningRate > 0 { training.learningRate = learningRate }
        return training.learningRateSchedule(totalSteps: totalSteps)
    }
}

/// The value model that some methods train beside the policy: V of the prompt and a completion so far, with an optimizer of its own.
///
/// It is a separate network, as in TRL. V_t is read where token t is predicted, before it is there: at the last token of the prompt for the
/// first one. The networks share nothing, so that either's gradient is clipped by its own norm.
final class Critic {
    let settings: ValueSettings
    let model: any TrainablePolicy
    let optimizer: AdamW
    /// Weights, in F32, into a folder that it makes.
    let saveWeights: (_ folder: String) throws -> Void

    static let folder = "training/value", optimizerName = "training/value-optimizer.safetensors"
    /// Its updates so far, in `LoopState.memory`.
    static let updates = "value_updates"

    init(_ settings: ValueSettings, model: any TrainablePolicy, optimizer: AdamW, saveWeights: @escaping (_ folder: String) throws -> Void) {
        (self.settings, self.model, self.optimizer, self.saveWeights) = (settings, model, optimizer, saveWeights)
    }

    /// V of each token of some samples, keeping nothing.
    func values(of samples: [Int], in experience: Experience) throws -> [Double] {
        try model.scores(of: experience.tree(samples, reads: .values)).readouts
    }

    /// Adds the gradient of c·L_V of some samples.
    /// - Returns: Their share of L_V, without c.
    /// - Throws: `ObjectiveError`.
    func accumulate(_ samples: [Int], _ experience: Experience, _ weighing: Weighing, step: StepTotals, into metrics: inout Metrics) throws -> Double {
        guard let old = experience.values, let returns = weighing.returns else { preconditionFailure("a value model without values or returns") }
        let found = try model.logProbs(of: experience.tree(samples, reads: .values)).readouts
        func rows(_ ragged: Ragged) -> Ragged { Ragged(rows: samples.map { Array(ragged[$0]) }) }
        let previous = rows(old)
        var loss = try ValueLoss(clipRange: settings.clipRange)(
            ValueLoss.Inputs(values: Ragged(values: found, offsets: previous.offsets), old: previous, returns: rows(returns)), step: step)
        metrics.add(loss.metrics)
        for index in loss.gradient.values.indices { loss.gradient.values[index] *= settings.coefficient }
        try model.backward(ScoreGradient(readouts: loss.gradient.values))
        return loss.value
    }

    /// What a resumed loop needs of it, into the folder of a checkpoint.
    func save(to checkpoint: String) throws {
        try DurableFiles.makeFolder(checkpoint + "/training")
        try saveWeights(checkpoint + "/" + Self.folder)
        try OptimizerFile.save(optimizer, to: checkpoint + "/" + Self.optimizerName)
    }
}

extension ModelSource {
    /// The model as one that gives a value to every token: its own score head, or one of zeros, so that V is 0 at first.
    /// - Throws: `TrainingError.otherVocabulary`, `ModelError.noScoreHead`.
    func valuing(for policy: ModelSource) throws -> ModelSource {
        guard vocabularySize == policy.vocabularySize else {
            throw TrainingError.otherVocabulary(model: path, found: vocabularySize, expected: policy.vocabularySize)
        }
        guard let scoring else { throw ModelError.noScoreHead(architecture: path) }
        return try scoring(ScoreHead(outputs: 1, start: .zero))
    }
}
