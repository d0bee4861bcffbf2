import Foundation
import Models
import Serialization
import Tensors

/// Takes a student through its distillation steps: rows of the data, or its own answers to their prompts, under the teacher's eyes.
///
/// Which rows a step takes, whose words they are and what is drawn follow from (seed, step) and the weights, so that a resumed run goes on bit
/// for bit.
struct DistillationLoop {
    /// Tokens whose logits, of student and teacher, are in memory together.
    static let logitRows = 64

    let objective: GKD
    let training: TrainingSettings
    /// λ: share of steps whose completions are the student's own.
    let onPolicyShare: Double
    let rows: RowList<SupervisedRow>
    let heldOut: RowList<SupervisedRow>
    let student: any TrainablePolicy & DistributionPolicy
    let teacher: any DistributionPolicy
    let optimizer: AdamW
    let rolling: Rolling
    let run: RunDirectory
    let completions: CompletionLog
    let keeper: SampleKeeper?
    let saveWeights: (_ dtype: String, _ folder: String) throws -> Void
    /// Token ids to be read by people.
    let text: ([Int32]) -> String
    let context: StageContext

    var state: LoopState
    var clock = LoopClock()
    var order: BatchOrder

    private var totalSteps: Int { training.totalSteps(rows: rows.count) }
    private var epoch: Double { Double(state.step) / Double(order.stepsPerEpoch) }

    /// Trains to the end or until cancelled; the state is then that of the last whole step, saved.
    mutating func train() async throws -> StageOutcome.Status {
        if state.lastStep < 0 {
            guard try evaluate() else { return try interrupted() }
            state.before = state.last
        }
        while true {
            if isDue(every: training.evalSteps), state.lastStep != state.step {
                guard try evaluate() else { return try interrupted() }
            }
            if isDue(every: training.saveSteps), state.step < totalSteps, run.checkpoints().last?.step != state.step { try saveCheckpoint() }
            if state.step >= totalSteps { break }
            guard try await takeStep() else { return try interrupted() }
        }
        if state.lastStep != state.step {
            guard try evaluate() else { return try interrupted() }
        }
        return .finished
    }

    private func isDue(every steps: Int) -> Bool { steps > 0 && state.step > 0 && state.step % steps == 0 }

    private mutating func interrupted() throws -> StageOutcome.Status {
        if state.step > 0, run.checkpoints().last?.step != state.step { try saveCheckpoint() }
        return .interrupted
    }

    private mutating func saveCheckpoint() throws {
        state.metricsBytes = run.metricsBytes
        try completions.sync()
        try run.saveCheckpoint(state, optimizer, limit: training.saveTotalLimit) { try saveWeights("F32", $0) }
        context.report(.checkpoint(step: state.step, path: run.checkpointsPath + "/step-\(state.step)"))
    }

    // MARK: One step

    /// - Returns: False if cancelled before the update; nothing has changed then.
    private mutating func takeStep() async throws -> Bool {
        clock.start()
        student.beginStep(state.step)
        let indices = order.microBatches(of: state.step).joined().map { $0 }
        var stream = RandomStream(seed: UInt64(training.seed), stream: RandomStreamID.onPolicy, index: UInt64(state.step))
        let isOnPolicy = stream.uniform() < onPolicyShare
        var metrics = Metrics()
        let given = try indices.map { try rows.row($0) }
        var step = given
        var sampled: [Rolling.Scored] = []
        if isOnPolicy {
            guard let rollouts = try await answers(to: Array(zip(indices, given))) else { return false }
            sampled = rollouts
            metrics.record(ungraded: sampled)
            step = zip(step, sampled).map { SupervisedRow(tokens: $0.prompt + $1.tokens, mask: $0.prompt.map { _ in false } + $1.tokens.map { _ in true }, origin: $0.origin) }
        }
        var loss = 0.0
        let tokens = step.reduce(0) { $0 + $1.lossTokens }
        for part in chunks(step, of: training.batchSize) {
            if context.isCancelled() {
                optimizer.clearGradients(of: student)
                return false
            }
            loss += try divergence(part, of: tokens, learns: true)
        }
        let norm = optimizer.gradientNorm(of: student)
        let rate = training.learningRateSchedule(totalSteps: totalSteps).rate(at: state.step)
        let broken = !loss.isFinite ? "the loss" : !norm.isFinite ? "the gradient's norm" : nil
        if broken == nil { optimizer.update(student, learningRate: rate, gradientNorm: norm) } else { optimizer.clearGradients(of: student) }
        let count = step.reduce(0) { $0 + $1.tokens.count }
        clock.stop(tokens: count)
        state.step += 1
        state.updates = optimizer.steps
        state.tokens += count
        if let broken { return try refuse(step, because: broken) }
        state.nonfinite = 0
        guard state.step % training.logSteps == 0 || state.step == totalSteps else { return true }
        metrics.record("on_policy", sum: isOnPolicy ? 1 : 0, count: 1)
        metrics.record(isOnPolicy ? "loss/on_policy" : "loss/off_policy", sum: loss, count: 1)
        let line: [(name: String, value: Double)] = [("loss", loss), ("grad_norm", norm), ("learning_rate", rate)] + metrics.means
        context.report(.step(try run.log(line, stage: OnPolicyDistillation.name, steps: totalSteps, epoch: epoch, clock: clock, state: &state)))
        try completions.append(sampled.prefix(4).enumerated().map { index, sample in
            ["step": .integer(state.step), "prompt": .string(text(given[index].prompt)), "completion": .string(sample.rollout.text)]
        })
        return true
    }

    private mutating func refuse(_ rows: [SupervisedRow], because quantity: String) throws -> Bool {
        state.nonfinite += 1
        let records: [JSON] = rows.map { row in
            ["input_ids": .array(row.tokens.map { .integer(Int($0)) }), "loss_mask": .array(row.mask.map { .integer($0 ? 1 : 0) })]
        }
        try run.refuse(records, step: state.step, epoch: epoch, inARow: state.nonfinite, limit: training.maxNonfiniteSteps, because: quantity, report: context.report)
        return true
    }

    /// The student's own completions of the rows' prompts, kept in the store; nil if cancelled.
    private func answers(to rows: [(index: Int, row: SupervisedRow)]) async throws -> [Rolling.Scored]? {
        let prompts = rows.map { index, row in
            (index: index, row: PromptRow(tokens: row.prompt, content: .tokens(row.prompt), answer: nil, origin: row.origin))
        }
        try await rolling.rollouts.synchronize(student, version: state.updates)
        guard let rollouts = try await rolling.complete(prompts, samples: 1, step: state.step, evaluates: false, isCancelled: context.isCancelled) else { return nil }
        let answers = try rollouts.map { rollout in
            guard let tokens = rollout.tokens, !tokens.isEmpty else { throw RolloutError.noTokens(engine: rollout.model.name) }
            return Rolling.Scored(rollout: rollout, tokens: tokens, score: RewardScore(0), value: 0, isWhole: rollout.finishReason != .length)
        }
        try keeper?.keep(answers, [], of: prompts.map(\.row))
        return answers
    }

    /// Σ divergence of some rows' counted tokens over `tokens`; with `learns` its gradient is added to the student's.
    private func divergence(_ rows: [SupervisedRow], of tokens: Int, learns: Bool) throws -> Double {
        var tree = SegmentTree()
        for row in rows { tree.addRow(segment: tree.append(row.tokens), mask: row.mask) }
        try teacher.beginDistributions(of: tree, keeps: false)
        try student.beginDistributions(of: tree, keeps: learns)
        var sum = 0.0
        for start in stride(from: 0, to: tree.scoredTokenCount, by: Self.logitRows) {
            let part = start..<min(start + Self.logitRows, tree.scoredTokenCount)
            let logits = try student.logits(of: part)
            sum += objective.rows(student: logits, teacher: try teacher.logits(of: part), tokens: tokens, on: context.compute).reduce(0, +)
            if learns { try student.addGradient(logits, of: part) }
        }
        if learns { try student.endDistributions() }
        return sum / Double(max(1, tokens))
    }

    // MARK: Evaluation

    /// The divergence on the held-out rows as they are.
    /// - Returns: False if cancelled before the end; nothing has changed then.
    private mutating func evaluate() throws -> Bool {
        guard !heldOut.isEmpty else {
            state.lastStep = state.step
            return true
        }
        var (tokens, loss) = (0, 0.0)
        try heldOut.forEach { tokens += $1.lossTokens }
        for part in chunks(Array(heldOut.indices), of: training.batchSize) {
            if context.isCancelled() { return false }
            loss += try divergence(part.map { try heldOut.row($0) }, of: tokens, learns: false)
        }
        let line = try run.logEvaluation([("loss", loss)], step: state.step, epoch: epoch)
        state.last = Dictionary(uniqueKeysWithValues: line.map { ($0.name, $0.value) })
        state.lastStep = state.step
        context.report(.evaluation(step: state.step, metrics: line, isBest: false))
        return true
    }
}

extension SupervisedRow {
    /// What the last completion of the row answers: all before the last run of tokens that count.
    var prompt: [Int32] {
        guard let last = mask.lastIndex(of: true) else { return tokens }
        let start = mask[..<last].lastIndex(of: false).map { $0 + 1 } ?? 0
        return Array(tokens[..<start])
    }
}
