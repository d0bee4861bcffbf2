/// DPO-positive: DPO that is punished where the chosen completion becomes less likely than under the reference.
///
///     u = β·(Δ − λ·max(0, −r_w)),  r_w = log π(y_w|x) − log π_ref(y_w|x)          L = −log σ(u)
///     ∂L/∂r_w = −β·σ(−u)·(1 + λ·[r_w < 0])          ∂L/∂r_l = β·σ(−u)
///
/// Source: Pal et al. 2024 (Smaug, DPO-positive). The step's loss is the mean over its pairs.
public struct DPOP: PairwiseObjective {
    public static let name = "dpop"
    public var beta: Double
    public var lambda: Double

    public init(beta: Double = 0.1, lambda: Double = 50) { (self.beta, self.lambda) = (beta, lambda) }

    public func loss(of pair: PairScores) -> PairLoss {
        let u = beta * (pair.delta - lambda * max(0, -pair.chosen))
        let slope = -beta * sigmoid(-u)
        return PairLoss(value: -logSigmoid(u), chosen: slope * (pair.chosen < 0 ? 1 + lambda : 1), rejected: -slope)
    }
}
