import CAlign
import Foundation

/// Softmax statistics of rows of logits that arrive in blocks of the vocabulary, so that no row is ever whole in memory.
///
/// Sums inside a block are in single precision, over blocks in `Double`; a row's bits depend on the blocks' bounds alone.
public struct CrossEntropy: Sendable {
    private var states: [align_cross_entropy]
    private let targets: [Int32]
    private let scale: Float

    /// - Parameter temperature: Divides the logits.
    public init(targets: [Int32], temperature: Double = 1) {
        self.targets = targets
        scale = Float(1 / temperature)
        var empty = align_cross_entropy()
        empty.top = -.infinity
        empty.argmax = -1
        states = Array(repeating: empty, count: targets.count)
    }

    /// Runs a product whose results are logits of `rows`, the columns from `first` on; `product` hands its pieces to the closure it gets.
    ///
    /// The pieces of one row must come one after the other, in the order of columns.
    public mutating func collect(rows: Range<Int>, first: Int, on compute: Compute, _ product: ((PackedLinear.Piece) -> Void) -> Void) {
        precondition(rows.upperBound <= targets.count, "rows \(rows) of \(targets.count)")
        let table = compute.path.elementwise
        let (targets, scale) = (targets, scale)
        states.withUnsafeMutableBufferPointer { states in
            guard let states = states.baseAddress else { return }
            product { piece in
                piece.multiply(by: scale)
                for (i, row) in piece.rows.enumerated() {
                    table.pointee.cross_entropy_block(piece.values + i * piece.stride, Int32(piece.columns.count), Int32(first + piece.columns.lowerBound),
                        targets[rows.lowerBound + row], states + rows.lowerBound + row)
                }
            }
        }
    }

    /// log Σ exp of each row, in nats.
    public var logSumExp: [Double] { states.map { Double($0.top) + log($0.sum) } }
    /// log p(target) of each row, in nats.
    public var logProbs: [Double] { states.map { $0.target_logit - (Double($0.top) + log($0.sum)) } }
    /// Entropy of each row's distribution, in nats: log Σ − Σ p·(z − top).
    public var entropies: [Double] { states.map { log($0.sum) - $0.weighted / $0.sum } }
    /// Whether the target is the (first) largest logit.
    public var isArgmax: [Bool] { zip(states, targets).map { $0.argmax == $1 } }
}

/// logits ← coefficient · (onehot(target) − softmax): the backward of Σ coefficient · log p(target).
public struct CrossEntropyBackward: Sendable {
    private let targets: [Int32]
    private let logSumExp: [Double]
    private let coefficients: [Double]
    private let scale: Float

    /// One of each a row.
    /// - Parameter temperature: Divides the logits; `logSumExp` is of the divided ones.
    public init(targets: [Int32], logSumExp: [Double], coefficients: [Double], temperature: Double = 1) {
        precondition(targets.count == logSumExp.count && targets.count == coefficients.count,
            "\(targets.count) targets, \(logSumExp.count) sums, \(coefficients.count) coefficients")
        self.targets = targets
        self.logSumExp = logSumExp
        self.coefficients = coefficients
        scale = Float(1 / temperature)
    }

    /// Turns a product's results, logits of the columns from `first` on, into their gradient, on their way.
    public func apply(_ piece: PackedLinear.Piece, first: Int, on compute: Compute) {
        let table = compute.path.elementwise
        piece.multiply(by: scale)
        for (i, row) in piece.rows.enumerated() {
            table.pointee.cross_entropy_backward(piece.values + i * piece.stride, Int32(piece.columns.count), Int32(first + piece.columns.lowerBound),
                targets[row], logSumExp[row], Float(coefficients[row]) * scale)
        }
    }
}

extension PackedLinear.Piece {
    /// Multiplies the results in place.
    fileprivate func multiply(by scale: Float) {
        guard scale != 1 else { return }
        for i in rows.indices {
            let row = values + (i - rows.lowerBound) * stride
            for j in 0..<columns.count { row[j] *= scale }
        }
    }
}
