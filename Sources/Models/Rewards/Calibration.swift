import Foundation

/// How far the probability that a reward gives its own choice, σ(|Δ|), lies from how often that choice is right.
///
///     ECE = Σ_b (n_b / n)·|accuracy_b − confidence_b|          10 bins of equal width in [½, 1]
///
/// Source: Guo et al. 2017, eq. 3, oriented to the predicted winner. A tie is a guess: confidence ½, half right.
public struct Calibration: Sendable, Equatable {
    public struct Bin: Sendable, Equatable {
        public var count = 0.0, hits = 0.0, confidence = 0.0
        public init(count: Double = 0, hits: Double = 0, confidence: Double = 0) {
            (self.count, self.hits, self.confidence) = (count, hits, confidence)
        }
        public var accuracy: Double { count == 0 ? 0 : hits / count }
        public var meanConfidence: Double { count == 0 ? 0 : confidence / count }
    }

    public static let binCount = 10
    public var bins = [Bin](repeating: Bin(), count: binCount)
    public init() {}

    /// - Parameter margins: r_chosen − r_rejected of each pair.
    public init(margins: some Sequence<Double>) { for margin in margins { add(margin: margin) } }

    public static func bin(ofMargin margin: Double) -> Int { min(binCount - 1, Int((confidence(margin) - 0.5) * 2 * Double(binCount))) }
    /// σ(|Δ|).
    public static func confidence(_ margin: Double) -> Double { margin.isNaN ? 0.5 : 1 / (1 + exp(-abs(margin))) }
    public static func hit(_ margin: Double) -> Double { margin > 0 ? 1 : margin < 0 ? 0 : 0.5 }

    public mutating func add(margin: Double) {
        let b = Calibration.bin(ofMargin: margin)
        bins[b].count += 1
        bins[b].hits += Calibration.hit(margin)
        bins[b].confidence += Calibration.confidence(margin)
    }

    /// In [0, ½]; 0 of nothing.
    public var error: Double {
        let n = bins.reduce(0) { $0 + $1.count }
        return n == 0 ? 0 : bins.reduce(0) { $0 + abs($1.hits - $1.confidence) } / n
    }
}
