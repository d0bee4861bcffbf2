import Models
import Serialization

/// Rows of a reward model under one of its objectives.
public struct RewardTask: TrainingTask {
    var rows: RowList<RewardRow>
    public var objective: any RewardObjective
    /// Rows of the head.
    public var outputs: Int
    /// The prompt is one segment with a child for each completion, computed once; otherwise each completion is a root of its own.
    public var sharesPrefixes: Bool

    public init(rows: [RewardRow], objective: any RewardObjective, outputs: Int = 1, sharesPrefixes: Bool = true) {
        self.init(RowList(rows), objective: objective, outputs: outputs, sharesPrefixes: sharesPrefixes)
    }

    init(_ rows: RowList<RewardRow>, objective: any RewardObjective, outputs: Int, sharesPrefixes: Bool) {
        (self.rows, self.objective, self.outputs, self.sharesPrefixes) = (rows, objective, outputs, sharesPrefixes)
    }

    public var rowCount: Int { rows.count }

    public func holding(_ numbers: [Int]) throws -> RewardTask {
        var task = self
        task.rows = try rows.holding(numbers)
        return task
    }

    public func totals(of row: Int) -> StepTotals { rows[row].label.totals }

    public func batch(_ indices: [Int]) -> SegmentTree {
        var tree = SegmentTree()
        for index in indices {
            let row = rows[index]
            let shares = sharesPrefixes && !row.prompt.isEmpty
            let prompt = shares ? tree.append(row.prompt) : nil
            for (completion, points) in zip(row.completions, row.points) {
                let segment = tree.append(shares ? completion : row.prompt + completion, parent: prompt)
                for point in points { tree.addReadout(segment: segment, at: point + (shares ? 0 : row.prompt.count)) }
            }
        }
        return tree
    }

    public func loss(_ scores: TokenScores, rows indices: [Int], step: StepTotals) throws(ObjectiveError) -> Loss {
        let inputs = RewardReadouts(
            values: scores.readouts, outputs: outputs, rows: indices.map { RewardReadouts.Row(label: rows[$0].label, grades: rows[$0].grades) })
        var loss = try objective(inputs, step: step)
        for (index, placed) in zip(indices, inputs.placed) {
            let lengths = rows[index].completions.map(\.count)
            for (better, worse) in placed.row.label.preferences {
                let margin = inputs.reward(placed.points.lowerBound + better) - inputs.reward(placed.points.lowerBound + worse)
                loss.metrics.record(PairLengths(chosen: lengths[better], rejected: lengths[worse]), margin: margin)
            }
        }
        return loss
    }

    public func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics {
        var metrics = metrics
        let calibration = Calibration(metrics)
        Calibration.remove(from: &metrics)
        if !isEvaluation {
            PairLengths.remove(from: &metrics)
        } else if calibration.bins.contains(where: { $0.count > 0 }) {
            metrics.record("ece", sum: calibration.error, count: 1)
            // For the reliability plot: accuracy at each bin's centre.
            for (b, bin) in calibration.bins.enumerated() where bin.count > 0 {
                metrics.record("calibration/\(Double(2 * Calibration.binCount + 2 * b + 1) / Double(4 * Calibration.binCount))", sum: bin.hits, count: bin.count)
            }
        }
        return metrics
    }

    public func record(of row: Int) -> JSON { rows[row].record }
}

extension Metrics {
    /// What a pair's lengths say beside what `margin`, chosen − rejected, says: means over an evaluation's pairs.
    public mutating func record(_ lengths: PairLengths, margin: Double) {
        record("length_baseline", sum: lengths.longerWins, count: 1)
        record("length_matched", sum: lengths.isMatched() ? 1 : 0, count: 1)
        if lengths.isMatched() { record("accuracy_length_matched", sum: Calibration.hit(margin), count: 1) }
    }
}

extension PairLengths {
    /// Takes what `record(_:margin:)` adds out again.
    static func remove(from metrics: inout Metrics) {
        metrics.remove { ["length_baseline", "length_matched", "accuracy_length_matched"].contains($0) }
    }
}
