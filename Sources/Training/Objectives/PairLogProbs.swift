import Models

/// What every offline preference loss is a function of.
///
/// Rows `0..<B` are the chosen completions, rows `B..<2·B` the rejected ones, in the same order of prompts.
public struct PairLogProbs: Sendable {
    /// log π of each completion token, nats; 2·B rows.
    public var logProbs: Ragged
    /// log π_ref(y|x), summed over the completion, shape [2·B]; constants.
    public var reference: [Double]

    public init(logProbs: Ragged, reference: [Double]) {
        precondition(logProbs.rows == reference.count, "\(logProbs.rows) completions, \(reference.count) reference log-probs")
        precondition(logProbs.rows % 2 == 0, "\(logProbs.rows) completions do not make pairs")
        (self.logProbs, self.reference) = (logProbs, reference)
    }

    /// B.
    public var pairs: Int { reference.count / 2 }

    /// log π(y|x) − log π_ref(y|x) of completion `row`, nats.
    func logRatio(_ row: Int) -> Double { logProbs.sum(row) - reference[row] }
    /// Tokens of completion `row`, at least 1 so that an empty one has mean 0.
    func length(_ row: Int) -> Double { Double(max(1, logProbs[row].count)) }
}

/// An objective over preference pairs with implicit rewards β·(log π − log π_ref).
public protocol PairObjective: Objective where Inputs == PairLogProbs {
    var beta: Double { get }
}

extension PairObjective {
    /// TRL's metrics of pair `i`: rewards are β times the *summed* log-ratios, whatever the loss averages.
    func recordRewards(of inputs: PairLogProbs, pair i: Int, into loss: inout Loss) {
        let B = inputs.pairs
        let chosen = beta * inputs.logRatio(i)
        let rejected = beta * inputs.logRatio(B + i)
        loss.record("rewards/chosen", chosen)
        loss.record("rewards/rejected", rejected)
        loss.record("rewards/accuracies", chosen > rejected ? 1 : 0)
        loss.record("rewards/margins", chosen - rejected)
        // A tie is half right: before training every pair is one, and accuracy says 0.5.
        loss.record("accuracy", chosen > rejected ? 1 : chosen == rejected ? 0.5 : 0)
        loss.record("logps/chosen", inputs.logProbs.sum(i))
        loss.record("logps/rejected", inputs.logProbs.sum(B + i))
    }
}
