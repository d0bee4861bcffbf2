import Models
import Tensors

/// The score head that a stage asks a model for, in place of its language head.
public struct ScoreHead: Sendable {
    /// Rows of `score.weight`.
    public var outputs: Int
    /// Rows of `grading.weight` below it.
    public var gradingOutputs: Int
    /// Safetensors file whose tensors of these names the head begins with.
    public var file: String?
    /// How it begins where neither the file nor the model has one.
    public var start: RewardSettings.HeadStart
    public var seed: UInt64
    /// Tokens at which rows end: padding must be none of them, or readers that look for the last token before the padding miss it.
    public var finalTokens: Set<Int32>

    public init(
        outputs: Int = 1, gradingOutputs: Int = 0, file: String? = nil, start: RewardSettings.HeadStart = .normal, seed: UInt64 = 0,
        finalTokens: Set<Int32> = []
    ) {
        (self.outputs, self.gradingOutputs, self.file, self.start, self.seed) = (outputs, gradingOutputs, file, start, seed)
        self.finalTokens = finalTokens
    }

    /// Draws one of its weights `[rows, d]`.
    /// - Parameter initializerRange: The deviation that the model's config gives new matrices.
    public func draw(_ name: String, width d: Int, initializerRange: Double, into values: UnsafeMutableBufferPointer<Float>) {
        let deviation =
            switch start {
            case .normal: initializerRange
            case .scaled: 1 / Double(d + 1).squareRoot()
            case .zero: 0.0
            }
        var random = RandomStream(seed: seed, stream: RandomStreamID.scoreHead, index: name == "score.weight" ? 0 : 1)
        for i in values.indices { values[i] = Float(random.normal() * deviation) }
    }
}
