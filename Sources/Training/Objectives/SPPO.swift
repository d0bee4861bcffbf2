/// Self-play preference optimization with hard win rates: the winner's log-ratio is regressed to 1/(2β), the loser's to −1/(2β).
///
///     L = (r_w − 1/(2·β))² + (r_l + 1/(2·β))²,  r = log π − log π_ref
///     ∂L/∂r_w = 2·(r_w − 1/(2·β))          ∂L/∂r_l = 2·(r_l + 1/(2·β))
///
/// Source: Wu et al. 2024 (SPPO), eq. 4.7 with P = 1 and 0, β their 1/η. The step's loss is the mean over its pairs.
public struct SPPO: PairwiseObjective {
    public static let name = "sppo_hard"
    public var beta: Double

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        let (w, l) = (pair.chosen - 0.5 / beta, pair.rejected + 0.5 / beta)
        return PairLoss(value: w * w + l * l, chosen: 2 * w, rejected: 2 * l)
    }
}
