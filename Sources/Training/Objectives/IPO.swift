import Models

/// Identity Preference Optimization: regresses the difference of log-ratios to a fixed margin, so that it cannot grow without bound.
///
///     h(y) = log π(y|x) − log π_ref(y|x), per token (`.mean`, over |y|) or summed (`.sum`)
///     u = h(y_w) − h(y_l)          L = (u − 1/(2·β))²          ∂L/∂u = 2·(u − 1/(2·β))
///
/// Source: Azar et al. 2023, eq. 17, with β their τ. The paper's text sums log-probs; TRL averages them per token on its
/// authors' advice, and so do we unless `norm` is `.sum`. The step's loss is the mean over its pairs.
public struct IPO: PairObjective {
    public enum Norm: String, CaseIterable, Sendable, Codable { case mean, sum }

    public static let name = "ipo"
    public var beta: Double
    public var norm: Norm

    public init(beta: Double = 0.1, norm: Norm = .mean) { (self.beta, self.norm) = (beta, norm) }

    /// - Returns: The gradient has the shape of `logProbs`.
    public func callAsFunction(_ inputs: PairLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        let B = inputs.pairs
        var loss = Loss(gradientLike: inputs.logProbs)

        for i in 0..<B {
            let (chosenLength, rejectedLength) = norm == .mean ? (inputs.length(i), inputs.length(B + i)) : (1, 1)
            let u = inputs.logRatio(i) / chosenLength - inputs.logRatio(B + i) / rejectedLength
            guard u.isFinite else { throw .notFinite(objective: Self.name, quantity: "u", row: i) }
            let pair = pairLoss(u)
            loss.value += pair.loss / Double(step.pairs)
            loss.fill(row: i, with: pair.slope / chosenLength / Double(step.pairs))
            loss.fill(row: B + i, with: -pair.slope / rejectedLength / Double(step.pairs))
            recordRewards(of: inputs, pair: i, into: &loss)
        }
        return loss
    }

    /// Eq. 17 for one pair, and its derivative with respect to u.
    func pairLoss(_ u: Double) -> (loss: Double, slope: Double) {
        let distance = u - 1 / (2 * beta)
        return (distance * distance, 2 * distance)
    }
}
