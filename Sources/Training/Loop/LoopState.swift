import Serialization

/// All that a resumed loop must know beyond weights and moments. Draws need no state: they follow from (seed, epoch).
struct LoopState: Equatable {
    /// Optimizer steps taken, applied or not.
    var step = 0
    /// Updates applied: AdamW's t.
    var updates = 0
    /// Plain tokens so far.
    var tokens = 0
    /// Steps in a row whose loss or gradient was not finite.
    var nonfinite = 0
    /// Length of metrics.jsonl at this step, in bytes.
    var metricsBytes = 0
    /// Metrics of the last step that was logged.
    var training: [String: Double] = [:]
    /// Held-out metrics before training.
    var before: [String: Double] = [:]
    /// The last evaluation, and the step after which it was made.
    var last: [String: Double] = [:]
    var lastStep = -1
    var best: [String: Double] = [:]
    var bestStep = -1
    var evaluationsSinceBest = 0
    /// What the objective remembers of the steps so far: `Loss.memory`.
    var memory: [String: Double] = [:]

    var json: JSON {
        func table(_ metrics: [String: Double]) -> JSON {
            .object(JSONObject(metrics.keys.sorted().map { ($0, .number(metrics[$0] ?? 0)) }))
        }
        return [
            "step": .integer(step), "updates": .integer(updates), "tokens": .integer(tokens), "nonfinite": .integer(nonfinite),
            "metrics_bytes": .integer(metricsBytes), "training": table(training), "before": table(before), "last": table(last), "last_step": .integer(lastStep),
            "best": table(best), "best_step": .integer(bestStep), "evaluations_since_best": .integer(evaluationsSinceBest), "memory": table(memory),
        ]
    }

    init() {}

    init(json: JSON, file: String) throws(RunError) {
        func integer(_ key: String) throws(RunError) -> Int {
            guard let value = json[key]?.int else {
                throw .damaged(file: file, field: key, found: json[key]?.kind ?? "nothing", expected: "an integer")
            }
            return value
        }
        func table(_ key: String) -> [String: Double] {
            Dictionary(uniqueKeysWithValues: (json[key]?.object?.members ?? []).compactMap { member in member.value.double.map { (member.key, $0) } })
        }
        step = try integer("step")
        updates = try integer("updates")
        tokens = try integer("tokens")
        nonfinite = try integer("nonfinite")
        metricsBytes = try integer("metrics_bytes")
        lastStep = try integer("last_step")
        bestStep = try integer("best_step")
        evaluationsSinceBest = try integer("evaluations_since_best")
        (training, before, last, best) = (table("training"), table("before"), table("last"), table("best"))
        memory = table("memory")
        guard step >= 0, updates >= 0, metricsBytes >= 0 else {
            throw .damaged(file: file, field: "step", found: "\(step)", expected: "counts of at least 0")
        }
    }
}
