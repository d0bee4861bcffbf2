/// Resampling with replacement, of whole clusters (Efron 1979; Davison and Hinkley 1997, §3.8).
public enum Bootstrap {
    /// Hands `body` the rows of each resample.
    /// - Parameter clusters: One number a row; rows of one number come together or not at all.
    public static func clusters(
        _ clusters: [Int], resamples: Int, seed: UInt64, _ body: ([Int]) throws(StatisticsError) -> Void
    ) throws(StatisticsError) {
        var members: [Int: [Int]] = [:]
        for (row, cluster) in clusters.enumerated() { members[cluster, default: []].append(row) }
        let groups = members.keys.sorted().map { members[$0] ?? [] }
        guard !groups.isEmpty else { throw .tooFew(what: "clusters", found: 0, needed: 1) }
        var random = SplitMix64(seed: seed)
        for _ in 0..<resamples {
            var rows: [Int] = []
            rows.reserveCapacity(clusters.count)
            for _ in groups { rows.append(contentsOf: groups[Int.random(in: 0..<groups.count, using: &random)]) }
            try body(rows)
        }
    }

    /// The percentile interval of resampled values, between order statistics interpolated linearly.
    public static func interval(_ values: [Double], level: Double = 0.95) throws(StatisticsError) -> ClosedRange<Double> {
        guard level > 0, level < 1 else { throw .outOfRange(what: "the level", found: level, expected: "a share between 0 and 1") }
        guard !values.isEmpty else { throw .tooFew(what: "resamples", found: 0, needed: 1) }
        let sorted = values.sorted()
        return quantile(sorted, (1 - level) / 2)...quantile(sorted, (1 + level) / 2)
    }

    /// Of values in order; type 7 of Hyndman and Fan 1996.
    static func quantile(_ sorted: [Double], _ p: Double) -> Double {
        let place = p * Double(sorted.count - 1), low = Int(place)
        guard low + 1 < sorted.count else { return sorted[sorted.count - 1] }
        return sorted[low] + (place - Double(low)) * (sorted[low + 1] - sorted[low])
    }

    /// A statistic of units (items, prompts) and its interval; resamples in which it is undefined are left out and counted.
    public static func interval(
        units: Int, resamples: Int = 1000, seed: UInt64 = 0, level: Double = 0.95, _ statistic: ([Int]) throws(StatisticsError) -> Double
    ) throws(StatisticsError) -> (interval: ClosedRange<Double>, undefined: Int) {
        var values: [Double] = [], undefined = 0
        try clusters(Array(0..<units), resamples: resamples, seed: seed) { (rows) throws(StatisticsError) in
            do throws(StatisticsError) { values.append(try statistic(rows)) } catch { undefined += 1 }
        }
        return (try interval(values, level: level), undefined)
    }
}
