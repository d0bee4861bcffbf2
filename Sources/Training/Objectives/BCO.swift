/// Binary classifier optimization: the sign of a completion's reward, shifted by the mean reward so far, says whether it is good.
///
///     r = β·(log π(y|x) − log π_ref(y|x)),  δ = running mean of r over all completions so far, this step's included; constant
///     desirable    L = −λ_D·log σ(r − δ)          ∂L/∂(log-ratio) = −λ_D·β·σ(δ − r)
///     undesirable  L = −λ_U·log σ(δ − r)          ∂L/∂(log-ratio) = +λ_U·β·σ(r − δ)
///
/// Source: Jung et al. 2024 (BCO), without their density-ratio weights. The step's loss is the mean over its completions.
public struct BCO: UnpairedObjective {
    public static let name = "bco"
    public static var anchoring: StepAnchor { .runningReward }
    public var beta: Double, desirableWeight: Double, undesirableWeight: Double
    public var anchor = 0.0  // δ

    public init(beta: Double = 0.1, desirableWeight: Double = 1, undesirableWeight: Double = 1) {
        (self.beta, self.desirableWeight, self.undesirableWeight) = (beta, desirableWeight, undesirableWeight)
    }

    public func loss(logRatio: Double, isDesirable: Bool) -> (value: Double, slope: Double) {
        let sign: Double = isDesirable ? 1 : -1
        let a = sign * (beta * logRatio - anchor)
        return (-logSigmoid(a), -sign * beta * sigmoid(-a))
    }
}
