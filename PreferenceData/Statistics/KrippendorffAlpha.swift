/// Agreement of any number of raters beyond chance, values missing or not.
///
///     α = 1 − (n − 1)·Σ o_ck·δ²_ck / Σ n_c·n_k·δ²_ck        o_ck = Σ_u (pairs c, k by different raters of u)/(m_u − 1)
///
/// Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability". Units with fewer than two values are left out.
public enum KrippendorffAlpha {
    /// How far apart two values are, δ².
    public enum Metric: String, Sendable, CaseIterable { case nominal, ordinal, interval, ratio }

    /// - Parameter ratings: Raters by units; nil where a rater did not see a unit.
    /// - Throws: `.undefined` where all values are the same, `.tooFew` where no unit has two.
    public static func alpha(_ ratings: [[Double?]], metric: Metric) throws(StatisticsError) -> Double {
        let units = ratings.first?.count ?? 0
        for row in ratings { try checkPaired("the raters' units", row.count, units, atLeast: 0) }
        return try alpha(units: (0..<units).map { unit in ratings.compactMap { $0[unit] } }, metric: metric)
    }

    /// - Parameter units: The values given to each unit, in any order.
    public static func alpha(units: [[Double]], metric: Metric) throws(StatisticsError) -> Double {
        for value in units.joined() where !value.isFinite { throw .outOfRange(what: "a rating", found: value, expected: "a finite number") }
        let pairable = units.filter { $0.count >= 2 }
        guard !pairable.isEmpty else { throw .tooFew(what: "units that two raters saw", found: 0, needed: 1) }
        let values = Set(pairable.joined()).sorted()
        guard values.count > 1 else { throw .undefined(measure: "Krippendorff's alpha", reason: "all ratings are the same, so nothing could differ") }
        var index: [Double: Int] = [:]
        for (i, value) in values.enumerated() { index[value] = i }
        var coincidences = [[Double]](repeating: [Double](repeating: 0, count: values.count), count: values.count)
        for unit in pairable {
            var counts = [Double](repeating: 0, count: values.count)
            for value in unit { counts[index[value] ?? 0] += 1 }
            for c in counts.indices where counts[c] > 0 {
                for k in counts.indices where counts[k] > 0 { coincidences[c][k] += counts[c] * (counts[k] - (c == k ? 1 : 0)) / Double(unit.count - 1) }
            }
        }
        let totals = coincidences.map { $0.reduce(0, +) }, n = totals.reduce(0, +)
        var (observed, expected) = (0.0, 0.0)
        for c in values.indices {
            for k in values.indices where c != k {
                let distance = distance(c, k, values, totals, metric)
                observed += coincidences[c][k] * distance
                expected += totals[c] * totals[k] * distance
            }
        }
        guard expected > 0 else { throw .undefined(measure: "Krippendorff's alpha", reason: "no two ratings differ by this metric") }
        return 1 - (n - 1) * observed / expected
    }

    private static func distance(_ c: Int, _ k: Int, _ values: [Double], _ totals: [Double], _ metric: Metric) -> Double {
        switch metric {
        case .nominal: return 1
        case .interval: return (values[c] - values[k]) * (values[c] - values[k])
        case .ratio:
            let sum = values[c] + values[k]
            return sum == 0 ? 0 : ((values[c] - values[k]) / sum) * ((values[c] - values[k]) / sum)
        case .ordinal:
            let between = totals[min(c, k)...max(c, k)].reduce(0, +) - (totals[c] + totals[k]) / 2
            return between * between
        }
    }
}
