import Foundation

/// The few distribution functions that intervals and tests need.
public enum Distributions {
    /// Φ(x)
    public static func normal(_ x: Double) -> Double { erfc(-x / 2.0.squareRoot()) / 2 }

    /// Φ⁻¹(p), by bisection on Φ to the last bit.
    /// - Throws: `.outOfRange` for p outside (0, 1).
    public static func normalQuantile(_ p: Double) throws(StatisticsError) -> Double {
        guard p > 0, p < 1 else { throw .outOfRange(what: "a probability", found: p, expected: "between 0 and 1") }
        // The lower tail, where Φ keeps all its digits.
        let tail = min(p, 1 - p)
        let x = bisect(-40, 0) { normal($0) >= tail }
        return p < 0.5 ? x : -x
    }

    /// Iₓ(a, b), the regularised incomplete beta function, by Lentz's continued fraction. Source: DLMF 8.17.22.
    public static func incompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        precondition(a > 0 && b > 0, "incomplete beta of \(a), \(b)")
        if x <= 0 { return 0 }
        if x >= 1 { return 1 }
        if x > (a + 1) / (a + b + 2) { return 1 - incompleteBeta(1 - x, b, a) }
        let front = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
        var (f, c, d) = (1.0, 1.0, 0.0)
        for m in 0..<10_000 {
            let k = Double(m / 2)
            let numerator =
                m == 0 ? 1 : m % 2 == 0 ? k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k)) : -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
            d = 1 / nonZero(1 + numerator * d)
            c = nonZero(1 + numerator / c)
            f *= c * d
            if abs(1 - c * d) < 1e-16 { break }
        }
        return min(1, max(0, front * (f - 1)))
    }

    /// x of Iₓ(a, b) = p.
    static func betaQuantile(_ p: Double, _ a: Double, _ b: Double) -> Double { bisect(0, 1) { incompleteBeta($0, a, b) >= p } }

    /// P(|T| ≥ |t|) of Student's t with `freedom` degrees of freedom.
    public static func studentTwoSided(_ t: Double, freedom: Double) -> Double { incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5) }

    /// t with P(|T| ≥ t) = 1 − level.
    public static func studentQuantile(level: Double, freedom: Double) throws(StatisticsError) -> Double {
        guard level > 0, level < 1, freedom > 0 else { throw .outOfRange(what: "the level", found: level, expected: "a share between 0 and 1") }
        let x = betaQuantile(1 - level, freedom / 2, 0.5)
        return (freedom * (1 - x) / x).squareRoot()
    }

    /// log of n choose k.
    static func logChoose(_ n: Int, _ k: Int) -> Double { lgamma(Double(n + 1)) - lgamma(Double(k + 1)) - lgamma(Double(n - k + 1)) }

    /// P(B ≤ min(k, n − k))·2, at most 1: the two-sided binomial test of a fair coin.
    public static func fairCoinTwoSided(_ k: Int, of n: Int) -> Double {
        precondition(k >= 0 && k <= n, "\(k) of \(n)")
        if n == 0 { return 1 }
        let tail = (0...min(k, n - k)).reduce(0.0) { $0 + exp(logChoose(n, $1) - Double(n) * log(2)) }
        return min(1, 2 * tail)
    }

    private static func nonZero(_ x: Double) -> Double { abs(x) < 1e-300 ? 1e-300 : x }

    /// The least x of the range that a rising predicate holds for, to the last bit.
    private static func bisect(_ low: Double, _ high: Double, _ holds: (Double) -> Bool) -> Double {
        var (low, high) = (low, high)
        for _ in 0..<1100 {
            let middle = low + (high - low) / 2
            if middle <= low || middle >= high { break }
            if holds(middle) { high = middle } else { low = middle }
        }
        return high
    }
}
