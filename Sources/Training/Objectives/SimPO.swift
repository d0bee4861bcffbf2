/// Simple preference optimization: average log-probs are the rewards, there is no reference, and a margin is asked for.
///
///     u = β·(log π(y_w|x)/|y_w| − log π(y_l|x)/|y_l|) − γ          L = −(1−ε)·log σ(u) − ε·log σ(−u)
///     ∂L/∂u = σ(u) − (1−ε)
///
/// Source: Meng et al. 2024 (SimPO), eq. 6; their β is 2 to 10, their γ/β 0.25 to 0.5. The step's loss is the mean over its pairs.
public struct SimPO: PairwiseObjective {
    public static let name = "simpo"
    public var beta: Double
    public var gamma: Double
    public var labelSmoothing: Double

    public init(beta: Double = 2, gamma: Double = 0.5, labelSmoothing: Double = 0) {
        (self.beta, self.gamma, self.labelSmoothing) = (beta, gamma, labelSmoothing)
    }

    public func loss(of pair: PairScores) -> PairLoss {
        let u = beta * pair.meanDelta - gamma
        let value = -(1 - labelSmoothing) * logSigmoid(u) - labelSmoothing * logSigmoid(-u)
        return PairLoss(value: value, slope: beta * (sigmoid(u) - (1 - labelSmoothing)), of: pair)
    }

    public func rewards(of pair: PairScores) -> (chosen: Double, rejected: Double) { meanRewards(of: pair) }
}

extension PairwiseObjective {
    /// β times the averages per token: the rewards of losses without a reference.
    func meanRewards(of pair: PairScores) -> (chosen: Double, rejected: Double) {
        (beta * pair.chosen / pair.chosenLength, beta * pair.rejected / pair.rejectedLength)
    }
}
