import Models
import Serialization

/// Single completions with labels, under an objective that may anchor them on the step.
public struct UnpairedTask: CoupledTask {
    var rows: RowList<UnpairedRow>
    public var objective: any UnpairedObjective
    /// log π_ref(y|x) of each row's completion, nats; not a number for rows that nobody takes.
    public var reference: [Double]
    /// The same of each row's prompt with the completion of another: by row and by that other.
    public var mismatched: [Mismatch: Double] = [:]
    /// Whether a running anchor takes these rows in; held-out ones are measured against it as it stands.
    public var movesAnchor = true
    /// Tokens of prompt and completion, to which a mismatched completion is cut.
    public var maxLength: Int

    public struct Mismatch: Hashable, Sendable {
        public var row: Int
        /// Whose completion follows the row's prompt.
        public var other: Int
    }

    public init(rows: [UnpairedRow], objective: any UnpairedObjective, reference: [Double], mismatched: [Mismatch: Double] = [:], maxLength: Int) {
        self.init(RowList(rows), objective: objective, reference: reference, mismatched: mismatched, maxLength: maxLength)
    }

    init(_ rows: RowList<UnpairedRow>, objective: any UnpairedObjective, reference: [Double], mismatched: [Mismatch: Double], maxLength: Int) {
        precondition(rows.count == reference.count, "\(rows.count) completions, \(reference.count) references")
        (self.rows, self.objective, self.reference) = (rows, objective, reference)
        (self.mismatched, self.maxLength) = (mismatched, maxLength)
    }

    public var rowCount: Int { rows.count }

    public func holding(_ numbers: [Int]) throws -> UnpairedTask {
        var task = self
        task.rows = try rows.holding(numbers)
        return task
    }

    private var anchoring: StepAnchor { type(of: objective).anchoring }

    public func totals(of row: Int) -> StepTotals {
        StepTotals(pairs: 1, tokens: scoredTokens(rows[row].completion, rows[row].mask, after: rows[row].prompt))
    }

    public func batch(_ indices: [Int]) -> SegmentTree {
        var tree = SegmentTree()
        for row in indices.map({ rows[$0] }) { UnpairedTask.add(row.completion, mask: row.mask, after: row.prompt, to: &tree) }
        return tree
    }

    private static func add(_ completion: [Int32], mask: [Bool]?, after prompt: [Int32], to tree: inout SegmentTree) {
        let parent = prompt.isEmpty ? nil : tree.append(prompt)
        tree.addRow(segment: tree.append(completion, parent: parent), mask: mask)
    }

    // MARK: The step's anchor

    /// Each prompt of a step with the completion before its own: TRL's rotation, of the whole step.
    public static func mismatches(of step: [Int]) -> [Mismatch] {
        step.count < 2 ? [] : step.indices.map { Mismatch(row: step[$0], other: step[$0 == 0 ? step.count - 1 : $0 - 1]) }
    }

    /// The completion of `other`, as far as it fits after the prompt of `row`, and which of its tokens count.
    static func completion(_ mismatch: Mismatch, of rows: RowList<UnpairedRow>, maxLength: Int) -> (tokens: [Int32], mask: [Bool]?) {
        let room = max(0, maxLength - rows[mismatch.row].prompt.count)
        return (Array(rows[mismatch.other].completion.prefix(room)), rows[mismatch.other].mask.map { Array($0.prefix(room)) })
    }

    public func survey(_ indices: [Int], of step: [[Int]]) throws -> SegmentTree? {
        switch anchoring {
        case .none: return nil
        case .runningReward: return try movesAnchor && step.count > 1 ? holding(indices).batch(indices) : nil
        case .mismatchedKL:
            let wanted = Set(indices)
            let mismatches = UnpairedTask.mismatches(of: step.flatMap { $0 }).filter { wanted.contains($0.row) }
            guard !mismatches.isEmpty else { return nil }  // a lone row has no other prompt: z₀ is 0
            let rows = try self.rows.holding(mismatches.flatMap { [$0.row, $0.other] })
            var tree = SegmentTree()
            for mismatch in mismatches {
                let (tokens, mask) = UnpairedTask.completion(mismatch, of: rows, maxLength: maxLength)
                UnpairedTask.add(tokens, mask: mask, after: rows[mismatch.row].prompt, to: &tree)
            }
            return tree
        }
    }

    public func bound(
        to step: [[Int]], surveys: [TokenScores], totals: StepTotals, memory: [String: Double]
    ) throws(ObjectiveError) -> any TrainingTask {
        let indices = step.flatMap { $0 }
        let sums = surveys.flatMap { scores in (0..<scores.logProbs.rows).map { scores.logProbs.sum($0) } }
        var bound = self
        switch anchoring {
        case .none: break
        case .runningReward:
            bound.running = RunningMean(memory)
            if !sums.isEmpty { bound.running.add(zip(indices, sums).map { objective.beta * ($1 - reference[$0]) }) }
            bound.isRunningKnown = !sums.isEmpty || !movesAnchor
        case .mismatchedKL:
            let mismatches = UnpairedTask.mismatches(of: indices)
            precondition(sums.count == mismatches.count, "\(sums.count) sums of \(mismatches.count) mismatched completions")
            var kl = 0.0
            for (row, (mismatch, sum)) in zip(mismatches, sums).enumerated() {
                guard let reference = mismatched[mismatch] else { preconditionFailure("no reference of \(mismatch)") }
                guard (sum - reference).isFinite else {
                    throw .notFinite(objective: type(of: objective).name, quantity: "the log-ratio of a mismatched completion", row: row)
                }
                kl += (sum - reference) / Double(sums.count)
            }
            bound.objective.anchor = max(0, kl)
        }
        return bound
    }

    /// Of the rewards so far.
    private var running = RunningMean([:])
    /// Whether this step's rewards are in it.
    private var isRunningKnown = false

    public func loss(_ scores: TokenScores, rows indices: [Int], step: StepTotals) throws(ObjectiveError) -> Loss {
        let inputs = UnpairedLogProbs(
            logProbs: scores.logProbs, reference: indices.map { reference[$0] }, labels: indices.map { rows[$0].isDesirable })
        var objective = self.objective
        var memory: [String: Double] = [:]
        if case .runningReward = anchoring {
            var running = self.running
            if !isRunningKnown { running.add(indices.indices.map { objective.beta * (scores.logProbs.sum($0) - inputs.reference[$0]) }) }
            objective.anchor = running.mean
            memory = running.memory
        }
        var loss = try UnpairedTask.evaluate(objective, inputs, step)
        loss.memory = memory
        switch anchoring {
        case .none: break
        case .runningReward: loss.record("delta", objective.anchor)
        case .mismatchedKL: loss.record("kl", objective.anchor)
        }
        loss.metrics.record("entropy", sum: scores.entropies.reduce(0, +), count: Double(scores.entropies.count))
        for (row, isDesirable) in inputs.labels.enumerated() where scores.meanLogits.count == scores.logProbs.values.count {
            let logits = scores.meanLogits[scores.logProbs.range(row)]
            loss.metrics.record(isDesirable ? "logits/chosen" : "logits/rejected", sum: logits.reduce(0, +), count: Double(logits.count))
        }
        // How often a desirable completion has a positive reward and an undesirable one a negative one.
        for (row, isDesirable) in inputs.labels.enumerated() {
            let reward = objective.beta * (scores.logProbs.sum(row) - inputs.reference[row])
            loss.record("accuracy", reward == 0 ? 0.5 : (reward > 0) == isDesirable ? 1 : 0)
        }
        return loss
    }

    private static func evaluate(_ objective: some UnpairedObjective, _ inputs: UnpairedLogProbs, _ step: StepTotals) throws(ObjectiveError) -> Loss {
        try objective(inputs, step: step)
    }

    /// Accuracy is for held-out rows; TRL's training lines have none.
    public func metrics(_ metrics: Metrics, isEvaluation: Bool) -> Metrics {
        guard !isEvaluation else { return metrics }
        var metrics = metrics
        metrics.remove { $0 == "accuracy" }
        return metrics
    }

    /// KTO's margin is of means: of all desirable rewards less all undesirable ones, known once the step is whole.
    public func finish(_ metrics: inout Metrics) {
        if let chosen = metrics["rewards/chosen"], let rejected = metrics["rewards/rejected"] {
            metrics.record("rewards/margins", sum: chosen - rejected, count: 1)
        }
    }

    public func displacement(_ metrics: Metrics) -> Double? { metrics["rewards/chosen"] }

    public func record(of row: Int) -> JSON {
        func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }
        return ["prompt_ids": ids(rows[row].prompt), "completion_ids": ids(rows[row].completion), "label": .bool(rows[row].isDesirable)]
    }
}

/// A mean over all values so far, as sum and count.
private struct RunningMean: Sendable {
    var sum: Double, count: Double
    init(_ memory: [String: Double]) { (sum, count) = (memory["rewards/sum"] ?? 0, memory["rewards/count"] ?? 0) }
    mutating func add(_ values: [Double]) {
        sum += values.reduce(0, +)
        count += Double(values.count)
    }
    var mean: Double { count == 0 ? 0 : sum / count }
    var memory: [String: Double] { ["rewards/sum": sum, "rewards/count": count] }
}
