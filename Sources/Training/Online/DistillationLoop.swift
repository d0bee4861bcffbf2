import Foundation
import Models
import Serialization
import Tensors

/// Takes a student through its distillation steps: rows of the data, or its own answers to their prompts, under the teacher's eyes.
struct DistillationLoop: StepLoop {
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

    var stage: String { OnPolicyDistillation.name }
    var totalSteps: Int { training.totalSteps(rows: rows.count) }
    var evaluates: Bool { !heldOut.isEmpty }

    func saveBeside(_ checkpoint: String) throws { try completions.sync() }

    // MARK: One step

    mutating func takeStep() async throws -> Bool {
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
        let rate = schedule.rate(at: state.step)
        let broken = !loss.isFinite ? "the loss" : !norm.isFinite ? "the gradient's norm" : nil
        if broken == nil { optimizer.update(student, learningRate: rate, gradientNorm: norm) } else { optimizer.clearGradients(of: student) }
        stepped(tokens: step.reduce(0) { $0 + $1.tokens.count })
        if let broken {
            try refuse(step.map(\.record), because: broken)
            return true
        }
        state.nonfinite = 0
        guard isLogged else { return true }
        metrics.record("on_policy", sum: isOnPolicy ? 1 : 0, count: 1)
        metrics.record(isOnPolicy ? "loss/on_policy" : "loss/off_policy", sum: loss, count: 1)
        try log(loss: loss, norm: norm, rate: rate, metrics.means)
        try completions.append(sampled.prefix(4).enumerated().map { index, sample in
            ["step": .integer(state.step), "prompt": .string(text(given[index].prompt)), "completion": .string(sample.rollout.text)]
        })
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
        let weight = 1 / Double(max(1, tokens))
        let weights = [Double](repeating: weight, count: tree.scoredTokenCount)
        return try objective.divergences(of: student, from: teacher, on: tree, weights: weights, learns: learns, compute: context.compute).reduce(0, +) * weight
    }

    // MARK: Evaluation

    /// The divergence on the held-out rows as they are.
    mutating func evaluate() throws -> Bool {
        var (tokens, loss) = (0, 0.0)
        try heldOut.forEach { tokens += $1.lossTokens }
        for part in chunks(Array(heldOut.indices), of: training.batchSize) {
            if context.isCancelled() { return false }
            loss += try divergence(part.map { try heldOut.row($0) }, of: tokens, learns: false)
        }
        let line = try logEvaluation([("loss", loss)])
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
