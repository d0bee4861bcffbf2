import CAlign
import Foundation

/// Softmax statistics of rows of logits that arrive in blocks of the vocabulary, so that no row is ever whole in memory.
///
/// Sums inside a piece are in single precision, over pieces in `Double`; a row's bits depend on the pieces' bounds alone.
public struct CrossEntropy: Sendable {
    /// How a product's logits are cut: columns that a thread holds in its cache, and that share a largest logit.
    public static let pieces = PackedLinear.Pieces(columns: 512)

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
    /// The pieces, cut as `pieces` says, must come in the order of columns for each row.
    /// - Parameter tops: Unless nil, every piece's values become e^(z − top) on their way, with top its row's largest logit in
    ///   the piece, kept here: `[rows, pieces of the block]`.
    public mutating func collect(rows: Range<Int>, first: Int, tops: Matrix? = nil, on compute: Compute, _ product: ((PackedLinear.Piece) -> Void) -> Void) {
        precondition(rows.upperBound <= targets.count, "rows \(rows) of \(targets.count)")
        let table = compute.path.elementwise
        let (targets, scale) = (targets, scale)
        states.withUnsafeMutableBufferPointer { states in
            guard let states = states.baseAddress else { return }
            product { piece in
                for (i, row) in piece.rows.enumerated() {
                    if scale != 1 { table.pointee.scale(piece.values + i * piece.stride, scale, piece.columns.count) }
                    let top = table.pointee.cross_entropy_block(piece.values + i * piece.stride, Int32(piece.columns.count),
                        Int32(first + piece.columns.lowerBound), targets[rows.lowerBound + row], states + rows.lowerBound + row, tops == nil ? 0 : 1)
                    if let tops { tops.pointer[row * tops.stride + piece.columns.lowerBound / Self.pieces.columns] = top }
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
    /// log Σ p² of each row: twice the log of how much of itself a distribution meets.
    public var logSumSquares: [Double] { states.map { log($0.squares) - 2 * log($0.sum) } }
    /// Mean of each row's logits, over the temperature.
    public var meanLogits: [Double] { states.map { $0.columns == 0 ? 0 : $0.logits / Double($0.columns) } }
    /// Whether the target is the (first) largest logit.
    public var isArgmax: [Bool] { zip(states, targets).map { $0.argmax == $1 } }
}

/// The backward of Σ coefficient · log p(target): ∂/∂logits = coefficient · (onehot(target) − softmax).
///
/// A softmax is e^(z − top) · e^(top − log Σ): the first factor is what `CrossEntropy.collect` left of the logits, the second
/// waits for the whole row's sum. Rounding the first to bf16 costs each gradient 2⁻⁹ of itself; the target's own, a difference
/// that may be tiny, is made of its log-prob instead.
public struct CrossEntropyBackward: Sendable {
    private let targets: [Int32]
    private let logProbs: [Double]
    private let logSumExp: [Double]
    private let coefficients: [Double]

    /// One of each a row.
    public init(targets: [Int32], logProbs: [Double], logSumExp: [Double], coefficients: [Double]) {
        precondition(targets.count == logSumExp.count && targets.count == coefficients.count && targets.count == logProbs.count,
            "\(targets.count) targets, \(logProbs.count) log-probs, \(logSumExp.count) sums, \(coefficients.count) coefficients")
        self.targets = targets
        self.logProbs = logProbs
        self.logSumExp = logSumExp
        self.coefficients = coefficients
    }

    /// Turns what is left of the logits of all rows, columns from `first` on, into their gradient.
    public func apply(to exponentials: Operand, tops: Matrix, first: Int, on compute: Compute) {
        precondition(exponentials.rows == targets.count && tops.rows == targets.count, "\(exponentials.rows) rows, \(tops.rows) of tops for \(targets.count) targets")
        let (table, width, columns) = (compute.path.elementwise, CrossEntropy.pieces.columns, exponentials.columns)
        compute.forEachRowBlock(targets.count, size: 16) { rows in
            compute.withScratch(width) { scratch in
                for row in rows {
                    let target = Int(targets[row]) - first
                    for start in stride(from: 0, to: columns, by: width) {
                        let range = start..<min(start + width, columns)
                        let values = exponentials.matrix.map { $0.pointer + row * $0.stride + start } ?? scratch
                        if exponentials.precision == .bf16 { exponentials.load(scratch, stride: width, rows: row..<row + 1, columns: range, compute.kernels) }
                        let factor = -coefficients[row] * exp(Double(tops.pointer[row * tops.stride + start / width]) - logSumExp[row])
                        table.pointee.scale(values, Float(factor), range.count)
                        if range.contains(target) { values[target - start] = Float(-coefficients[row] * expm1(logProbs[row])) }
                        if exponentials.precision == .bf16 { exponentials.store(scratch, stride: width, rows: row..<row + 1, columns: range, compute.kernels) }
                    }
                }
            }
        }
    }
}
