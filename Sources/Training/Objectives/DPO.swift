/// Direct Preference Optimization: fits the policy to pairs, with no reward model and no sampling.
///
///     Δ = [log π(y_w|x) − log π_ref(y_w|x)] − [log π(y_l|x) − log π_ref(y_l|x)]
///     L = −(1−ε)·log σ(β·Δ) − ε·log σ(−β·Δ)          ∂L/∂Δ = β·(σ(β·Δ) − (1−ε))
///
/// Source: Rafailov et al. 2023, eq. 7 (ε = 0); ε: Mitchell 2023, "conservative DPO".
/// Log-probabilities are sums over completion tokens, in nats, so β is in nats⁻¹. The step's loss is the mean over its pairs.
public struct DPO: PairwiseObjective {
    public static let name = "sigmoid"
    public static let takesDivergence = true
    public var beta: Double  // 0.1: the paper's dialogue setting
    public var labelSmoothing: Double  // ε: probability that a label is flipped, in [0, 0.5)

    public init(beta: Double = 0.1, labelSmoothing: Double = 0) { (self.beta, self.labelSmoothing) = (beta, labelSmoothing) }

    public func loss(of pair: PairScores) -> PairLoss {
        let (value, slope) = pairLoss(pair.delta)
        return PairLoss(value: value, slope: slope)
    }

    /// Eq. 7 for one pair, and its derivative with respect to Δ.
    func pairLoss(_ delta: Double) -> (loss: Double, slope: Double) {
        let loss = -(1 - labelSmoothing) * logSigmoid(beta * delta) - labelSmoothing * logSigmoid(-beta * delta)
        return (loss, beta * (sigmoid(beta * delta) - (1 - labelSmoothing)))
    }
}
