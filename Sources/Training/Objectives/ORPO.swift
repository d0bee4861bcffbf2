import Foundation

/// Odds-ratio preference optimization: supervised fine-tuning on the chosen side with a penalty on the rejected one's odds; no reference.
///
///     ā = log π(y|x)/|y|          LO = (ā_w − ā_l) − [log(1 − e^ā_w) − log(1 − e^ā_l)]
///     L = −(1/N) Σ log π(y_w,t) − λ·log σ(LO)
///     ∂/∂ā_w of the second term = −λ·σ(−LO)/(1 − e^ā_w),  ∂/∂ā_l = λ·σ(−LO)/(1 − e^ā_l)
///
/// Source: Hong et al. 2024 (ORPO), eq. 6 and 7; TRL calls λ `beta`. N counts the chosen completions' tokens of the step; TRL
/// counts prompt tokens too. The odds term is the mean over the step's pairs.
public struct ORPO: PairwiseObjective {
    public static let name = "orpo"
    public var beta: Double  // λ
    public var likelihoodWeight: Double { 1 }

    public init(beta: Double = 0.1) { self.beta = beta }

    public func loss(of pair: PairScores) -> PairLoss {
        // A completion of probability 1 has infinite odds.
        let (w, l) = (min(pair.chosen / pair.chosenLength, -1e-6), min(pair.rejected / pair.rejectedLength, -1e-6))
        let logOdds = (w - l) - (log1mexp(w) - log1mexp(l))
        let slope = -beta * sigmoid(-logOdds)
        // Held odds do not move.
        func share(_ logProb: Double, _ length: Double) -> Double { logProb == -1e-6 ? 0 : 1 / -expm1(logProb) / length }
        var loss = PairLoss(
            value: -beta * logSigmoid(logOdds), chosen: slope * share(w, pair.chosenLength), rejected: -slope * share(l, pair.rejectedLength))
        // TRL's names: the ratio's log σ, and the log-odds themselves.
        loss.metrics = ["log_odds_ratio": logSigmoid(logOdds), "log_odds_chosen": logOdds]
        return loss
    }

    public func rewards(of pair: PairScores) -> (chosen: Double, rejected: Double) { meanRewards(of: pair) }
}
