import Models
import Serialization

/// Preference pairs under a pairwise objective.
public struct PairTask: TrainingTask {
    var rows: RowList<PairRow>
    /// log π_ref(y|x) of each row's two completions, nats, under the objective's token weights.
    public var reference: [(chosen: Double, rejected: Double)]
    public var objective: any PairObjective
    /// The prompt is one segment with two children, computed once; otherwise each side is a root of its own.
    public var sharesPrefixes: Bool
    /// Whether `reference` is of a model, and not zeros.
    public var isReferenced: Bool

    public init(
        rows: [PairRow], reference: [(chosen: Double, rejected: Double)], objective: any PairObjective, sharesPrefixes: Bool = true,
        isReferenced: Bool = true
    ) {
        self.init(RowList(rows), reference: reference, objective: objective, sharesPrefixes: sharesPrefixes, isReferenced: isReferenced)
    }

    init(
        _ rows: RowList<PairRow>, reference: [(chosen: Double, rejected: Double)], objective: any PairObjective, sharesPrefixes: Bool,
        isReferenced: Bool
    ) {
        precondition(rows.count == reference.count, "\(rows.count) pairs, \(reference.count) references")
        (self.rows, self.reference, self.objective, self.sharesPrefixes) = (rows, reference, objective, sharesPrefixes)
        self.isReferenced = isReferenced
    }

    public var rowCount: Int { rows.count }

    public func holding(_ numbers: [Int]) throws -> PairTask {
        var task = self
        task.rows = try rows.holding(numbers)
        return task
    }

    public func totals(of row: Int) -> StepTotals {
        let pair = rows[row]
        let chosen = scoredTokens(pair.chosen, pair.chosenMask, after: pair.prompt)
        return StepTotals(pairs: 1, tokens: chosen + scoredTokens(pair.rejected, pair.rejectedMask, after: pair.prompt), chosenTokens: chosen)
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
                chosen.append((tree.append(row.chosen, parent: prompt), row.chosenMask))
                rejected.append((tree.append(row.rejected, parent: prompt), row.rejectedMask))
            } else {
                let masked = [Bool](repeating: false, count: row.prompt.count)
                chosen.append((tree.append(row.prompt + row.chosen), masked + (row.chosenMask ?? row.chosen.map { _ in true })))
                rejected.append((tree.append(row.prompt + row.rejected), masked + (row.rejectedMask ?? row.rejected.map { _ in true })))
            }
        }
        for row in chosen + rejected { tree.addRow(segment: row.segment, mask: row.mask) }
        return tree
    }

    public func loss(_ scores: TokenScores, rows indices: [Int], step: StepTotals) throws(ObjectiveError) -> Loss {
        let inputs = PairLogProbs(
            logProbs: scores.logProbs, reference: references(of: indices), logSumSquares: objective.needsSumSquares ? scores.logSumSquares : nil)
        var loss = try objective(inputs, step: step)
        recordTokens(of: scores, rows: indices, into: &loss)
        return loss
    }

    /// Accuracy with ties ½, and what lengths say, are for held-out rows; in training lines TRL's strict accuracy stands alone.
    public func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics {
        guard !isEvaluation else { return metrics }
        var metrics = metrics
        metrics.remove { $0 == "accuracy" }
        PairLengths.remove(from: &metrics)
        return metrics
    }

    /// TRL's definitions: entropy over both sides, accuracy over the chosen completions alone.
    func recordTokens(of scores: TokenScores, rows indices: [Int], into loss: inout Loss) {
        let (pairs, reference) = (indices.count, references(of: indices))
        let chosenTokens = scores.logProbs.offsets[pairs]
        loss.metrics.record("entropy", sum: scores.entropies.reduce(0, +), count: Double(scores.entropies.count))
        loss.metrics.record(
            "mean_token_accuracy", sum: Double(scores.isArgmax[..<chosenTokens].count { $0 }), count: Double(chosenTokens))
        for (i, index) in indices.enumerated() {
            let ratios = [i, pairs + i].map { scores.logProbs.sum($0) - reference[$0] }
            loss.metrics.record(PairLengths(chosen: rows[index].chosen.count, rejected: rows[index].rejected.count), margin: ratios[0] - ratios[1])
        }
        guard scores.meanLogits.count == scores.logProbs.values.count else { return }
        for (name, logits) in [("chosen", scores.meanLogits[..<chosenTokens]), ("rejected", scores.meanLogits[chosenTokens...])] {
            loss.metrics.record("logits/" + name, sum: logits.reduce(0, +), count: Double(logits.count))
        }
    }

    /// Without a reference, rewards are log-probs, which are negative in themselves.
    public func displacement(_ metrics: Metrics) -> Double? { isReferenced ? metrics["rewards/chosen"] : nil }

    public func record(of row: Int) -> JSON {
        func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }
        return ["prompt_ids": ids(rows[row].prompt), "chosen_ids": ids(rows[row].chosen), "rejected_ids": ids(rows[row].rejected)]
    }
}

extension PairTask: CoupledTask {
    /// Pairs of one micro-batch are at hand together; those of several are scored first.
    public func survey(_ rows: [Int], of step: [[Int]]) throws -> SegmentTree? { try objective.couplesPairs && step.count > 1 ? holding(rows).batch(rows) : nil }

    /// The objective sees all pairs of the step in one call, and each micro-batch takes its part of that loss: what sorting or
    /// normalising over the step asks for has no meaning on a part of it.
    public func bound(
        to step: [[Int]], surveys: [TokenScores], totals: StepTotals, memory: [String: Double]
    ) throws(ObjectiveError) -> any TrainingTask {
        guard !surveys.isEmpty else { return self }
        // All chosen rows of the step, then all rejected ones.
        let halves = surveys.map { $0.logProbs.rows / 2 }
        func whole(_ values: (TokenScores) -> Ragged) -> Ragged {
            Ragged(rows: [0, 1].flatMap { side in
                zip(surveys, halves).flatMap { scores, half in (0..<half).map { Array(values(scores)[side * half + $0]) } }
            })
        }
        let indices = step.flatMap { $0 }
        let squares = objective.needsSumSquares ? whole { Ragged(values: $0.logSumSquares, offsets: $0.logProbs.offsets) }.values : nil
        let inputs = PairLogProbs(logProbs: whole(\.logProbs), reference: references(of: indices), logSumSquares: squares)
        let loss = try objective(inputs, step: totals)
        return PartOfStep(task: self, loss: loss, place: Dictionary(uniqueKeysWithValues: indices.enumerated().map { ($1, $0) }))
    }

    func references(of indices: [Int]) -> [Double] { indices.map { reference[$0].chosen } + indices.map { reference[$0].rejected } }
}

/// A pair task whose step's loss is known: its micro-batches hand out their share of the gradient.
private struct PartOfStep: TrainingTask {
    var task: PairTask
    /// Of the whole step.
    let loss: Loss
    /// Row of the data to pair of the step.
    let place: [Int: Int]

    var rowCount: Int { task.rowCount }

    func holding(_ rows: [Int]) throws -> PartOfStep {
        var part = self
        part.task = try task.holding(rows)
        return part
    }

    func totals(of row: Int) -> StepTotals { task.totals(of: row) }
    func batch(_ rows: [Int]) -> SegmentTree { task.batch(rows) }
    func record(of row: Int) -> JSON { task.record(of: row) }
    func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics { task.metrics(metrics, isEvaluation: isEvaluation) }

    func loss(_ scores: TokenScores, rows: [Int], step: StepTotals) throws(ObjectiveError) -> Loss {
        let pairs = rows.map { row in
            guard let pair = place[row] else { preconditionFailure("row \(row) is not of this step") }
            return pair
        }
        var share = Loss(gradientLike: scores.logProbs)
        share.gradient = Ragged(rows: [0, step.pairs].flatMap { side in pairs.map { Array(loss.gradient[side + $0]) } })
        // The step's value and metrics are told once, with the micro-batch that has its first pair.
        if pairs.contains(0) { (share.value, share.metrics) = (loss.value, loss.metrics) }
        task.recordTokens(of: scores, rows: rows, into: &share)
        return share
    }
}
