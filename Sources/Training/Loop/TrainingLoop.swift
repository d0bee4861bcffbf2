import Models
import Serialization
import Tensors

/// Takes a policy through rows of data: batching, accumulation, clipping, updates, metrics, evaluations.
struct TrainingLoop: StepLoop {
    let stage: String
    let training: TrainingSettings
    let task: any TrainingTask
    let evaluation: (any TrainingTask)?
    let policy: any TrainablePolicy
    let optimizer: AdamW
    let run: RunDirectory
    let saveWeights: (_ dtype: String, _ folder: String) throws -> Void
    /// Set if the reference moves.
    let reference: MovingReference?
    let context: StageContext

    var state: LoopState
    var clock = LoopClock()
    private(set) var order: BatchOrder
    private var watch = ChosenWatch()

    init(
        stage: String, training: TrainingSettings, task: any TrainingTask, evaluation: (any TrainingTask)?, policy: any TrainablePolicy,
        optimizer: AdamW, run: RunDirectory, state: LoopState, saveWeights: @escaping (_ dtype: String, _ folder: String) throws -> Void,
        reference: MovingReference?, context: StageContext
    ) {
        (self.stage, self.training, self.task, self.evaluation, self.policy) = (stage, training, task, evaluation, policy)
        (self.optimizer, self.run, self.state, self.saveWeights) = (optimizer, run, state, saveWeights)
        (self.reference, self.context) = (reference, context)
        order = BatchOrder(rows: task.rowCount, settings: training)
    }

    var totalSteps: Int { training.totalSteps(rows: task.rowCount) }
    var evaluates: Bool { evaluation != nil }
    var stopsEarly: Bool { training.earlyStoppingPatience > 0 && state.evaluationsSinceBest >= training.earlyStoppingPatience }

    func saveBeside(_ checkpoint: String) throws { try reference?.save(to: checkpoint + "/" + RunDirectory.referenceName) }

    // MARK: One optimizer step

    mutating func takeStep() throws -> Bool {
        let batches = order.microBatches(of: state.step)
        // The rows of one step are in memory, whatever the number of all.
        let task = try task.holding(batches.flatMap { $0 })
        let totals = batches.joined().map { task.totals(of: $0) }.reduce(StepTotals(), +)
        clock.start()
        var loss = 0.0
        var tokens = 0
        var metrics = Metrics()
        var broken: String?
        policy.beginStep(state.step)
        var memory = state.memory
        guard let bound = try bind(task, to: batches, totals: totals) else { return false }
        var stepTask = task
        switch bound {
        case let .success(bound): stepTask = bound
        case let .failure(error): broken = error.description
        }
        for rows in batches where broken == nil {
            if context.isCancelled() {
                optimizer.clearGradients(of: policy)
                return false
            }
            let batch = stepTask.batch(rows)
            tokens += batch.plainTokenCount
            let scores = try policy.logProbs(of: batch)
            switch share(of: scores, stepTask, rows: rows, totals: totals) {
            case let .success(share):
                loss += share.value
                metrics.add(share.metrics)
                memory.merge(share.memory) { $1 }
                try policy.backward(share.scoreGradient)
            case let .failure(error): broken = error.description
            }
        }
        let norm = broken == nil ? optimizer.gradientNorm(of: policy) : .nan
        if broken == nil, !norm.isFinite { broken = "the gradient's norm" }
        let rate = schedule.rate(at: state.step)
        if broken == nil {
            state.memory = memory
            task.finish(&metrics)
            optimizer.update(policy, learningRate: rate, gradientNorm: norm)
            reference?.follow(policy, step: state.step + 1)
            state.nonfinite = 0
        } else {
            optimizer.clearGradients(of: policy)
        }
        stepped(tokens: tokens)
        if let broken {
            try refuse(batches.joined().map { task.record(of: $0) }, because: broken)
        } else if isLogged {
            try log(loss: loss, norm: norm, rate: rate, task.metrics(metrics, isEvaluation: false).means)
            if let warning = watch.step(task.displacement(metrics)) { context.report(.notice(warning)) }
        }
        return true
    }

    /// The task with what couples the rows of a step, or of an evaluation.
    /// - Returns: Nil if cancelled on the way.
    private func bind(_ task: any TrainingTask, to batches: [[Int]], totals: StepTotals) throws -> Result<any TrainingTask, ObjectiveError>? {
        var task = task
        if let reference, let referenced = task as? any ReferencedTask {
            for rows in batches {
                if context.isCancelled() { return nil }
                let scores = try reference.scores(of: task.holding(rows).batch(rows))
                task = (task as? any ReferencedTask ?? referenced).referenced(by: scores, rows: rows)
            }
        }
        guard let coupled = task as? any CoupledTask else { return .success(task) }
        var surveys: [TokenScores] = []
        for rows in batches {
            if context.isCancelled() { return nil }
            if let batch = try coupled.survey(rows, of: batches) { surveys.append(try policy.scores(of: batch)) }
        }
        do throws(ObjectiveError) {
            return .success(try coupled.bound(to: batches, surveys: surveys, totals: totals, memory: state.memory))
        } catch { return .failure(error) }
    }

    private func share(of scores: TokenScores, _ task: any TrainingTask, rows: [Int], totals: StepTotals) -> Result<Loss, ObjectiveError> {
        do throws(ObjectiveError) {
            let share = try task.loss(scores, rows: rows, step: totals)
            guard share.value.isFinite else { throw .notFinite(objective: stage, quantity: "the loss", row: 0) }
            return .success(share)
        } catch { return .failure(error) }
    }

    // MARK: Evaluation

    mutating func evaluate() throws -> Bool {
        guard let evaluation else { return true }
        let batches = stride(from: 0, to: evaluation.rowCount, by: training.batchSize).map {
            Array($0..<min(evaluation.rowCount, $0 + training.batchSize))
        }
        var totals = StepTotals()
        for rows in batches {
            let held = try evaluation.holding(rows)
            totals = rows.map { held.totals(of: $0) }.reduce(totals, +)
        }
        guard let bound = try bind(evaluation, to: batches, totals: totals) else { return false }
        var loss = 0.0
        var metrics = Metrics()
        for rows in batches {
            if context.isCancelled() { return false }
            let scores = try policy.scores(of: evaluation.holding(rows).batch(rows))
            switch bound {
            case .failure: loss = .infinity
            case let .success(task):
                let task = try task.holding(rows)
                do throws(ObjectiveError) {
                    let share = try task.loss(scores, rows: rows, step: totals)
                    loss += share.value
                    metrics.add(share.metrics)
                } catch { loss = .infinity }
            }
            context.report(.evaluating(done: rows.last.map { $0 + 1 } ?? 0, rows: evaluation.rowCount))
        }
        evaluation.finish(&metrics)
        // A loss that is not finite is left out: such an evaluation is never the best.
        let line = try logEvaluation([("loss", loss)] + evaluation.metrics(metrics, isEvaluation: true).means)
        let isBest = training.evalSteps > 0 && state.step > 0 && isBetter(state.last, than: state.best)
        if isBest {
            try run.replaceFolder(run.bestPath) { try saveWeights("F32", $0) }
            (state.best, state.bestStep, state.evaluationsSinceBest) = (state.last, state.step, 0)
        } else if state.step > 0 {
            state.evaluationsSinceBest += 1
        }
        context.report(.evaluation(step: state.step, metrics: line, isBest: isBest))
        if let warning = watch.evaluation(before: state.before["eval_logps/chosen"], now: state.last["eval_logps/chosen"]) { context.report(.notice(warning)) }
        return true
    }

    private func isBetter(_ metrics: [String: Double], than best: [String: Double]) -> Bool {
        guard let value = metrics[training.bestMetric.rawValue] else { return false }
        guard let old = best[training.bestMetric.rawValue] else { return true }
        return training.bestMetric == .loss ? value < old : value > old
    }
}
