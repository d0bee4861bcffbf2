import Foundation

/// Efficient Exact Optimization on pairs: the reverse KL from the policy's preference to the smoothed label, where DPO has the forward one.
///
///     q = σ(β·Δ)          L = q·[log q − log(1−ε)] + (1−q)·[log(1−q) − log ε]
///     ∂L/∂Δ = β·q·(1−q)·[β·Δ − log((1−ε)/ε)]
///
/// Source: Ji et al. 2024 (EXO), eq. 16; ε > 0, else the loss is infinite. The step's loss is the mean over its pairs.
public struct EXO: PairwiseObjective {
    public static let name = "exo_pair"
    public static let takesDivergence = true
    public var beta: Double
    public var labelSmoothing: Double  // ε, in (0, 0.5)

    public init(beta: Double = 0.1, labelSmoothing: Double = 1e-3) { (self.beta, self.labelSmoothing) = (beta, labelSmoothing) }

    public func loss(of pair: PairScores) -> PairLoss {
        let a = beta * pair.delta
        let (q, p) = (sigmoid(a), sigmoid(-a))
        let value = q * (logSigmoid(a) - log1p(-labelSmoothing)) + p * (logSigmoid(-a) - log(labelSmoothing))
        return PairLoss(value: value, slope: beta * q * p * (a - log1p(-labelSmoothing) + log(labelSmoothing)))
    }
}
