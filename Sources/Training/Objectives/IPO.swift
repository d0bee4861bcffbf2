/// Identity Preference Optimization: regresses the difference of log-ratios to a fixed margin, so that it cannot grow without bound.
///
///     h(y) = log π(y|x) − log π_ref(y|x), per token (`.mean`, over |y|) or summed (`.sum`)
///     u = h(y_w) − h(y_l)          L = (u − 1/(2·β))²          ∂L/∂u = 2·(u − 1/(2·β))
///
/// Source: Azar et al. 2023, eq. 17, with β their τ. The paper's text sums log-probs; TRL averages them per token on its
/// authors' advice, and so do we unless `norm` is `.sum`. The step's loss is the mean over its pairs.
public struct IPO: PairwiseObjective {
    public enum Norm: String, CaseIterable, Sendable, Codable { case mean, sum }

    public static let name = "ipo"
    public static let takesDivergence = true
    public var beta: Double
    public var norm: Norm

    public init(beta: Double = 0.1, norm: Norm = .mean) { (self.beta, self.norm) = (beta, norm) }

    public func loss(of pair: PairScores) -> PairLoss {
        let (value, slope) = pairLoss(norm == .mean ? pair.meanDelta : pair.delta)
        return norm == .mean ? PairLoss(value: value, slope: slope, of: pair) : PairLoss(value: value, slope: slope)
    }

    /// Eq. 17 for one pair, and its derivative with respect to u.
    func pairLoss(_ u: Double) -> (loss: Double, slope: Double) {
        let distance = u - 1 / (2 * beta)
        return (distance * distance, 2 * distance)
    }
}
