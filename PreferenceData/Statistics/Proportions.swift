/// Intervals of a share k/n.
public enum Proportions {
    private static func check(_ k: Int, _ n: Int, _ level: Double) throws(StatisticsError) {
        guard n > 0 else { throw .tooFew(what: "trials", found: n, needed: 1) }
        guard k >= 0, k <= n else { throw .outOfRange(what: "successes", found: Double(k), expected: "0 to \(n)") }
        guard level > 0, level < 1 else { throw .outOfRange(what: "the level", found: level, expected: "a share between 0 and 1") }
    }

    /// (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²))/(1 + z²/n). Source: Wilson 1927.
    public static func wilson(_ successes: Int, of n: Int, level: Double = 0.95) throws(StatisticsError) -> ClosedRange<Double> {
        try check(successes, n, level)
        let z = try Distributions.normalQuantile((1 + level) / 2), count = Double(n), p = Double(successes) / count
        let centre = p + z * z / (2 * count), divisor = 1 + z * z / count
        let half = z * (p * (1 - p) / count + z * z / (4 * count * count)).squareRoot()
        // At k = 0 and k = n the bound is exact; rounding would leave 10⁻¹⁷.
        return (successes == 0 ? 0 : max(0, (centre - half) / divisor))...(successes == n ? 1 : min(1, (centre + half) / divisor))
    }

    /// The exact interval: the shares that a binomial test at 1 − level keeps. Source: Clopper and Pearson 1934.
    public static func clopperPearson(_ successes: Int, of n: Int, level: Double = 0.95) throws(StatisticsError) -> ClosedRange<Double> {
        try check(successes, n, level)
        let (k, count, tail) = (Double(successes), Double(n), (1 - level) / 2)
        let low = successes == 0 ? 0 : Distributions.betaQuantile(tail, k, count - k + 1)
        let high = successes == n ? 1 : Distributions.betaQuantile(1 - tail, k + 1, count - k)
        return low...high
    }
}

/// Whether two systems differ, from the items that just one of them got right.
public enum McNemar {
    /// The exact two-sided test: of the items on which they differ, each is a fair coin.
    public static func exact(onlyFirst: Int, onlySecond: Int) throws(StatisticsError) -> Double {
        try check(onlyFirst, onlySecond)
        return Distributions.fairCoinTwoSided(onlyFirst, of: onlyFirst + onlySecond)
    }

    /// (|b − c| − 1)²/(b + c), χ² with one degree of freedom. Source: McNemar 1947; the correction: Edwards 1948.
    public static func chiSquared(onlyFirst: Int, onlySecond: Int) throws(StatisticsError) -> Double {
        try check(onlyFirst, onlySecond)
        guard onlyFirst + onlySecond > 0 else { throw .undefined(measure: "McNemar's χ²", reason: "both systems are right on the same items") }
        let difference = max(0, Double(abs(onlyFirst - onlySecond)) - 1)
        return difference * difference / Double(onlyFirst + onlySecond)
    }

    private static func check(_ b: Int, _ c: Int) throws(StatisticsError) {
        for count in [b, c] where count < 0 { throw .outOfRange(what: "a count of items", found: Double(count), expected: "0 or more") }
    }
}
