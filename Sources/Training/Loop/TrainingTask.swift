import Models
import Serialization

/// What the loop needs of a stage: rows, how a micro-batch of them is laid out, and its loss.
public protocol TrainingTask: Sendable {
    var rowCount: Int { get }
    /// The task with these rows in memory, and no others: what is asked of a row, is asked once it is held.
    /// - Throws: `RunError` for rows that cannot be read back.
    func holding(_ rows: [Int]) throws -> Self
    /// What `row` adds to the divisors of its optimizer step.
    func totals(of row: Int) -> StepTotals
    func batch(_ rows: [Int]) -> SegmentTree
    /// - Parameter scores: The policy's, of `batch(rows)`.
    func loss(_ scores: TokenScores, rows: [Int], step: StepTotals) throws(ObjectiveError) -> Loss
    /// What of a step's or an evaluation's metrics is written down, and under which names.
    func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics
    /// `row` in the record format that carries token ids, so that a dumped batch can be replayed.
    func record(of row: Int) -> JSON
    /// Adds metrics that follow from those of a whole step or evaluation.
    func finish(_ metrics: inout Metrics)
    /// How far a step's chosen completions lie above their reference, as a reward; nil where there is neither.
    func displacement(_ metrics: Metrics) -> Double?
}

extension TrainingTask {
    public func finish(_ metrics: inout Metrics) {}
    public func displacement(_ metrics: Metrics) -> Double? { nil }
    public func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics { metrics }
}

/// Supervised examples under cross-entropy; each is a root of the batch, so that packing them pads nothing.
public struct SupervisedTask: TrainingTask {
    var rows: RowList<SupervisedRow>
    public init(rows: [SupervisedRow]) { self.rows = RowList(rows) }
    init(_ rows: RowList<SupervisedRow>) { self.rows = rows }

    public var rowCount: Int { rows.count }

    public func holding(_ numbers: [Int]) throws -> SupervisedTask { SupervisedTask(try rows.holding(numbers)) }

    public func totals(of row: Int) -> StepTotals { StepTotals(tokens: rows[row].lossTokens) }

    public func batch(_ indices: [Int]) -> SegmentTree {
        var tree = SegmentTree()
        for index in indices {
            let segment = tree.append(rows[index].tokens)
            tree.addRow(segment: segment, mask: rows[index].mask)
        }
        return tree
    }

    public func loss(_ scores: TokenScores, rows indices: [Int], step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = try CrossEntropy()(scores.logProbs, step: step)
        loss.metrics.record("entropy", sum: scores.entropies.reduce(0, +), count: Double(scores.entropies.count))
        loss.metrics.record("mean_token_accuracy", sum: Double(scores.isArgmax.count { $0 }), count: Double(scores.isArgmax.count))
        return loss
    }

    public func record(of row: Int) -> JSON { rows[row].record }
}

extension SupervisedRow {
    /// In the record format that carries token ids.
    var record: JSON { ["input_ids": .array(tokens.map { .integer(Int($0)) }), "loss_mask": .array(mask.map { .integer($0 ? 1 : 0) })] }
}
