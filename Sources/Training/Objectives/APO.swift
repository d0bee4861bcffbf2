/// Anchored preference optimization where the chosen completions are better than the model's own: up with them, down with the others.
///
///     L = 1 − σ(β·r_w) + σ(β·r_l),  r = log π − log π_ref          σ′(a) = σ(a)·σ(−a)
///     ∂L/∂r_w = −β·σ′(β·r_w)          ∂L/∂r_l = β·σ′(β·r_l)
///
/// Source: D'Oosterlinck et al. 2024 (APO), eq. 7. The step's loss is the mean over its pairs.
public struct APOZero: PairwiseObjective {
    public static let name = "apo_zero"
    public var beta: Double

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let (w, l) = (beta * pair.chosen, beta * pair.rejected)
        return PairLoss(value: sigmoid(-w) + sigmoid(l), chosen: -beta * sigmoid(w) * sigmoid(-w), rejected: beta * sigmoid(l) * sigmoid(-l))
    }
}

/// Anchored preference optimization where the model's own completions are better than the chosen ones: both go down, the rejected more.
///
///     L = σ(β·r_w) + 1 − σ(β·Δ)
///     ∂L/∂r_w = β·[σ′(β·r_w) − σ′(β·Δ)]          ∂L/∂r_l = β·σ′(β·Δ)
///
/// Source: D'Oosterlinck et al. 2024 (APO), eq. 8. The step's loss is the mean over its pairs.
public struct APODown: PairwiseObjective {
    public static let name = "apo_down"
    public var beta: Double

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let (w, h) = (beta * pair.chosen, beta * pair.delta)
        let (slopeW, slopeH) = (beta * sigmoid(w) * sigmoid(-w), beta * sigmoid(h) * sigmoid(-h))
        return PairLoss(value: sigmoid(w) + sigmoid(-h), chosen: slopeW - slopeH, rejected: slopeH)
    }
}
