/// Binary classifier optimization on pairs: each side is classified by the sign of its reward.
///
///     L = −log σ(β·r_w) − log σ(−β·r_l),  r = log π − log π_ref
///     ∂L/∂r_w = −β·σ(−β·r_w)          ∂L/∂r_l = β·σ(β·r_l)
///
/// Source: Jung et al. 2024 (BCO), with reward shift δ = 0; unpaired data has `BCO`, with its running δ.
/// The step's loss is the mean over its pairs.
public struct BCOPair: PairwiseObjective {
    public static let name = "bco_pair"
    public var beta: Double

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let (w, l) = (beta * pair.chosen, beta * pair.rejected)
        return PairLoss(value: -logSigmoid(w) - logSigmoid(-l), chosen: -beta * sigmoid(-w), rejected: beta * sigmoid(l))
    }
}
