import Serialization

/// What loops write into a run directory, in one form for all of them.
extension RunDirectory {
    /// One line of metrics.jsonl: step, epoch, the first three members (loss, norm, rate), tokens, the rest, time.
    /// - Returns: The same, to be shown.
    func log(
        _ line: [(name: String, value: Double)], stage: String, steps: Int, epoch: Double, clock: LoopClock, state: inout LoopState
    ) throws(RunError) -> StepReport {
        state.training = Dictionary(uniqueKeysWithValues: line.map { ($0.name, $0.value) })
        var members: [(String, JSON)] = [("step", .integer(state.step)), ("epoch", .number(epoch))]
        members += line.prefix(3).map { ($0.name, .number($0.value)) }
        members.append(("num_tokens", .integer(state.tokens)))
        members += line.dropFirst(3).map { ($0.name, .number($0.value)) }
        members += [("time/step_seconds", .number(clock.lastSeconds)), ("time/tokens_per_second", .number(clock.tokensPerSecond))]
        try append(.object(JSONObject(members)))
        return StepReport(
            stage: stage, step: state.step, steps: steps, epoch: epoch, loss: line.first?.value ?? 0,
            metrics: line.prefix(3) + [("num_tokens", Double(state.tokens))] + line.dropFirst(3), tokensPerSecond: clock.tokensPerSecond,
            secondsLeft: clock.secondsPerStep * Double(steps - state.step))
    }

    /// The line of an evaluation; names get `eval_`, what is not finite is left out.
    /// - Returns: What was written.
    func logEvaluation(_ metrics: [(name: String, value: Double)], step: Int, epoch: Double) throws(RunError) -> [(name: String, value: Double)] {
        let line = metrics.filter { $0.value.isFinite }.map { (name: "eval_" + $0.name, value: $0.value) }
        try append(.object(JSONObject([("step", .integer(step)), ("epoch", .number(epoch))] + line.map { ($0.name, .number($0.value)) })))
        return line
    }

    /// Keeps the rows of a step that was not applied; gives up after too many in a row.
    /// - Throws: `TrainingError.notFinite`.
    func refuse(
        _ rows: [JSON], step: Int, epoch: Double, inARow: Int, limit: Int, because quantity: String, report: (StageEvent) -> Void
    ) throws {
        let dump = try dump(rows, step: step)
        try append(["step": .integer(step), "epoch": .number(epoch), "loss": .null, "skipped": true])
        report(.notFinite(step: step, quantity: quantity, dump: dump))
        guard inARow < limit else { throw TrainingError.notFinite(step: step, quantity: quantity, inARow: inARow, dump: path + "/nonfinite") }
    }

    /// Weights, moments and state: all that a resumed loop needs.
    /// - Parameter saveWeights: Makes the folder and writes the weights, in F32, into it.
    func saveCheckpoint(_ state: LoopState, _ optimizer: AdamW, limit: Int, saveWeights: (_ folder: String) throws -> Void) throws {
        try saveCheckpoint(step: state.step, limit: limit) { folder in
            try saveWeights(folder)
            try DurableFiles.makeFolder(folder + "/training")
            try OptimizerFile.save(optimizer, to: folder + "/" + RunDirectory.optimizerName)
            try DurableFiles.replace(folder + "/" + RunDirectory.stateName, with: Array((state.json.text(pretty: true) + "\n").utf8))
        }
    }
}

/// Time spent in steps of this process; evaluations and checkpoints do not count.
struct LoopClock {
    private var started = ContinuousClock.now
    private var seconds = 0.0
    private var tokens = 0
    private var steps = 0
    private(set) var lastSeconds = 0.0

    mutating func start() { started = .now }
    mutating func stop(tokens: Int) {
        let elapsed = (ContinuousClock.now - started).components
        lastSeconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
        seconds += lastSeconds
        self.tokens += tokens
        steps += 1
    }
    var tokensPerSecond: Double { seconds > 0 ? Double(tokens) / seconds : 0 }
    var secondsPerStep: Double { steps > 0 ? seconds / Double(steps) : 0 }
}
