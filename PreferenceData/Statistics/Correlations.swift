/// How two lists of numbers go together, in [−1, 1].
public enum Correlations {
    /// Σ(x − x̄)(y − ȳ)/√(Σ(x − x̄)²·Σ(y − ȳ)²)
    public static func pearson(_ x: [Double], _ y: [Double]) throws(StatisticsError) -> Double {
        let (a, b) = (try centred(x, y), try centred(y, x))
        let (xx, yy) = (a.reduce(0) { $0 + $1 * $1 }, b.reduce(0) { $0 + $1 * $1 })
        guard xx > 0, yy > 0 else { throw .undefined(measure: "the correlation", reason: "one of the lists is constant") }
        return zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } / (xx * yy).squareRoot()
    }

    private static func centred(_ x: [Double], _ other: [Double]) throws(StatisticsError) -> [Double] {
        try checkPaired("the lists", x.count, other.count, atLeast: 2)
        for value in x where !value.isFinite { throw .outOfRange(what: "a value", found: value, expected: "a finite number") }
        let mean = x.reduce(0, +) / Double(x.count)
        return x.map { $0 - mean }
    }

    /// Pearson's of the ranks; equals share their mean rank.
    public static func spearman(_ x: [Double], _ y: [Double]) throws(StatisticsError) -> Double { try pearson(ranks(x), ranks(y)) }

    /// τ_b = (concordant − discordant)/√((n₀ − n₁)(n₀ − n₂)), n₁ and n₂ pairs tied in x and y. Source: Kendall 1945.
    public static func kendallTauB(_ x: [Double], _ y: [Double]) throws(StatisticsError) -> Double {
        try checkPaired("the lists", x.count, y.count, atLeast: 2)
        var (balance, untiedX, untiedY) = (0, 0, 0)
        for i in x.indices {
            for j in 0..<i {
                let (a, b) = (sign(x[i] - x[j]), sign(y[i] - y[j]))
                balance += a * b
                untiedX += abs(a)
                untiedY += abs(b)
            }
        }
        guard untiedX > 0, untiedY > 0 else { throw .undefined(measure: "Kendall's τ", reason: "one of the lists is constant") }
        return Double(balance) / (Double(untiedX) * Double(untiedY)).squareRoot()
    }

    private static func sign(_ x: Double) -> Int { x > 0 ? 1 : x < 0 ? -1 : 0 }

    /// From 1; equals share the mean of their places.
    static func ranks(_ x: [Double]) -> [Double] {
        let order = x.indices.sorted { x[$0] < x[$1] }
        var ranks = [Double](repeating: 0, count: x.count), start = 0
        while start < order.count {
            var end = start + 1
            while end < order.count, x[order[end]] == x[order[start]] { end += 1 }
            for place in start..<end { ranks[order[place]] = Double(start + end + 1) / 2 }
            start = end
        }
        return ranks
    }

    /// P(a positive scores above a negative), ties half: the area under the ROC curve. Source: Hanley and McNeil 1982.
    public static func auc(scores: [Double], isPositive: [Bool]) throws(StatisticsError) -> Double {
        try checkPaired("scores and labels", scores.count, isPositive.count)
        let positives = isPositive.count { $0 }, negatives = isPositive.count - positives
        guard positives > 0, negatives > 0 else { throw .undefined(measure: "the AUC", reason: "all labels are the same") }
        let ranks = ranks(scores)
        let sum = zip(ranks, isPositive).reduce(0.0) { $0 + ($1.1 ? $1.0 : 0) }
        return (sum - Double(positives) * Double(positives + 1) / 2) / (Double(positives) * Double(negatives))
    }
}
