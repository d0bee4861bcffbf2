import Models

/// Process reward: each step of a solution is right or wrong, read at the step's last token.
///
///     L = −(1/N) Σ [ p·log σ(r) + (1 − p)·log σ(−r) ]          ∂L/∂r = (σ(r) − p)/N
///
/// p is 1 or 0, or a soft share of rollouts that end well; N counts the labelled steps of the *whole* optimizer step. Sources:
/// Lightman et al. 2023, §2.6; soft labels: Wang et al. 2023 (Math-Shepherd), eq. 4. One logit instead of TRL's two classes: the same model.
public struct ProcessReward: RewardObjective {
    public static let name = "process"
    public init() {}

    public static func accepts(_ label: RewardLabel) -> Bool { if case .steps = label { true } else { false } }

    public func callAsFunction(_ inputs: RewardReadouts, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = zero(inputs)
        let weight = 1 / Double(max(1, step.tokens))
        for (index, (row, points)) in inputs.placed.enumerated() {
            guard case let .steps(labels) = row.label else { preconditionFailure("process reward of \(row.label)") }
            for (point, label) in zip(points, labels) {
                guard let label else { continue }
                let reward = try finite(inputs.reward(point), "the reward", row: index)
                loss.value -= weight * (label * logSigmoid(reward) + (1 - label) * logSigmoid(-reward))
                loss.readoutGradient[point * inputs.outputs] += weight * (sigmoid(reward) - label)
                if label != 0.5 { loss.record("accuracy", reward == 0 ? 0.5 : (reward > 0) == (label > 0.5) ? 1 : 0) }
            }
        }
        record(inputs, into: &loss)
        return loss
    }
}
