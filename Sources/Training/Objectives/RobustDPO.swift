/// Robust DPO: an unbiased estimate of DPO's loss where a share ε of the labels is flipped.
///
///     L = [−(1−ε)·log σ(β·Δ) + ε·log σ(−β·Δ)] / (1 − 2·ε)
///     ∂L/∂Δ = −β·[(1−ε)·σ(−β·Δ) + ε·σ(β·Δ)] / (1 − 2·ε)
///
/// Unbounded below: the pull never ends. Source: Chowdhury et al. 2024, "Provably Robust DPO". The step's loss is the mean over its pairs.
public struct RobustDPO: PairwiseObjective {
    public static let name = "robust"
    public static let takesDivergence = true
    public var beta: Double
    public var labelSmoothing: Double  // ε, in [0, 0.5)

    public init(beta: Double = 0.1, labelSmoothing: Double = 0) { (self.beta, self.labelSmoothing) = (beta, labelSmoothing) }

    public func loss(of pair: PairScores) -> PairLoss {
        let (a, e) = (beta * pair.delta, labelSmoothing)
        let scale = 1 / (1 - 2 * e)
        return PairLoss(
            value: (-(1 - e) * logSigmoid(a) + e * logSigmoid(-a)) * scale, slope: -beta * ((1 - e) * sigmoid(-a) + e * sigmoid(a)) * scale)
    }
}
