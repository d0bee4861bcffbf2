import Models

/// What every offline preference loss is a function of.
///
/// Rows `0..<B` are the chosen completions, rows `B..<2·B` the rejected ones, in the same order of prompts.
public struct PairLogProbs: Sendable {
    /// log π of each completion token, nats; 2·B rows.
    public var logProbs: Ragged
    /// log π_ref(y|x), summed over the completion under the objective's token weights, shape [2·B]; constants, 0 without a reference.
    public var reference: [Double]
    /// log Σ_v p_v² of the distribution that each token of `logProbs` comes from, for WPO's weights; a constant.
    public var logSumSquares: [Double]?

    public init(logProbs: Ragged, reference: [Double], logSumSquares: [Double]? = nil) {
        precondition(logProbs.rows == reference.count, "\(logProbs.rows) completions, \(reference.count) reference log-probs")
        precondition(logProbs.rows % 2 == 0, "\(logProbs.rows) completions do not make pairs")
        precondition(
            logSumSquares.map { $0.count == logProbs.values.count } ?? true,
            "\(logProbs.values.count) log-probs, \(logSumSquares?.count ?? 0) sums of squares")
        (self.logProbs, self.reference, self.logSumSquares) = (logProbs, reference, logSumSquares)
    }

    /// B.
    public var pairs: Int { reference.count / 2 }
}

/// An objective over preference pairs with implicit rewards β·(log π − log π_ref).
public protocol PairObjective: Objective where Inputs == PairLogProbs {
    var beta: Double { get }
    /// Whether the loss of one pair depends on the step's other pairs: it is then given all pairs of the step in one call,
    /// because half of them would give another loss and not half of it.
    var couplesPairs: Bool { get }
    /// Weight of the tokens beyond the shorter of a pair's two lengths, in the policy's sums and in the reference's; 1 is the plain sum.
    var tailWeight: Double { get }
    /// Whether `PairLogProbs.logSumSquares` is read.
    var needsSumSquares: Bool { get }
}

extension PairObjective {
    public var couplesPairs: Bool { false }
    public var tailWeight: Double { 1 }
    public var needsSumSquares: Bool { false }
}
