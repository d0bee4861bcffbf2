import Foundation
import Models

/// The Plackett–Luce likelihood of a whole ranking: the best is drawn first, then the best of the rest.
///
///     L = −Σ_k [ r_(k) − log Σ_{j ≥ k} exp r_(j) ]          ∂L/∂r_j = −1 + Σ_{k ≤ place of j} exp(r_j) / Σ_{l ≥ k} exp r_(l)
///
/// The last completion's term is 0, so two completions give Bradley–Terry. Tied completions are drawn from what was left before any
/// of them (Breslow 1974); a group in the last place is left out. The step's loss is the mean over its rows.
/// Source: Plackett 1975; for reward models Zhu et al. 2023 (Starling), eq. for K-wise comparisons.
public struct PlackettLuce: RewardObjective {
    public static let name = "plackett-luce"
    public init() {}

    public static func accepts(_ label: RewardLabel) -> Bool {
        switch label {
        case let .preference(margin, probability): margin == 0 && probability == 1
        case .ranking: true
        case .scores, .steps: false
        }
    }

    public func callAsFunction(_ inputs: RewardReadouts, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = zero(inputs)
        let weight = 1 / Double(step.pairs)
        for (index, (row, points)) in inputs.placed.enumerated() {
            let rewards = points.map { inputs.reward($0) }
            for reward in rewards { _ = try finite(reward, "the reward", row: index) }
            let term = rankingLoss(rewards, ranks: ranks(row.label))
            loss.value += weight * term.loss
            for (point, slope) in zip(points, term.slopes) { loss.readoutGradient[point * inputs.outputs] += weight * slope }
        }
        record(inputs, into: &loss)
        return loss
    }

    private func ranks(_ label: RewardLabel) -> [Int] {
        switch label {
        case .preference: [1, 2]
        case let .ranking(ranks): ranks
        case .scores, .steps: preconditionFailure("a ranking's loss of \(label)")
        }
    }

    /// The loss of one ranking, and its derivative with respect to each reward.
    func rankingLoss(_ rewards: [Double], ranks: [Int]) -> (loss: Double, slopes: [Double]) {
        var loss = 0.0
        var slopes = rewards.map { _ in 0.0 }
        for rank in Set(ranks).sorted() {
            let group = ranks.indices.filter { ranks[$0] == rank }
            let left = ranks.indices.filter { ranks[$0] >= rank }
            guard left.count > group.count else { continue }  // the last place says nothing
            let logSum = logSumExp(left.map { rewards[$0] })
            for i in group {
                loss += logSum - rewards[i]
                slopes[i] -= 1
                for j in left { slopes[j] += exp(rewards[j] - logSum) }
            }
        }
        return (loss, slopes)
    }
}
