/// Kahneman–Tversky optimization: completions that are good or bad by themselves, measured against how far the policy has moved at all.
///
///     r = log π(y|x) − log π_ref(y|x),  z₀ = max(0, mean of r over mismatched prompts and completions of the step), constant
///     desirable    L = λ_D·[1 − σ(β·(r − z₀))]          ∂L/∂r = −λ_D·β·σ′(β·(r − z₀))
///     undesirable  L = λ_U·[1 − σ(β·(z₀ − r))]          ∂L/∂r = +λ_U·β·σ′(β·(z₀ − r))
///
/// Source: Ethayarajh et al. 2024 (KTO), eq. 7; mismatched by rotating the step's completions by one, as TRL does in a
/// micro-batch. The step's loss is the mean over its completions.
public struct KTO: UnpairedObjective {
    public static let name = "kto"
    public static var anchoring: StepAnchor { .mismatchedKL }
    public var beta: Double, desirableWeight: Double, undesirableWeight: Double
    public var anchor = 0.0  // z₀, nats

    public init(beta: Double = 0.1, desirableWeight: Double = 1, undesirableWeight: Double = 1) {
        (self.beta, self.desirableWeight, self.undesirableWeight) = (beta, desirableWeight, undesirableWeight)
    }

    public func loss(logRatio: Double, isDesirable: Bool) -> (value: Double, slope: Double) {
        let sign: Double = isDesirable ? 1 : -1
        let a = sign * beta * (logRatio - anchor)
        return (sigmoid(-a), -sign * beta * sigmoid(a) * sigmoid(-a))
    }
}

/// APO-zero on single completions: KTO with the reference itself as the anchor.
///
///     desirable    L = λ_D·[1 − σ(β·r)]          undesirable  L = λ_U·σ(β·r)
///
/// Source: D'Oosterlinck et al. 2024 (APO), eq. 7, unpaired as in TRL. The step's loss is the mean over its completions.
public struct APOZeroUnpaired: UnpairedObjective {
    public static let name = "apo_zero_unpaired"
    public static var anchoring: StepAnchor { .none }
    public var beta: Double, desirableWeight: Double, undesirableWeight: Double
    public var anchor = 0.0

    public init(beta: Double = 0.1, desirableWeight: Double = 1, undesirableWeight: Double = 1) {
        (self.beta, self.desirableWeight, self.undesirableWeight) = (beta, desirableWeight, undesirableWeight)
    }

    public func loss(logRatio: Double, isDesirable: Bool) -> (value: Double, slope: Double) {
        KTO(beta: beta).loss(logRatio: logRatio, isDesirable: isDesirable)
    }
}
