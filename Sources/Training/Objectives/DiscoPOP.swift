import Foundation

/// The loss that a language model discovered: logistic where the pair is wrong, exponential where it is right, blended in between.
///
///     a = β·Δ,  m = σ(a/τ)          L = −(1−m)·log σ(a) + m·e^−a
///     ∂L/∂Δ = β·[−(1−m)·σ(−a) − m·e^−a + (m·(1−m)/τ)·(e^−a + log σ(a))]
///
/// Not convex: it has a dip near a = 0. Source: Lu et al. 2024 (DiscoPOP), eq. 5. The step's loss is the mean over its pairs.
public struct DiscoPOP: PairwiseObjective {
    public static let name = "discopop"
    public static let takesDivergence = true
    public var beta: Double
    public var temperature: Double  // τ

    public init(beta: Double = 0.1, temperature: Double = 0.05) { (self.beta, self.temperature) = (beta, temperature) }

    public func loss(of pair: PairScores) -> PairLoss {
        let a = beta * pair.delta
        let (m, rest) = (sigmoid(a / temperature), sigmoid(-a / temperature))
        let exponential = exp(logSigmoid(a / temperature) - a)  // m·e^−a, whose factors overflow where the product does not
        let value = -rest * logSigmoid(a) + exponential
        let slope = -rest * sigmoid(-a) - exponential + rest / temperature * (exponential + m * logSigmoid(a))
        return PairLoss(value: value, slope: beta * slope)
    }
}
