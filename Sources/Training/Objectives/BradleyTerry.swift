import Foundation
import Models
import PreferenceData

/// The Bradley–Terry loss of reward models: preferred completions score higher.
///
///     u = r_i − r_j − m          p = (1 − ε)·q + ε·(1 − q)
///     L = −p·log σ(u) − (1 − p)·log σ(−u) + c·(r_i + r_j)² + λ·Σ CE(grades)
///     ∂L/∂r_i = σ(u) − p + 2·c·(r_i + r_j)          ∂L/∂r_j = −(σ(u) − p) + 2·c·(r_i + r_j)
///
/// q is the probability that i is the better one: 1 for a plain pair, ½ for a tie, AFM's 0.95, 0.85, 0.75, 0.65 by strength of
/// preference, or a share of votes. A row of K ranked completions counts as the mean over its K·(K−1)/2 pairs, so that a prompt
/// weighs 1 whatever K is; the step's loss is the mean over its rows.
///
/// Sources: Ouyang et al. 2022, eq. 1 (K completions); m: Touvron et al. 2023 (Llama 2), eq. 2; c: Eisenstein et al. 2023, eq. 2, as in
/// TRL; soft q and the grades: Gunter et al. 2024 (AFM), reward modelling. The tie as q = ½ is the likelihood of half a win each.
public struct BradleyTerry: RewardObjective {
    public static let name = "bradley-terry"
    public var labelSmoothing: Double  // ε in [0, ½)
    public var centering: Double  // c; 0.01 is usual, 0 is off
    public var gradeWeight: Double  // λ; 0.1 is usual, 0 is off

    public init(labelSmoothing: Double = 0, centering: Double = 0, gradeWeight: Double = 0) {
        (self.labelSmoothing, self.centering, self.gradeWeight) = (labelSmoothing, centering, gradeWeight)
    }

    public static func accepts(_ label: RewardLabel) -> Bool {
        switch label {
        case .preference, .ranking: true
        case .scores, .steps: false
        }
    }

    /// - Returns: The gradient has the shape of the read-outs.
    public func callAsFunction(_ inputs: RewardReadouts, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = zero(inputs)
        for (index, (row, points)) in inputs.placed.enumerated() {
            let comparisons = row.label.comparisons
            let weight = 1 / Double(step.pairs) / Double(max(1, comparisons.count))
            for pair in comparisons {
                let (i, j) = (points.lowerBound + pair.better, points.lowerBound + pair.worse)
                let (better, worse) = (inputs.reward(i), inputs.reward(j))
                let u = try finite(better - worse - pair.margin, "the reward", row: index)
                let term = pairLoss(u, probability: pair.probability)
                let sum = better + worse
                loss.value += weight * (term.loss + centering * sum * sum)
                loss.readoutGradient[i * inputs.outputs] += weight * (term.slope + 2 * centering * sum)
                loss.readoutGradient[j * inputs.outputs] += weight * (-term.slope + 2 * centering * sum)
            }
            if gradeWeight > 0 {
                for (point, grades) in zip(points, row.grades) {
                    Grading.add(grades, point: point, of: inputs, weight: gradeWeight / Double(step.pairs), to: &loss)
                }
            }
        }
        record(inputs, into: &loss)
        return loss
    }

    /// The loss of one pair without centring, and its derivative with respect to u.
    func pairLoss(_ u: Double, probability: Double) -> (loss: Double, slope: Double) {
        let p = (1 - labelSmoothing) * probability + labelSmoothing * (1 - probability)
        return (-p * logSigmoid(u) - (1 - p) * logSigmoid(-u), sigmoid(u) - p)
    }
}

/// AFM's single-sided gradings as a regulariser: the same hidden state also predicts how a completion was graded by itself.
///
///     L_regu = Σ_aspect CE(u_aspect, z_aspect)          ∂CE/∂u = softmax(u) − onehot(z)
///
/// Outputs 1–12 of the head: three logits for each of four aspects. A grade that was not given is left out. Source: Gunter et al. 2024
/// (AFM), reward modelling. The paper's heads are small MLPs of unpublished width; ours are linear.
public enum Grading {
    public static let aspects = RewardExample.gradeAspects
    public static let classes = 3
    /// Outputs of the head beside the reward.
    public static let outputs = aspects.count * classes

    static func add(_ grades: [Int?], point: Int, of inputs: RewardReadouts, weight: Double, to loss: inout Loss) {
        precondition(inputs.outputs >= 1 + outputs, "\(inputs.outputs) outputs, grading needs \(1 + outputs)")
        for (aspect, grade) in grades.enumerated() {
            guard let grade else { continue }
            let first = point * inputs.outputs + 1 + aspect * classes
            let logits = Array(inputs.values[first..<first + classes])
            let logSum = logSumExp(logits)
            loss.value += weight * (logSum - logits[grade])
            for k in 0..<classes { loss.readoutGradient[first + k] += weight * (exp(logits[k] - logSum) - (k == grade ? 1 : 0)) }
            let best = logits.indices.max { logits[$0] < logits[$1] }
            loss.record("grades/\(aspects[aspect])_accuracy", best == grade ? 1 : 0)
        }
    }
}
