import Models

/// One pair, as a pairwise loss sees it.
public struct PairScores: Sendable, Equatable {
    /// log π(y|x) − log π_ref(y|x) of either side, nats, summed over the completion; under another divergence than the reverse
    /// KL, its f′ of the ratio. Without a reference, log π(y|x).
    public var chosen: Double, rejected: Double
    /// log π_ref(y|x), nats; 0 without a reference.
    public var chosenReference = 0.0, rejectedReference = 0.0
    /// Tokens of either side, at least 1, so that an empty one has mean 0.
    public var chosenLength = 1.0, rejectedLength = 1.0

    public init(chosen: Double, rejected: Double) { (self.chosen, self.rejected) = (chosen, rejected) }

    /// Δ = r_w − r_l.
    public var delta: Double { chosen - rejected }
    /// Δ of the averages per token.
    public var meanDelta: Double { chosen / chosenLength - rejected / rejectedLength }
}

/// The loss of one pair, and its derivatives.
public struct PairLoss: Sendable, Equatable {
    public var value: Double
    /// ∂value/∂`PairScores.chosen` and ∂value/∂`PairScores.rejected`.
    public var chosen: Double, rejected: Double
    /// Observations beside the usual ones.
    public var metrics: [String: Double] = [:]

    public init(value: Double, chosen: Double, rejected: Double) { (self.value, self.chosen, self.rejected) = (value, chosen, rejected) }
    /// Of a loss that is a function of Δ alone.
    init(value: Double, slope: Double) { self.init(value: value, chosen: slope, rejected: -slope) }
    /// Of a loss that is a function of the averages' Δ alone.
    init(value: Double, slope: Double, of pair: PairScores) {
        self.init(value: value, chosen: slope / pair.chosenLength, rejected: -slope / pair.rejectedLength)
    }
}

/// A loss that is the mean over pairs of a function of each pair's two log-ratios: most of the family.
///
/// One file and one line in `PreferenceLoss.all` make a new one. Divergences, length desensitisation, WPO's weights and an
/// NLL term are `PreferenceObjective`'s, and come to all of them alike.
public protocol PairwiseObjective: PairObjective {
    /// The losses of `pairs`, in their order; of all pairs of the step, if `couplesPairs`.
    func losses(of pairs: [PairScores]) -> [PairLoss]
    /// The loss of one pair, where pairs are independent.
    func loss(of pair: PairScores) -> PairLoss
    /// Coefficient of −log π(y_w|x), averaged over the chosen tokens of the step.
    var likelihoodWeight: Double { get }
    /// Whether `--f-divergence` means something: the loss compares ratios, and does not fix their scale.
    static var takesDivergence: Bool { get }
    /// The implicit rewards that metrics show.
    func rewards(of pair: PairScores) -> (chosen: Double, rejected: Double)
}

extension PairwiseObjective {
    public func losses(of pairs: [PairScores]) -> [PairLoss] { pairs.map { loss(of: $0) } }
    public var likelihoodWeight: Double { 0 }
    public static var takesDivergence: Bool { false }
    /// β times the *summed* log-ratios, whatever the loss averages: TRL's definition.
    public func rewards(of pair: PairScores) -> (chosen: Double, rejected: Double) { (beta * pair.chosen, beta * pair.rejected) }

    /// The loss alone, without any of `PreferenceObjective`'s additions.
    public func callAsFunction(_ inputs: PairLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        try PreferenceObjective([PreferenceObjective.Term(self)])(inputs, step: step)
    }
}
