import Models

/// What a loss of single completions, each good or bad, is a function of.
public struct UnpairedLogProbs: Sendable {
    /// log π of each completion token, nats; one row a completion.
    public var logProbs: Ragged
    /// log π_ref(y|x), summed over the completion; constants.
    public var reference: [Double]
    /// Whether each completion is desirable.
    public var labels: [Bool]

    public init(logProbs: Ragged, reference: [Double], labels: [Bool]) {
        precondition(
            logProbs.rows == reference.count && logProbs.rows == labels.count,
            "\(logProbs.rows) completions, \(reference.count) reference log-probs, \(labels.count) labels")
        (self.logProbs, self.reference, self.labels) = (logProbs, reference, labels)
    }
}

/// What a loss of single completions takes from the step as a whole, a constant to its gradient.
public enum StepAnchor: Sendable {
    case none
    /// max(0, mean of log π − log π_ref over completions of *other* prompts of the step): an estimate of KL(π‖π_ref).
    case mismatchedKL
    /// A running mean of the rewards of all steps so far, this one included.
    case runningReward
}

/// An objective over single completions with implicit rewards β·(log π − log π_ref).
public protocol UnpairedObjective: Objective where Inputs == UnpairedLogProbs {
    var beta: Double { get }
    var desirableWeight: Double { get }
    var undesirableWeight: Double { get }
    static var anchoring: StepAnchor { get }
    /// The anchor's value: z₀ in nats, or δ in units of the reward.
    var anchor: Double { get set }
    /// The loss of one completion before its weight, and its derivative with respect to the log-ratio.
    func loss(logRatio: Double, isDesirable: Bool) -> (value: Double, slope: Double)
}

extension UnpairedObjective {
    /// The step's loss is the mean over its completions (`StepTotals.pairs` counts them). The gradient has the shape of `logProbs`.
    public func callAsFunction(_ inputs: UnpairedLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        var loss = Loss(gradientLike: inputs.logProbs)
        for row in 0..<inputs.logProbs.rows {
            let sum = inputs.logProbs.sum(row)
            let logRatio = sum - inputs.reference[row]
            guard logRatio.isFinite else { throw .notFinite(objective: Self.name, quantity: "the log-ratio", row: row) }
            let isDesirable = inputs.labels[row]
            let weight = (isDesirable ? desirableWeight : undesirableWeight) / Double(step.pairs)
            let (value, slope) = self.loss(logRatio: logRatio, isDesirable: isDesirable)
            loss.value += weight * value
            loss.fill(row: row, with: weight * slope)
            let side = isDesirable ? "chosen" : "rejected"
            loss.record("rewards/\(side)", beta * logRatio)
            loss.record("logps/\(side)", sum)
        }
        return loss
    }
}
