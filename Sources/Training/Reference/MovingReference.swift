import Models
import Tensors

/// A reference that follows the policy from afar, so that the pull is to where training was and not to where it began.
///
///     every K steps: θ_ref ← α·θ + (1−α)·θ_ref          α = 1 copies
///
/// Its log-probs change with it, so they are computed in every step and not once. Source: Gorbatovski et al. 2024 (TR-DPO), eq. 5 and 6;
/// α and K as TRL's `ref_model_mixup_alpha` and `ref_model_sync_steps`.
final class MovingReference {
    private let policy: any TrainablePolicy
    private let source: ModelSource
    private let compute: Compute
    private let mixture: Double, interval: Int

    /// - Throws: `TrainingError.otherShape` if the reference and the policy have not the same parameters.
    init(
        _ policy: any TrainablePolicy, source: ModelSource, following trained: any TrainablePolicy, mixture: Double, interval: Int, compute: Compute
    ) throws {
        precondition(interval > 0, "a reference that moves every \(interval) steps")
        (self.policy, self.source, self.compute) = (policy, source, compute)
        (self.mixture, self.interval) = (mixture, interval)
        guard policy.parameters == trained.parameters else { throw TrainingError.otherShape(reference: source.path) }
    }

    func scores(of batch: SegmentTree) throws -> TokenScores { try policy.scores(of: batch) }

    /// Moves after the policy, if it is time.
    /// - Parameter step: Optimizer steps taken.
    func follow(_ trained: any TrainablePolicy, step: Int) {
        guard step % interval == 0 else { return }
        policy.copyWeights(of: trained, mixture: mixture, on: compute)
    }

    /// Writes the weights beside a checkpoint: they are part of the state.
    func save(to folder: String) throws { try source.save(policy, "F32", folder) }
}

/// A task whose reference log-probs may come from a model that changes.
protocol ReferencedTask: TrainingTask {
    /// With the reference's scores of `batch(rows)`.
    func referenced(by scores: TokenScores, rows: [Int]) -> Self
}

extension PairTask: ReferencedTask {
    func referenced(by scores: TokenScores, rows indices: [Int]) -> PairTask {
        var task = self
        for (i, row) in indices.enumerated() {
            let (chosen, rejected) = (scores.logProbs[i], scores.logProbs[indices.count + i])
            let shared = min(chosen.count, rejected.count)
            task.reference[row] = (
                LengthDesensitisation.sum(chosen, shared: shared, tailWeight: objective.tailWeight),
                LengthDesensitisation.sum(rejected, shared: shared, tailWeight: objective.tailWeight)
            )
        }
        return task
    }
}
