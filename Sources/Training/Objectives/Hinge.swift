/// The hinge of SLiC in the form of RSO: pairs that are right by a margin of 1/β are left alone.
///
///     L = max(0, 1 − β·Δ)          ∂L/∂Δ = −β where β·Δ < 1, else 0
///
/// Source: Liu et al. 2023 (RSO), after Zhao et al. 2023 (SLiC). Without a reference it is SLiC's own calibration loss
/// with margin 1/β. The step's loss is the mean over its pairs.
public struct Hinge: PairwiseObjective {
    public static let name = "hinge"
    public static let takesDivergence = true
    public var beta: Double

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let room = 1 - beta * pair.delta
        return PairLoss(value: max(0, room), slope: room > 0 ? -beta : 0)
    }
}
