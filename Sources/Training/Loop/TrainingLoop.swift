import Models
import Serialization
import Tensors

/// Takes a policy through its optimizer steps: batching, accumulation, clipping, updates, metrics, evaluations, checkpoints.
///
/// Which rows a step takes follows from (seed, step); together with weights, moments and `LoopState` that is all of its
/// state, so that a resumed run goes on bit for bit like one that was never stopped.
struct TrainingLoop {
    let stage: String
    let settings: TrainingSettings
    let task: any TrainingTask
    let evaluation: (any TrainingTask)?
    let policy: any TrainablePolicy
    let optimizer: AdamW
    let run: RunDirectory
    /// Writes the policy's weights as a Hugging Face folder.
    let saveWeights: (_ dtype: String, _ folder: String) throws -> Void
    /// Set if the reference moves.
    let reference: MovingReference?
    let report: (StageEvent) -> Void
    let isCancelled: () -> Bool

    var state: LoopState

    private let schedule: LearningRateSchedule
    let totalSteps: Int
    private var order: BatchOrder
    private var clock = LoopClock()
    private var watch = ChosenWatch()

    init(
        stage: String, settings: TrainingSettings, task: any TrainingTask, evaluation: (any TrainingTask)?, policy: any TrainablePolicy,
        optimizer: AdamW, run: RunDirectory, state: LoopState, saveWeights: @escaping (_ dtype: String, _ folder: String) throws -> Void,
        reference: MovingReference? = nil, report: @escaping (StageEvent) -> Void, isCancelled: @escaping () -> Bool
    ) {
        self.reference = reference
        self.stage = stage
        self.settings = settings
        self.task = task
        self.evaluation = evaluation
        self.policy = policy
        self.optimizer = optimizer
        self.run = run
        self.state = state
        self.saveWeights = saveWeights
        self.report = report
        self.isCancelled = isCancelled
        order = BatchOrder(rows: task.rowCount, settings: settings)
        totalSteps = settings.totalSteps(rows: task.rowCount)
        schedule = settings.learningRateSchedule(totalSteps: totalSteps)
    }

    /// Trains to the end, or until cancelled; the state is then that of the last whole step, saved.
    mutating func train() throws -> StageOutcome.Status {
        if evaluation != nil && state.lastStep < 0 {
            guard try evaluate() else { return try interrupted() }
            state.before = state.last
        }
        while true {
            // Looked at before the step and not after it: a run stopped between step and evaluation resumes here.
            if isDue(every: settings.evalSteps), evaluation != nil, state.lastStep != state.step {
                guard try evaluate() else { return try interrupted() }
            }
            if isDue(every: settings.saveSteps), state.step < totalSteps, run.checkpoints().last?.step != state.step { try saveCheckpoint() }
            if stopsEarly { return .stoppedEarly }
            if state.step >= totalSteps { break }
            guard try takeStep() else { return try interrupted() }
        }
        if evaluation != nil && state.lastStep != state.step {
            guard try evaluate() else { return try interrupted() }
        }
        return .finished
    }

    private func isDue(every steps: Int) -> Bool { steps > 0 && state.step > 0 && state.step % steps == 0 }

    private var stopsEarly: Bool {
        settings.earlyStoppingPatience > 0 && state.evaluationsSinceBest >= settings.earlyStoppingPatience
    }

    private mutating func interrupted() throws -> StageOutcome.Status {
        if state.step > 0, run.checkpoints().last?.step != state.step { try saveCheckpoint() }
        return .interrupted
    }

    // MARK: One optimizer step

    /// - Returns: False if cancelled before the step was whole; nothing has changed then.
    private mutating func takeStep() throws -> Bool {
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
            if isCancelled() {
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
            state.nonfinite += 1
        }
        clock.stop(tokens: tokens)
        state.step += 1
        state.updates = optimizer.steps
        state.tokens += tokens
        if let broken {
            try run.refuse(
                batches.joined().map { task.record(of: $0) }, step: state.step, epoch: epoch, inARow: state.nonfinite,
                limit: settings.maxNonfiniteSteps, because: broken, report: report)
        } else if state.step % settings.logSteps == 0 || state.step == totalSteps {
            try log(loss: loss, norm: norm, rate: rate, metrics: metrics)
            if let warning = watch.step(task.displacement(metrics)) { report(.notice(warning)) }
        }
        return true
    }

    /// The task with what couples the rows of a step, or of an evaluation.
    /// - Returns: Nil if cancelled on the way.
    private func bind(_ task: any TrainingTask, to batches: [[Int]], totals: StepTotals) throws -> Result<any TrainingTask, ObjectiveError>? {
        var task = task
        if let reference, let referenced = task as? any ReferencedTask {
            for rows in batches {
                if isCancelled() { return nil }
                let scores = try reference.scores(of: task.holding(rows).batch(rows))
                task = (task as? any ReferencedTask ?? referenced).referenced(by: scores, rows: rows)
            }
        }
        guard let coupled = task as? any CoupledTask else { return .success(task) }
        var surveys: [TokenScores] = []
        for rows in batches {
            if isCancelled() { return nil }
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

    private var epoch: Double { Double(state.step) / Double(order.stepsPerEpoch) }

    private mutating func log(loss: Double, norm: Double, rate: Double, metrics: Metrics) throws {
        var line: [(name: String, value: Double)] = [("loss", loss), ("grad_norm", norm), ("learning_rate", rate)]
        line += task.metrics(metrics, isEvaluation: false).means
        report(.step(try run.log(line, stage: stage, steps: totalSteps, epoch: epoch, clock: clock, state: &state)))
    }

    // MARK: Evaluation

    /// - Returns: False if cancelled before the end; nothing has changed then.
    private mutating func evaluate() throws -> Bool {
        guard let evaluation else { return true }
        let batches = stride(from: 0, to: evaluation.rowCount, by: settings.batchSize).map {
            Array($0..<min(evaluation.rowCount, $0 + settings.batchSize))
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
            if isCancelled() { return false }
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
            report(.evaluating(done: rows.last.map { $0 + 1 } ?? 0, rows: evaluation.rowCount))
        }
        evaluation.finish(&metrics)
        // A loss that is not finite is left out: such an evaluation is never the best.
        let line = try run.logEvaluation([("loss", loss)] + evaluation.metrics(metrics, isEvaluation: true).means, step: state.step, epoch: epoch)
        state.last = Dictionary(uniqueKeysWithValues: line.map { ($0.name, $0.value) })
        state.lastStep = state.step
        let isBest = settings.evalSteps > 0 && state.step > 0 && isBetter(state.last, than: state.best)
        if isBest {
            try run.replaceFolder(run.bestPath) { try saveWeights("F32", $0) }
            (state.best, state.bestStep, state.evaluationsSinceBest) = (state.last, state.step, 0)
        } else if state.step > 0 {
            state.evaluationsSinceBest += 1
        }
        report(.evaluation(step: state.step, metrics: line, isBest: isBest))
        if let warning = watch.evaluation(before: state.before["eval_logps/chosen"], now: state.last["eval_logps/chosen"]) { report(.notice(warning)) }
        return true
    }

    private func isBetter(_ metrics: [String: Double], than best: [String: Double]) -> Bool {
        guard let value = metrics[settings.bestMetric.rawValue] else { return false }
        guard let old = best[settings.bestMetric.rawValue] else { return true }
        return settings.bestMetric == .loss ? value < old : value > old
    }

    // MARK: Checkpoints

    private mutating func saveCheckpoint() throws {
        state.metricsBytes = run.metricsBytes
        try run.saveCheckpoint(state, optimizer, limit: settings.saveTotalLimit) { folder in
            try saveWeights("F32", folder)
            try reference?.save(to: folder + "/" + RunDirectory.referenceName)
        }
        report(.checkpoint(step: state.step, path: run.checkpointsPath + "/step-\(state.step)"))
    }
}
