import Models
import Serialization

/// What the loop needs of a stage: rows, how a micro-batch of them is laid out, and its loss.
public protocol TrainingTask: Sendable {
    var rowCount: Int { get }
    /// What `row` adds to the divisors of its optimizer step.
    func totals(of row: Int) -> StepTotals
    func batch(_ rows: [Int]) -> SegmentTree
    /// - Parameter scores: The policy's, of `batch(rows)`.
    func loss(_ scores: TokenScores, rows: [Int], step: StepTotals) throws(ObjectiveError) -> Loss
    /// What of a step's or an evaluation's metrics is written down, and under which names.
    func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics
    /// `row` in the record format that carries token ids, so that a dumped batch can be replayed.
    func record(of row: Int) -> JSON
}

extension TrainingTask {
    public func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics { metrics }
}

/// Preference pairs under a pairwise objective.
public struct PairTask: TrainingTask {
    public var rows: [PairRow]
    /// log π_ref(y|x) of each row's two completions, nats.
    public var reference: [(chosen: Double, rejected: Double)]
    public var objective: any PairObjective
    /// The prompt is one segment with two children, computed once; otherwise each side is a root of its own.
    public var sharesPrefixes: Bool

    public init(rows: [PairRow], reference: [(chosen: Double, rejected: Double)], objective: any PairObjective, sharesPrefixes: Bool = true) {
        precondition(rows.count == reference.count, "\(rows.count) pairs, \(reference.count) references")
        (self.rows, self.reference, self.objective, self.sharesPrefixes) = (rows, reference, objective, sharesPrefixes)
    }

    public var rowCount: Int { rows.count }

    public func totals(of row: Int) -> StepTotals {
        let lost = rows[row].prompt.isEmpty ? 2 : 0  // the first token of a root has no log-prob
        return StepTotals(pairs: 1, tokens: rows[row].chosen.count + rows[row].rejected.count - lost)
    }

    public func batch(_ indices: [Int]) -> SegmentTree { PairTask.tree(indices.map { rows[$0] }, sharesPrefixes: sharesPrefixes) }

    /// Rows of the tree: all chosen completions, then all rejected ones.
    static func tree(_ rows: [PairRow], sharesPrefixes: Bool) -> SegmentTree {
        var tree = SegmentTree()
        var chosen: [(segment: Int, mask: [Bool]?)] = []
        var rejected = chosen
        for row in rows {
            if sharesPrefixes && !row.prompt.isEmpty {
                let prompt = tree.append(row.prompt)
                chosen.append((tree.append(row.chosen, parent: prompt), nil))
                rejected.append((tree.append(row.rejected, parent: prompt), nil))
            } else {
                let masked = [Bool](repeating: false, count: row.prompt.count)
                chosen.append((tree.append(row.prompt + row.chosen), masked + row.chosen.map { _ in true }))
                rejected.append((tree.append(row.prompt + row.rejected), masked + row.rejected.map { _ in true }))
            }
        }
        for row in chosen + rejected { tree.addRow(segment: row.segment, mask: row.mask) }
        return tree
    }

    /// Accuracy with ties ½, and what lengths say, are for held-out rows; in training lines TRL's strict accuracy stands alone.
    public func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics {
        guard !isEvaluation else { return metrics }
        var metrics = metrics
        metrics.remove { $0 == "accuracy" }
        PairLengths.remove(from: &metrics)
        return metrics
    }

    public func loss(_ scores: TokenScores, rows indices: [Int], step: StepTotals) throws(ObjectiveError) -> Loss {
        let reference = indices.map { self.reference[$0].chosen } + indices.map { self.reference[$0].rejected }
        var loss = try objective(PairLogProbs(logProbs: scores.logProbs, reference: reference), step: step)
        let chosenTokens = scores.logProbs.offsets[indices.count]
        // TRL's definitions: entropy over both sides, accuracy over the chosen completions alone.
        loss.metrics.record("entropy", sum: scores.entropies.reduce(0, +), count: Double(scores.entropies.count))
        loss.metrics.record(
            "mean_token_accuracy", sum: Double(scores.isArgmax[..<chosenTokens].count { $0 }), count: Double(chosenTokens))
        for (i, index) in indices.enumerated() {
            let ratios = [i, indices.count + i].map { scores.logProbs.sum($0) - reference[$0] }
            loss.metrics.record(PairLengths(chosen: rows[index].chosen.count, rejected: rows[index].rejected.count), margin: ratios[0] - ratios[1])
        }
        return loss
    }

    public func record(of row: Int) -> JSON {
        func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }
        return ["prompt_ids": ids(rows[row].prompt), "chosen_ids": ids(rows[row].chosen), "rejected_ids": ids(rows[row].rejected)]
    }
}

/// Supervised examples under cross-entropy; each is a root of the batch, so that packing them pads nothing.
public struct SupervisedTask: TrainingTask {
    public var rows: [SupervisedRow]
    public init(rows: [SupervisedRow]) { self.rows = rows }

    public var rowCount: Int { rows.count }

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

    public func record(of row: Int) -> JSON {
        [
            "input_ids": .array(rows[row].tokens.map { .integer(Int($0)) }),
            "loss_mask": .array(rows[row].mask.map { .integer($0 ? 1 : 0) }),
        ]
    }
}
