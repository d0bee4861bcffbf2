/// Next-token cross-entropy of the chosen completions, as a term beside a pairwise loss or alone.
///
///     L = −(1/N) Σ log π(y_w,t | x, y_w,<t)          ∂L/∂log π(y_w,t) = −1/N
///
/// N counts the chosen tokens of the *whole* optimizer step. The rejected side takes no part. TRL calls it `sft`.
public struct ChosenLikelihood: PairwiseObjective {
    public static let name = "sft"
    /// Of the rewards in the metrics alone.
    public var beta: Double
    public var likelihoodWeight: Double { 1 }

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss { PairLoss(value: 0, slope: 0) }
}
