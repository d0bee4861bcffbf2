import Models

/// A task whose loss couples the rows of an optimizer step: by sorting them, or by a constant that all of them share.
///
/// Cut into micro-batches, such a loss would be another one. So the step is looked at before any gradient is taken: its
/// micro-batches are scored, forward only, and the task is bound to what was seen. What is bound is a sum over micro-batches
/// again, and 1×8 is 8×1. Approximating per micro-batch would cost less (no second forward pass), but batch size and memory
/// would then change what is learned. A step of one micro-batch needs no second pass where its own rows are all that is coupled.
public protocol CoupledTask: TrainingTask {
    /// What is scored of micro-batch `rows` of `step` before its gradients; nil: nothing needs to be.
    /// - Throws: `RunError` for rows that cannot be read back: it holds those it needs.
    func survey(_ rows: [Int], of step: [[Int]]) throws -> SegmentTree?
    /// The task of one step.
    /// - Parameters:
    ///   - step: Its micro-batches.
    ///   - surveys: Scores of each micro-batch's survey, in their order; empty if there was none.
    ///   - memory: What the losses of earlier steps left (`Loss.memory`).
    func bound(to step: [[Int]], surveys: [TokenScores], totals: StepTotals, memory: [String: Double]) throws(ObjectiveError) -> any TrainingTask
}

/// Rows that have a log-prob and count.
/// - Parameter prompt: Without one, the first token of a root has no log-prob.
func scoredTokens(_ completion: [Int32], _ mask: [Bool]?, after prompt: [Int32]) -> Int {
    (mask ?? completion.map { _ in true }).dropFirst(prompt.isEmpty ? 1 : 0).count { $0 }
}
