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
    /// Preference pairs of the step, or single completions with labels; 0 for losses over tokens.
    public var pairs: Int
    /// Tokens of the step that a loss counts.
    public var tokens: Int
    /// Those of them that are in chosen completions; 0 for losses without pairs.
    public var chosenTokens: Int
    public init(pairs: Int = 0, tokens: Int = 0, chosenTokens: Int = 0) {
        (self.pairs, self.tokens, self.chosenTokens) = (pairs, tokens, chosenTokens)
    }

    public static func + (a: StepTotals, b: StepTotals) -> StepTotals {
        StepTotals(pairs: a.pairs + b.pairs, tokens: a.tokens + b.tokens, chosenTokens: a.chosenTokens + b.chosenTokens)
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
    /// What the next step is to remember of this one, for objectives with running quantities; empty for all others.
    public var memory: [String: Double] = [:]

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
    /// The least or the greatest value seen, for metrics that are no means.
    public struct Extreme: Sendable, Equatable {
        public var value: Double, isLeast: Bool
    }
    public private(set) var sums: [String: Sum] = [:]
    public private(set) var extremes: [String: Extreme] = [:]
    public init() {}

    public mutating func record(_ name: String, sum: Double, count: Double) {
        let old = sums[name] ?? Sum(sum: 0, count: 0)
        sums[name] = Sum(sum: old.sum + sum, count: old.count + count)
    }
    public mutating func record(_ name: String, least value: Double) { record(name, Extreme(value: value, isLeast: true)) }
    public mutating func record(_ name: String, greatest value: Double) { record(name, Extreme(value: value, isLeast: false)) }
    private mutating func record(_ name: String, _ new: Extreme) {
        let old = extremes[name]?.value ?? new.value
        extremes[name] = Extreme(value: new.isLeast ? min(old, new.value) : max(old, new.value), isLeast: new.isLeast)
    }
    public mutating func add(_ other: Metrics) {
        for (name, entry) in other.sums { record(name, sum: entry.sum, count: entry.count) }
        for (name, entry) in other.extremes { record(name, entry) }
    }
    /// Takes out the metrics whose names fit.
    public mutating func remove(where isOut: (String) -> Bool) {
        sums = sums.filter { !isOut($0.key) }
        extremes = extremes.filter { !isOut($0.key) }
    }
    public subscript(name: String) -> Double? { sums[name]?.mean ?? extremes[name]?.value }
    /// The values, in the order of their names.
    public var means: [(name: String, value: Double)] { (Array(sums.keys) + Array(extremes.keys)).sorted().map { ($0, self[$0] ?? 0) } }
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
