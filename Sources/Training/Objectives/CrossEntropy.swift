import Models

/// Next-token cross-entropy, the loss of supervised fine-tuning.
///
///     L = −(1/N) Σ log π(y_t | x, y_<t)          ∂L/∂log π(y_t) = −1/N
///
/// N counts the loss tokens of the *whole* optimizer step (token mean): long completions weigh more than short ones, and
/// gradient accumulation changes nothing. Source: Ouyang et al. 2022, §3.5; the reduction is TRL's.
public struct CrossEntropy: Objective {
    public static let name = "sft"
    public init() {}

    /// - Parameter logProbs: log π of each loss token, nats.
    public func callAsFunction(_ logProbs: Ragged, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: logProbs)
        // A micro-batch without loss tokens contributes 0, not 0/0.
        let slope = -1 / Double(max(1, step.tokens))
        for row in 0..<logProbs.rows {
            let sum = logProbs.sum(row)
            guard sum.isFinite else { throw .notFinite(objective: Self.name, quantity: "log π", row: row) }
            loss.value += slope * sum
            loss.fill(row: row, with: slope)
        }
        return loss
    }
}
