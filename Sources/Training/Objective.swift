import Models

/// A training loss, as mathematics alone: no model, no tokens, no I/O.
/// What it is given (log-probabilities, values, scores) it differentiates by hand.
public protocol Objective: Sendable {
    associatedtype Inputs: Sendable
    /// The word after `--loss`, and the key in run records.
    static var name: String { get }
    /// - Parameter step: Pairs and tokens of the *whole* optimizer step. They are the divisor, so
    ///   that one micro-batch of eight and eight of one give the same gradient.
    /// - Returns: The micro-batch's share of the loss, its gradient in the inputs' own layout, and metrics.
    /// - Throws: `ObjectiveError` naming the row, if a quantity is not finite.
    func callAsFunction(_ inputs: Inputs, step: StepTotals) throws(ObjectiveError) -> Loss
}

/// What one whole optimizer step holds, known before its first micro-batch: the divisors of every mean.
public struct StepTotals: Sendable, Equatable {
    /// Preference pairs of the step; 0 for losses over tokens.
    public var pairs: Int
    /// Tokens of the step that a loss counts.
    public var tokens: Int
    public init(pairs: Int = 0, tokens: Int = 0) { (self.pairs, self.tokens) = (pairs, tokens) }

    public static func + (a: StepTotals, b: StepTotals) -> StepTotals {
        StepTotals(pairs: a.pairs + b.pairs, tokens: a.tokens + b.tokens)
    }
    public static func += (a: inout StepTotals, b: StepTotals) { a = a + b }
}

/// One micro-batch's share of an optimizer step's loss.
public struct Loss: Sendable {
    /// Nats; the shares of a step's micro-batches add up to the step's loss.
    public var value = 0.0
    /// ∂value/∂logProbs, in the layout of the log-probs; empty for a loss of read-outs alone.
    public var gradient: Ragged
    /// ∂value/∂readouts, `[points, outputs]`; empty for a loss of log-probs alone.
    public var readoutGradient: [Double] = []
    public var metrics = Metrics()

    /// No loss yet: zeros in the layout of `logProbs`.
    public init(gradientLike logProbs: Ragged) {
        gradient = logProbs
        for index in gradient.values.indices { gradient.values[index] = 0 }
    }

    /// No loss yet: zeros for `count` read-outs.
    public init(readouts count: Int) {
        gradient = Ragged()
        readoutGradient = [Double](repeating: 0, count: count)
    }

    /// What the policy's backward takes.
    public var scoreGradient: ScoreGradient { ScoreGradient(logProbs: gradient.values, readouts: readoutGradient) }

    /// Sets the gradient of every token of `row`: what a loss of the row's *sum* needs.
    public mutating func fill(row: Int, with slope: Double) {
        for index in gradient.offsets[row]..<gradient.offsets[row + 1] { gradient.values[index] = slope }
    }

    /// Adds an observation to the mean called `name`.
    public mutating func record(_ name: String, _ value: Double) { metrics.record(name, sum: value, count: 1) }
}

/// Means under way: each metric is a sum and a count, so that micro-batches of different sizes add up rightly.
public struct Metrics: Sendable, Equatable {
    public struct Sum: Sendable, Equatable {
        public var sum: Double, count: Double
        public var mean: Double { count == 0 ? 0 : sum / count }
    }
    public private(set) var sums: [String: Sum] = [:]
    public init() {}

    public mutating func record(_ name: String, sum: Double, count: Double) {
        let old = sums[name] ?? Sum(sum: 0, count: 0)
        sums[name] = Sum(sum: old.sum + sum, count: old.count + count)
    }
    public mutating func add(_ other: Metrics) {
        for (name, entry) in other.sums { record(name, sum: entry.sum, count: entry.count) }
    }
    public subscript(name: String) -> Double? { sums[name]?.mean }
    /// The means, in the order of their names.
    public var means: [(name: String, value: Double)] { sums.keys.sorted().map { ($0, sums[$0]?.mean ?? 0) } }
}

/// A loss that cannot be computed.
public enum ObjectiveError: Error, Equatable {
    /// `row` counts within the micro-batch, from 0.
    case notFinite(objective: String, quantity: String, row: Int)
}

extension ObjectiveError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .notFinite(objective, quantity, row):
            "\(objective): \(quantity) of row \(row) of the micro-batch is not finite. Lower the learning rate, or look at the dumped batch."
        }
    }
}
