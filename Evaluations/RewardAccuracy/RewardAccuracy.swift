import Foundation
import Models

/// How well rewards rank pairs, beside what length alone would do, and how well their differences are probabilities.
public struct RewardAccuracy: Sendable {
    /// One judged pair.
    public struct Pair: Sendable, Equatable {
        public var chosen: Double, rejected: Double
        /// Tokens of the two completions.
        public var lengths: PairLengths
        public var subset: String?
        /// How much better the chosen one is, in words or numbers of the data.
        public var strength: String?
        public init(chosen: Double, rejected: Double, lengths: PairLengths, subset: String? = nil, strength: String? = nil) {
            (self.chosen, self.rejected, self.lengths, self.subset, self.strength) = (chosen, rejected, lengths, subset, strength)
        }
        public var margin: Double { chosen - rejected }
    }

    public let pairs: [Pair]
    public init(_ pairs: [Pair]) { self.pairs = pairs }

    public static func accuracy(_ pairs: some Sequence<Pair>) -> PairwiseAccuracy { PairwiseAccuracy(pairs.lazy.map { ($0.chosen, $0.rejected) }) }

    public var all: PairwiseAccuracy { Self.accuracy(pairs) }
    /// Pairs whose lengths lie within 10 % of each other.
    public var lengthMatched: PairwiseAccuracy { Self.accuracy(pairs.filter { $0.lengths.isMatched() }) }
    /// "The longer one wins".
    public var lengthBaseline: PairwiseAccuracy {
        PairwiseAccuracy(pairs.map { (chosen: Double($0.lengths.chosen), rejected: Double($0.lengths.rejected)) })
    }

    /// By which side is longer, and by how much; groups without pairs are left out.
    public var byLength: [(name: String, accuracy: PairwiseAccuracy)] {
        let groups: [(String, (Double) -> Bool)] = [
            ("chosen over twice as long", { $0 > 2 }), ("chosen longer", { $0 > 1.1 && $0 <= 2 }), ("within 10 %", { $0 >= 1 / 1.1 && $0 <= 1.1 }),
            ("rejected longer", { $0 < 1 / 1.1 && $0 >= 0.5 }), ("rejected over twice as long", { $0 < 0.5 }),
        ]
        return groups.compactMap { name, holds in
            let own = pairs.filter { holds(Double($0.lengths.chosen) / Double(max(1, $0.lengths.rejected))) }
            return own.isEmpty ? nil : (name, Self.accuracy(own))
        }
    }

    /// By the data's own word for how much better the chosen one is.
    public var byStrength: [(name: String, accuracy: PairwiseAccuracy)] { grouped(\.strength) }
    public var bySubset: [(name: String, accuracy: PairwiseAccuracy)] { grouped(\.subset) }

    private func grouped(_ key: KeyPath<Pair, String?>) -> [(name: String, accuracy: PairwiseAccuracy)] {
        Dictionary(grouping: pairs.filter { $0[keyPath: key] != nil }) { $0[keyPath: key] ?? "" }.sorted { $0.key < $1.key }
            .map { ($0.key, Self.accuracy($0.value)) }
    }

    // MARK: Differences as probabilities

    public var calibration: Calibration { Calibration(margins: pairs.map(\.margin)) }

    /// Mean of (1 − σ(Δ))²; ¼ of a guess.
    public var brier: Double {
        pairs.isEmpty ? 0.25 : pairs.reduce(0) { $0 + pow(1 / (1 + exp($1.margin)), 2) } / Double(pairs.count)
    }

    /// Mean −log σ(Δ/T), in nats.
    public func negativeLogLikelihood(temperature: Double = 1) -> Double {
        guard !pairs.isEmpty else { return log(2) }
        return pairs.reduce(0) { sum, pair in
            let u = pair.margin / temperature
            return sum + max(-u, 0) + log1p(exp(-abs(u)))
        } / Double(pairs.count)
    }

    /// The temperature T under which σ(Δ/T) fits these pairs best, in [0.01, 100]; by golden section over log T.
    public var temperature: Double {
        let ratio = (5.0.squareRoot() - 1) / 2
        var (low, high) = (log(0.01), log(100.0))
        for _ in 0..<60 {
            let (a, b) = (high - ratio * (high - low), low + ratio * (high - low))
            if negativeLogLikelihood(temperature: exp(a)) < negativeLogLikelihood(temperature: exp(b)) { high = b } else { low = a }
        }
        return exp((low + high) / 2)
    }

    /// Pearson's correlation of reward and length over all completions; nil where either does not vary.
    public var lengthCorrelation: Double? {
        let points = pairs.flatMap { [($0.chosen, Double($0.lengths.chosen)), ($0.rejected, Double($0.lengths.rejected))] }
        let n = Double(points.count)
        guard n > 1 else { return nil }
        let (meanX, meanY) = (points.reduce(0) { $0 + $1.0 } / n, points.reduce(0) { $0 + $1.1 } / n)
        let (xx, yy, xy) = points.reduce((0.0, 0.0, 0.0)) { sums, point in
            let (x, y) = (point.0 - meanX, point.1 - meanY)
            return (sums.0 + x * x, sums.1 + y * y, sums.2 + x * y)
        }
        return xx > 0 && yy > 0 ? xy / (xx * yy).squareRoot() : nil
    }
}
