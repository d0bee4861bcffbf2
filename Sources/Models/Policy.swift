import Tensors

/// What a model says of a batch's scored tokens, all in the order of the batch's rows.
public struct TokenScores: Sendable {
    /// log π of each scored token, in nats.
    public var logProbs: Ragged
    /// Entropy of the distribution each was drawn from, in nats.
    public var entropies: [Double]
    /// Whether the token was the most probable one.
    public var isArgmax: [Bool]
    /// log Σ_v p_v² of the distribution each was drawn from, and the mean of its logits.
    public var logSumSquares: [Double] = [], meanLogits: [Double] = []
    /// The score head's outputs at the batch's read-out points, `[points, outputs]`; empty if none was asked for.
    public var readouts: [Double]
    public init(logProbs: Ragged = Ragged(), entropies: [Double] = [], isArgmax: [Bool] = [], readouts: [Double] = []) {
        self.logProbs = logProbs
        self.entropies = entropies
        self.isArgmax = isArgmax
        self.readouts = readouts
    }
}

/// The gradient of a loss with respect to what a policy said of a batch; an empty part is zero.
public struct ScoreGradient: Sendable, Equatable {
    /// ∂L/∂log π, in the layout of `TokenScores.logProbs.values`.
    public var logProbs: [Double]
    /// ∂L/∂readouts, `[points, outputs]`.
    public var readouts: [Double]
    public init(logProbs: [Double] = [], readouts: [Double] = []) { (self.logProbs, self.readouts) = (logProbs, readouts) }
}

/// A model as a stage sees it: log-probs and read-outs of a score head forward, their gradient backward.
public protocol Policy: AnyObject {
    /// Log-probs of the batch's rows, and its read-outs; what the backward needs is kept until then or until the next call.
    func logProbs(of batch: SegmentTree) throws -> TokenScores
    /// The same numbers, bit for bit, keeping nothing; nothing is dropped out.
    func scores(of batch: SegmentTree) throws -> TokenScores
    /// Adds ∂L/∂θ to the parameters' gradients.
    func backward(_ gradient: ScoreGradient) throws
}

extension Policy {
    /// The backward of a loss of log-probs alone: ∂L/∂log π in the layout of `logProbs.values`.
    public func backward(_ gradient: [Double]) throws { try backward(ScoreGradient(logProbs: gradient)) }
}

/// One named tensor's place in a policy's flat buffers.
public struct ParameterInfo: Sendable, Equatable {
    /// The checkpoint's name, such as `model.layers.0.self_attn.q_proj.weight`.
    public var name: String
    public var shape: [Int]
    public var offset: Int
    public var count: Int
    /// Whether weight decay applies: not on norms and biases.
    public var decays: Bool
    public init(name: String, shape: [Int], offset: Int, count: Int, decays: Bool) {
        self.name = name
        self.shape = shape
        self.offset = offset
        self.count = count
        self.decays = decays
    }
    public var range: Range<Int> { offset..<offset + count }
}

/// A policy whose weights an optimizer may change.
public protocol TrainablePolicy: Policy {
    var parameters: [ParameterInfo] { get }
    /// fp32 master weights and their gradients, flat, in the same layout.
    var weights: FloatBuffer { get }
    var gradients: FloatBuffer { get }
    /// To be called after the weights have changed.
    func weightsChanged()
    /// To be called before each optimizer step, counted from 0: what is drawn in the step (dropout) follows from its number.
    func beginStep(_ step: Int)
    /// The model before any training, at no memory of its own; nil where only a copy could be that.
    var reference: (any Policy)? { get }
    /// Calls `change` once for every piece of the weights, several at a time, and takes them as changed.
    ///
    /// A piece lies in parameters of one kind, decayed or not, and fits a core's cache, where what follows a change finds it.
    func changeWeights(on compute: Compute, _ change: (_ piece: Range<Int>, _ decays: Bool) -> Void)
}

extension TrainablePolicy {
    public func beginStep(_ step: Int) {}
    public var reference: (any Policy)? { nil }

    public func changeWeights(on compute: Compute, _ change: (_ piece: Range<Int>, _ decays: Bool) -> Void) { changePieces(on: compute, change) }

    func changePieces(on compute: Compute, _ change: (_ piece: Range<Int>, _ decays: Bool) -> Void) {
        let size = 1 << 14
        for parameter in parameters {
            compute.parallel((parameter.count + size - 1) / size) { i in
                let start = parameter.offset + i * size
                change(start..<min(start + size, parameter.range.upperBound), parameter.decays)
            }
        }
        weightsChanged()
    }
}
