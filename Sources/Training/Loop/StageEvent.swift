/// What a stage tells while it works; whoever runs it decides what to show.
public enum StageEvent: Sendable {
    /// Something worth a line: what was detected, what was skipped.
    case notice(String)
    case preflight(Preflight)
    /// Reference log-probs: completions done of those that were not cached.
    case reference(done: Int, missing: Int, cached: Int)
    /// A logged optimizer step.
    case step(StepReport)
    /// Rows of an evaluation done so far.
    case evaluating(done: Int, rows: Int)
    /// An evaluation after `step`: names as in metrics.jsonl, with `eval_`.
    case evaluation(step: Int, metrics: [(name: String, value: Double)], isBest: Bool)
    case checkpoint(step: Int, path: String)
    /// A step that was not applied.
    case notFinite(step: Int, quantity: String, dump: String)
}

/// One optimizer step, as progress lines and metrics.jsonl show it.
public struct StepReport: Sendable {
    public var stage: String
    /// From 1.
    public var step: Int
    public var steps: Int
    public var epoch: Double
    /// Nats, of the weights before the update.
    public var loss: Double
    /// All members of the line in metrics.jsonl, in its order, timing left out.
    public var metrics: [(name: String, value: Double)]
    /// Plain tokens (prompt and completion, the prompt twice for a pair) per second of this process's training so far.
    public var tokensPerSecond: Double
    public var secondsLeft: Double
}

/// How a stage ended.
public struct StageOutcome: Sendable {
    public enum Status: String, Sendable { case finished, stoppedEarly = "stopped early", interrupted }
    public var status: Status
    public var stage: String
    public var runPath: String
    /// The result; nil if the run was interrupted.
    public var modelPath: String?
    public var steps: Int
    /// Metrics of the last logged step.
    public var training: [String: Double]
    /// Held-out metrics (`eval_loss`, `eval_accuracy`, `eval_rewards/margins`, …) before training and of the model in `modelPath`;
    /// empty without held-out rows.
    public var before: [String: Double], after: [String: Double]
}
