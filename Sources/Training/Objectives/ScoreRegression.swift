import Models

/// Regression of the head's outputs to given scores, one output an attribute.
///
///     L = (1/N) Σ (r_k − s_k)²          ∂L/∂r_k = 2·(r_k − s_k)/N
///
/// N counts the scores of the *whole* optimizer step; those that are missing have no term. Source: Wang et al. 2023 (SteerLM), §3.2, and
/// HelpSteer2 (Wang et al. 2024), regression reward models.
public struct ScoreRegression: RewardObjective {
    public static let name = "regression"
    public init() {}

    public static func accepts(_ label: RewardLabel) -> Bool { if case .scores = label { true } else { false } }

    public func callAsFunction(_ inputs: RewardReadouts, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = zero(inputs)
        let weight = 1 / Double(max(1, step.tokens))
        for (index, (row, points)) in inputs.placed.enumerated() {
            guard case let .scores(scores) = row.label else { preconditionFailure("regression of \(row.label)") }
            for (point, targets) in zip(points, scores) {
                for (k, target) in targets.enumerated() {
                    guard let target else { continue }
                    let error = try finite(inputs.values[point * inputs.outputs + k] - target, "the score", row: index)
                    loss.value += weight * error * error
                    loss.readoutGradient[point * inputs.outputs + k] += 2 * weight * error
                    loss.record("absolute_error", abs(error))
                }
            }
        }
        record(inputs, into: &loss)
        return loss
    }
}
