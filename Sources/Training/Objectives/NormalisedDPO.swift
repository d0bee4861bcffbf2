/// Length-normalised DPO: the log-ratios are averages per token, so that a long completion is not a large one.
///
///     u = r_w/|y_w| − r_l/|y_l|,  r = log π − log π_ref          L = −log σ(β·u)          ∂L/∂u = −β·σ(−β·u)
///
/// Source: Lambert et al. 2024 (Tülu 3), with β = 5. TRL calls it `sigmoid_norm`. The step's loss is the mean over its pairs.
public struct NormalisedDPO: PairwiseObjective {
    public static let name = "sigmoid_norm"
    public static let takesDivergence = true
    public var beta: Double

    public init(beta: Double = 5) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let u = beta * pair.meanDelta
        return PairLoss(value: -logSigmoid(u), slope: -beta * sigmoid(-u), of: pair)
    }
}
