import Serialization

/// What takes a policy through its optimizer steps: the order of steps, evaluations and checkpoints is the same for all; a loop says what
/// a step is.
///
/// Which rows a step takes and what is drawn in it follow from (seed, step) and the weights; together with moments and `LoopState` that is all
/// of its state, so that a resumed run goes on bit for bit like one that was never stopped.
protocol StepLoop {
    var training: TrainingSettings { get }
    var optimizer: AdamW { get }
    var run: RunDirectory { get }
    var context: StageContext { get }
    /// Writes the policy's weights as a Hugging Face folder.
    var saveWeights: (_ dtype: String, _ folder: String) throws -> Void { get }
    var order: BatchOrder { get }
    /// The stage's name.
    var stage: String { get }
    var state: LoopState { get set }
    var clock: LoopClock { get set }
    var totalSteps: Int { get }
    /// Whether there is anything to evaluate on.
    var evaluates: Bool { get }
    /// Whether the last evaluation says that there is nothing more to gain.
    var stopsEarly: Bool { get }

    /// - Returns: False if cancelled before the step was whole; nothing has changed then.
    mutating func takeStep() async throws -> Bool
    /// Measures the policy on what is held out; `state.last` and `state.lastStep` are then of this step.
    /// - Returns: False if cancelled before the end; nothing has changed then.
    mutating func evaluate() async throws -> Bool
    /// Writes what a resumed loop needs beside weights and moments into the folder of a checkpoint, and makes the run's own files durable.
    func saveBeside(_ checkpoint: String) throws
}

extension StepLoop {
    var stopsEarly: Bool { false }
    func saveBeside(_ checkpoint: String) throws {}

    var epoch: Double { Double(state.step) / Double(order.stepsPerEpoch) }
    var schedule: LearningRateSchedule { training.learningRateSchedule(totalSteps: totalSteps) }

    /// Trains to the end, or until cancelled or nothing is to be gained; the state is then that of the last whole step, saved.
    mutating func train() async throws -> StageOutcome.Status {
        if evaluates && state.lastStep < 0 {
            guard try await evaluate() else { return try interrupted() }
            state.before = state.last
        }
        while true {
            // Looked at before the step and not after it: a run stopped between step and evaluation resumes here.
            if isDue(every: training.evalSteps), evaluates, state.lastStep != state.step {
                guard try await evaluate() else { return try interrupted() }
            }
            if isDue(every: training.saveSteps), state.step < totalSteps { try saveCheckpoint() }
            if stopsEarly { return .stoppedEarly }
            if state.step >= totalSteps { break }
            guard try await takeStep() else { return try interrupted() }
        }
        if evaluates && state.lastStep != state.step {
            guard try await evaluate() else { return try interrupted() }
        }
        return .finished
    }

    private func isDue(every steps: Int) -> Bool { steps > 0 && state.step > 0 && state.step % steps == 0 }

    private mutating func interrupted() throws -> StageOutcome.Status {
        if state.step > 0 { try saveCheckpoint() }
        return .interrupted
    }

    /// Saves this step's checkpoint, unless it is there.
    private mutating func saveCheckpoint() throws {
        guard run.checkpoints().last?.step != state.step else { return }
        state.metricsBytes = run.metricsBytes
        try run.saveCheckpoint(state, optimizer, limit: training.saveTotalLimit) { folder in
            try saveWeights("F32", folder)
            try saveBeside(folder)
        }
        context.report(.checkpoint(step: state.step, path: run.checkpointsPath + "/step-\(state.step)"))
    }

    // MARK: What loops write down

    /// Counts a step, applied or not, and stops its clock.
    mutating func stepped(tokens: Int) {
        clock.stop(tokens: tokens)
        state.step += 1
        state.updates = optimizer.steps
        state.tokens += tokens
    }

    /// Whether the step that was just taken is one to write down.
    var isLogged: Bool { state.step % training.logSteps == 0 || state.step == totalSteps }

    mutating func log(loss: Double, norm: Double, rate: Double, _ metrics: [(name: String, value: Double)]) throws {
        let line: [(name: String, value: Double)] = [("loss", loss), ("grad_norm", norm), ("learning_rate", rate)]
        context.report(.step(try run.log(line + metrics, stage: stage, steps: totalSteps, epoch: epoch, clock: clock, state: &state)))
    }

    /// Writes an evaluation down, and takes it as the last one.
    /// - Returns: The metrics under the names they have in the log.
    mutating func logEvaluation(_ metrics: [(name: String, value: Double)]) throws -> [(name: String, value: Double)] {
        let line = try run.logEvaluation(metrics, step: state.step, epoch: epoch)
        state.last = Dictionary(uniqueKeysWithValues: line.map { ($0.name, $0.value) })
        state.lastStep = state.step
        return line
    }

    /// Writes down a step whose loss or gradient was not finite.
    /// - Throws: `RunError` where too many have followed each other.
    mutating func refuse(_ records: [JSON], because quantity: String) throws {
        state.nonfinite += 1
        try run.refuse(
            records, step: state.step, epoch: epoch, inARow: state.nonfinite, limit: training.maxNonfiniteSteps, because: quantity, report: context.report)
    }
}
