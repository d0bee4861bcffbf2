/// Noise-contrastive alignment on pairs: each reward is told from noise, so that the chosen one does not fall with the rejected one.
///
///     L = −log σ(β·r_w) − ½·log σ(−β·r_w) − ½·log σ(−β·r_l),  r = log π − log π_ref
///     ∂L/∂r_w = β·[½·σ(β·r_w) − σ(−β·r_w)]          ∂L/∂r_l = ½·β·σ(β·r_l)
///
/// Source: Chen et al. 2024 (NCA), for K = 2 and a hard reward. The step's loss is the mean over its pairs.
public struct NCA: PairwiseObjective {
    public static let name = "nca_pair"
    public var beta: Double

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let (w, l) = (beta * pair.chosen, beta * pair.rejected)
        return PairLoss(
            value: -logSigmoid(w) - 0.5 * logSigmoid(-w) - 0.5 * logSigmoid(-l), chosen: beta * (0.5 * sigmoid(w) - sigmoid(-w)),
            rejected: 0.5 * beta * sigmoid(l))
    }
}
