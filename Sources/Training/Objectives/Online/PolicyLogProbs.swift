import Models

/// What online objectives are a function of: completions that an earlier policy sampled.
public struct PolicyLogProbs: Sendable {
    /// log π of each sampled token, nats; one row a completion.
    public var logProbs: Ragged
    /// log π_old under the policy that sampled them, by the same kernels; constants.
    public var old: Ragged
    /// log π_ref; constants; nil where no reference is used.
    public var reference: Ragged?
    /// One a completion, shared by its tokens, or one a token; constants.
    public var advantages: Ragged

    /// - Parameter advantages: One a token.
    public init(logProbs: Ragged, old: Ragged, reference: Ragged? = nil, advantages: Ragged) {
        precondition(
            logProbs.offsets == old.offsets && logProbs.offsets == advantages.offsets && reference?.offsets ?? old.offsets == old.offsets,
            "\(logProbs.values.count) log-probs, \(old.values.count) old ones, \(advantages.values.count) advantages")
        (self.logProbs, self.old, self.reference, self.advantages) = (logProbs, old, reference, advantages)
    }

    /// - Parameter advantages: One a completion.
    public init(logProbs: Ragged, old: Ragged, reference: Ragged? = nil, advantages: [Double]) {
        precondition(advantages.count == logProbs.rows, "\(advantages.count) advantages of \(logProbs.rows) completions")
        var spread = logProbs
        for row in 0..<logProbs.rows { for t in logProbs.range(row) { spread.values[t] = advantages[row] } }
        self.init(logProbs: logProbs, old: old, reference: reference, advantages: spread)
    }

    /// The advantage of a completion whose tokens share it; 0 of an empty one.
    func advantage(_ row: Int) -> Double { advantages[row].first ?? 0 }
    /// log π(y|x) − log π_old(y|x).
    func logRatio(_ row: Int) -> Double { logProbs.sum(row) - old.sum(row) }

    func checked(_ name: String, _ row: Int) throws(ObjectiveError) {
        guard logRatio(row).isFinite else { throw .notFinite(objective: name, quantity: "the log-ratio", row: row) }
    }
}

/// The clipped surrogate of PPO for one ratio, and its derivative with respect to log π.
///
///     −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A)          ∂/∂log π = −ρ·A, or 0 where the clipped side is the smaller
///
/// - Parameter limit: ρ itself is held below it (two-sided clipping, Ye et al. 2020), so that a negative advantage cannot push without end.
/// - Returns: Also whether the ratio is out of its range on the side that the advantage pushes to.
func clippedSurrogate(
    ratio: Double, advantage: Double, low: Double, high: Double, limit: Double? = nil
) -> (value: Double, slope: Double, isClipped: Bool) {
    let bounded = min(ratio, limit ?? .infinity)
    let (free, clipped) = (bounded * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
    let isOut = (bounded < 1 - low && advantage < 0) || (bounded > 1 + high && advantage > 0)
    // Either side moves with the ratio only inside its own bounds.
    let moves = free <= clipped ? bounded == ratio : ratio > 1 - low && ratio < 1 + high
    return (-min(free, clipped), moves ? -ratio * advantage : 0, isOut)
}
