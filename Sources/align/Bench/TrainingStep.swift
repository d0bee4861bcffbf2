import Checkpoints
import Models
import Tensors
import Training

/// A batch of random tokens and the gradient of its log-probs.
struct BenchBatch {
    var batch = SegmentTree()
    var gradient: [Double] = []

    static func tokens(_ count: Int, _ index: Int, of config: ModelConfig) -> [Int32] {
        var random = RandomStream(seed: 1, stream: 2, index: UInt64(index))
        return (0..<count).map { _ in Int32(random.next() % UInt64(config.vocabularySize)) }
    }

    /// Preference pairs, at the start of DPO: half of the log-probs up, half down.
    static func pairs(_ pairs: Int, prompt: Int, completion: Int, of config: ModelConfig) -> BenchBatch {
        var made = BenchBatch()
        for pair in 0..<pairs {
            let root = made.batch.append(tokens(prompt, 3 * pair, of: config))
            for side in 1...2 {
                made.batch.addRow(segment: made.batch.append(tokens(completion, 3 * pair + side, of: config), parent: root))
                made.gradient += [Double](repeating: side == 1 ? -0.05 : 0.05, count: completion)
            }
        }
        return made
    }

    /// Documents of which every token but the first is predicted.
    static func documents(_ rows: Int, length: Int, of config: ModelConfig) -> BenchBatch {
        var made = BenchBatch()
        for row in 0..<rows { made.batch.addRow(segment: made.batch.append(tokens(length, row, of: config))) }
        made.gradient = [Double](repeating: -1 / Double(made.batch.scoredTokenCount), count: made.batch.scoredTokenCount)
        return made
    }

    /// Floating-point operations of a training step: the forward's, and twice as many backward. What a backward computes
    /// again to save memory is not counted.
    func operations(_ config: ModelConfig) -> Double { 3 * Transformer.forwardOperations(config: config, batch: batch) }

    func memoryEstimate(_ config: ModelConfig, _ precision: Precision) -> Int {
        Transformer.memoryEstimate(
            config: config, tokens: batch.tokenCount, scoredTokens: batch.scoredTokenCount, trains: true, precision: precision, recompute: false)
    }
}

/// A model and its optimizer, for whole steps.
final class TrainingStep {
    let model: Transformer
    private let optimizer: AdamW

    init(_ model: Transformer) {
        self.model = model
        optimizer = AdamW(model, settings: AdamW.Settings(), compute: model.compute)
    }

    /// Forward, backward, gradient norm, and AdamW, which packs the weights and clears the gradients.
    func run(_ batch: BenchBatch) throws { try run(batch.batch) { _ in ScoreGradient(logProbs: batch.gradient) } }

    /// The same with the gradient of a loss.
    func run(_ batch: SegmentTree, _ gradient: (TokenScores) throws -> ScoreGradient) throws {
        try model.backward(gradient(model.logProbs(of: batch)))
        // So slow that the weights stay what they are.
        optimizer.update(model, learningRate: 1e-9, gradientNorm: optimizer.gradientNorm(of: model))
    }
}
