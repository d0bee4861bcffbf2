import Foundation

/// What sampling n times and keeping the best does.
public enum BestOfN {
    /// 1 − C(n − c, k)/C(n, k): the unbiased estimate that one of k samples is right, from c right ones of n. Source: Chen et al. 2021, eq. 1.
    public static func passAtK(correct c: Int, of n: Int, k: Int) throws(StatisticsError) -> Double {
        guard k >= 1, k <= n else { throw .outOfRange(what: "k", found: Double(k), expected: "1 to n = \(n)") }
        guard c >= 0, c <= n else { throw .outOfRange(what: "the number of right samples", found: Double(c), expected: "0 to \(n)") }
        if n - c < k { return 1 }
        // Π (1 − k/i) over i = n−c+1…n, which neither overflows nor cancels.
        if c == 0 { return 0 }
        var none = 1.0
        for i in (n - c + 1)...n { none *= 1 - Double(k) / Double(i) }
        return 1 - none
    }

    /// E[max of n] = Σ_i r_(i)·C(i − 1, n − 1)/C(N, n) from N ≥ n samples in order: unbiased.
    public static func expectedMaximum(_ rewards: [Double], of n: Int) throws(StatisticsError) -> Double {
        try expectedChoice(rewards.sorted(), of: n)
    }

    /// E[value of the best-ranked of n] = Σ_i v_i·C(i − 1, n − 1)/C(N, n), from N ≥ n samples: unbiased.
    /// - Parameter values: In the order of what chooses, its favourite last; of ties, whichever comes last is chosen.
    public static func expectedChoice(_ values: [Double], of n: Int) throws(StatisticsError) -> Double {
        guard n >= 1, n <= values.count else { throw .outOfRange(what: "n", found: Double(n), expected: "1 to the \(values.count) samples") }
        let N = values.count
        // C(i−1, n−1)/C(N, n) downwards from i = N, where it is n/N.
        var (weight, sum) = (Double(n) / Double(N), 0.0)
        for i in stride(from: N, through: n, by: -1) {
            sum += values[i - 1] * weight
            if i > n { weight *= Double(i - n) / Double(i - 1) }
        }
        return sum
    }

    /// log n − (n − 1)/n, in nats: what KL(best of n ‖ policy) does not exceed. Source: Beirami et al. 2024, thm. 1.
    public static func klBound(_ n: Int) throws(StatisticsError) -> Double {
        guard n >= 1 else { throw .outOfRange(what: "n", found: Double(n), expected: "1 or more") }
        return log(Double(n)) - Double(n - 1) / Double(n)
    }
}
