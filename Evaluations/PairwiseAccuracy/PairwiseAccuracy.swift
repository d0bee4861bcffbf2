/// How often scores rank the chosen completion of a pair above the rejected one.
///
///     accuracy = (wins + ½·ties) / n          interval: Wilson, at 95 % unless told
///
/// With implicit rewards r = β·(log π − log π_ref) this is DPO's held-out accuracy; before training every pair is a tie, so it
/// starts at one half. Source of the interval: Wilson 1927, eq. 3, with the accuracy in place of the share of wins.
public struct PairwiseAccuracy: Sendable, Equatable {
    public var wins = 0, ties = 0, losses = 0
    /// Mean of chosen − rejected, in the scores' unit.
    public var meanMargin = 0.0

    public init(wins: Int = 0, ties: Int = 0, losses: Int = 0, meanMargin: Double = 0) {
        (self.wins, self.ties, self.losses, self.meanMargin) = (wins, ties, losses, meanMargin)
    }

    /// - Parameter pairs: Scores; a difference of not more than `tolerance` is a tie, and so is one that is not a number.
    public init(_ pairs: some Sequence<(chosen: Double, rejected: Double)>, tolerance: Double = 0) {
        var sum = 0.0
        for (chosen, rejected) in pairs {
            let margin = chosen - rejected
            if margin > tolerance { wins += 1 } else if margin < -tolerance { losses += 1 } else { ties += 1 }
            sum += margin
        }
        meanMargin = count == 0 ? 0 : sum / Double(count)
    }

    public var count: Int { wins + ties + losses }
    /// In [0, 1]; ½ of nothing.
    public var accuracy: Double { count == 0 ? 0.5 : (Double(wins) + 0.5 * Double(ties)) / Double(count) }

    /// Bounds of the accuracy's Wilson score interval; [0, 1] of nothing.
    /// - Parameter z: Quantile of the normal distribution, 1.96 for 95 %.
    public func interval(z: Double = 1.959963984540054) -> ClosedRange<Double> {
        PairwiseAccuracy.wilson(share: accuracy, of: count, z: z)
    }

    /// Wilson's interval of a share of `count` trials.
    ///
    ///     (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    public static func wilson(share p: Double, of count: Int, z: Double = 1.959963984540054) -> ClosedRange<Double> {
        guard count > 0 else { return 0...1 }
        let n = Double(count)
        let center = p + z * z / (2 * n)
        let spread = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
        let scale = 1 + z * z / n
        // At the ends centre and spread are equal but for rounding.
        let lower = p <= 0 ? 0 : max(0, (center - spread) / scale), upper = p >= 1 ? 1 : min(1, (center + spread) / scale)
        return lower...upper
    }

    /// Pairs whose two completions are about as long: there, no score can win by counting tokens.
    /// - Parameter ratio: The longer one has at most this many times the shorter one's tokens.
    /// - Returns: Indices, in order.
    public static func lengthMatched(_ lengths: [(chosen: Int, rejected: Int)], within ratio: Double = 1.25) -> [Int] {
        lengths.indices.filter { i in
            let (short, long) = (min(lengths[i].chosen, lengths[i].rejected), max(lengths[i].chosen, lengths[i].rejected))
            return Double(long) <= ratio * Double(short)
        }
    }
}
