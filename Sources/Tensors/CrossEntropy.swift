import CAlign
import Foundation

/// Softmax statistics of rows of logits that arrive in blocks of the vocabulary, so that no row is ever whole in memory.
///
/// Sums inside a block are in single precision, over blocks in `Double`; a row's bits depend on the blocks' bounds alone.
public struct CrossEntropy: Sendable {
    private var states: [align_cross_entropy]
    private let targets: [Int32]

    public init(targets: ArraySlice<Int32>) {
        self.targets = Array(targets)
        var empty = align_cross_entropy()
        empty.top = -.infinity
        empty.argmax = -1
        states = Array(repeating: empty, count: targets.count)
    }

    /// Takes in the columns from `first` on, `[rows, columns]`.
    public mutating func add(_ logits: Matrix, first: Int, on compute: Compute) {
        precondition(logits.rows == targets.count, "\(logits.rows) rows, \(targets.count) targets")
        let table = compute.path.elementwise
        let targets = targets
        states.withUnsafeMutableBufferPointer { states in
            let states = states.baseAddress!
            compute.parallel(logits.rows) { i in
                table.pointee.cross_entropy_block(logits.pointer + i * logits.stride, Int32(logits.columns), Int32(first), targets[i], states + i)
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

/// logits ← coefficient · (onehot(target) − softmax): the backward of Σ coefficient · log p(target), for the columns from `first` on.
public func crossEntropyBackward(
    _ logits: Matrix, first: Int, targets: ArraySlice<Int32>, logSumExp: ArraySlice<Double>, coefficients: ArraySlice<Double>, on compute: Compute
) {
    precondition(logits.rows == targets.count && logits.rows == coefficients.count && logits.rows == logSumExp.count,
        "\(logits.rows) rows, \(targets.count) targets, \(coefficients.count) coefficients")
    let table = compute.path.elementwise
    compute.parallel(logits.rows) { i in
        table.pointee.cross_entropy_backward(logits.pointer + i * logits.stride, Int32(logits.columns), Int32(first), targets[targets.startIndex + i],
            logSumExp[logSumExp.startIndex + i], Float(coefficients[coefficients.startIndex + i]))
    }
}
