import Foundation

/// Whether what is said with confidence p is right with probability p.
///
///     ECE = Σ_b (n_b/n)·|accuracy_b − confidence_b|        MCE = max_b |…|        Brier = mean (p − y)²
///
/// Bins are of equal width on `range`; an edge belongs to the bin above it, the last edge to the last bin. Source: Guo et al. 2017.
public struct Calibration: Sendable, Equatable {
    public struct Bin: Sendable, Equatable {
        public var count: Int
        /// Means over the bin; 0 of an empty one.
        public var confidence: Double
        public var accuracy: Double
    }

    public var bins: [Bin]
    public var expectedError: Double
    public var largestError: Double
    public var brier: Double
    /// Mean of −log p(what happened), nats; p is held 10⁻¹² away from 0 and 1.
    public var logLoss: Double

    public init(_ confidence: [Double], _ correct: [Bool], bins count: Int = 10, range: ClosedRange<Double> = 0.5...1) throws(StatisticsError) {
        try checkPaired("confidences and outcomes", confidence.count, correct.count)
        guard count > 0, range.upperBound > range.lowerBound else { throw .outOfRange(what: "the number of bins", found: Double(count), expected: "1 or more, on a range") }
        for p in confidence where !(p >= range.lowerBound && p <= range.upperBound) {
            throw .outOfRange(what: "a confidence", found: p, expected: "\(range.lowerBound) to \(range.upperBound)")
        }
        let n = Double(confidence.count)
        var sums = [(count: Int, confidence: Double, correct: Double)](repeating: (0, 0, 0), count: count)
        for (p, isCorrect) in zip(confidence, correct) {
            let place = Int((p - range.lowerBound) / (range.upperBound - range.lowerBound) * Double(count))
            let bin = min(place, count - 1)
            sums[bin] = (sums[bin].count + 1, sums[bin].confidence + p, sums[bin].correct + (isCorrect ? 1 : 0))
        }
        bins = sums.map { Bin(count: $0.count, confidence: $0.count > 0 ? $0.confidence / Double($0.count) : 0, accuracy: $0.count > 0 ? $0.correct / Double($0.count) : 0) }
        expectedError = bins.reduce(0) { $0 + Double($1.count) / n * abs($1.accuracy - $1.confidence) }
        largestError = bins.filter { $0.count > 0 }.map { abs($0.accuracy - $0.confidence) }.max() ?? 0
        brier = zip(confidence, correct).reduce(0) { $0 + ($1.0 - ($1.1 ? 1 : 0)) * ($1.0 - ($1.1 ? 1 : 0)) } / n
        logLoss = zip(confidence, correct).reduce(0) { $0 - log($1.1 ? max($1.0, 1e-12) : max(1 - $1.0, 1e-12)) } / n
    }

    /// log(p/(1 − p + 10⁻¹²)): finite at 1.
    public static func logit(_ p: Double) -> Double { log(p / (1 - p + 1e-12)) }

    /// Mean of −log σ(±logit(p)/T), nats.
    public static func logLoss(_ confidence: [Double], _ correct: [Bool], temperature: Double) throws(StatisticsError) -> Double {
        try checkPaired("confidences and outcomes", confidence.count, correct.count)
        guard temperature > 0 else { throw .outOfRange(what: "the temperature", found: temperature, expected: "above 0") }
        return zip(confidence, correct).reduce(0) { $0 - logSigmoid(($1.1 ? 1 : -1) * logit($1.0) / temperature) } / Double(confidence.count)
    }

    /// T that minimises the log loss of σ(logit(p)/T), in 0.001…1000. Source: Guo et al. 2017, §4.2.
    /// - Throws: `.undefined` where the loss falls to the range's end: all (or no) answers are right, or they go against the confidence.
    public static func temperature(_ confidence: [Double], _ correct: [Bool]) throws(StatisticsError) -> Double {
        try checkPaired("confidences and outcomes", confidence.count, correct.count)
        let logits = confidence.map(logit)
        guard logits.allSatisfy(\.isFinite) else { throw .outOfRange(what: "a confidence", found: confidence.min() ?? 0, expected: "above 0, at most 1") }
        // In a = 1/T the loss is convex; its slope rises.
        func slope(_ a: Double) -> Double { zip(logits, correct).reduce(0) { $0 + $1.0 * (sigmoid(a * $1.0) - ($1.1 ? 1 : 0)) } }
        var (low, high) = (1e-3, 1e3)
        guard slope(low) < 0, slope(high) > 0 else {
            throw .undefined(measure: "the temperature", reason: "the log loss has no minimum between 0.001 and 1000: the outcomes are all alike, or confidence says nothing of them")
        }
        for _ in 0..<200 {
            let middle = (low * high).squareRoot()
            if middle <= low || middle >= high { break }
            if slope(middle) < 0 { low = middle } else { high = middle }
        }
        return 1 / high
    }
}
