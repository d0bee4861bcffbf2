/// Agreement of two raters beyond chance, over the same items.
///
///     κ = (p_o − p_e)/(1 − p_e)        p_e = Σ_k p₁ₖ·p₂ₖ        κ_w = 1 − Σ w·o / Σ w·e
///
/// Sources: Cohen 1960; weighted: Cohen 1968, w = |i − j|/(K − 1) or its square.
public struct CohenKappa: Sendable, Equatable {
    public enum Weights: String, Sendable, CaseIterable { case none, linear, quadratic }

    /// confusion[i][j]: items that the first rater called i and the second j.
    public var confusion: [[Int]]

    /// - Parameters:
    ///   - first: Categories in `0..<categories`, an item each.
    public init(_ first: [Int], _ second: [Int], categories: Int) throws(StatisticsError) {
        try checkPaired("the raters' items", first.count, second.count)
        var confusion = [[Int]](repeating: [Int](repeating: 0, count: categories), count: categories)
        for (a, b) in zip(first, second) {
            for value in [a, b] where value < 0 || value >= categories {
                throw .outOfRange(what: "a category", found: Double(value), expected: "0 to \(categories - 1)")
            }
            confusion[a][b] += 1
        }
        self.confusion = confusion
    }

    public init(confusion: [[Int]]) throws(StatisticsError) {
        for row in confusion { try checkPaired("the confusion's rows and columns", confusion.count, row.count) }
        self.confusion = confusion
        if items == 0 { throw .tooFew(what: "items", found: 0, needed: 1) }
    }

    public var items: Int { confusion.joined().reduce(0, +) }
    private var margins: (rows: [Double], columns: [Double]) {
        let n = Double(items)
        return (confusion.map { Double($0.reduce(0, +)) / n }, confusion.indices.map { k in Double(confusion.reduce(0) { $0 + $1[k] }) / n })
    }

    /// p_o, the share of items on which both agree.
    public var observed: Double { Double(confusion.indices.reduce(0) { $0 + confusion[$1][$1] }) / Double(items) }
    /// p_e, what raters who draw from their own shares would agree on.
    public var expected: Double { zip(margins.rows, margins.columns).reduce(0) { $0 + $1.0 * $1.1 } }

    /// - Throws: `.undefined` where chance alone agrees always: both used one and the same category.
    public func kappa(_ weights: Weights = .none) throws(StatisticsError) -> Double {
        let K = confusion.count, (rows, columns) = margins, n = Double(items)
        var (found, chance) = (0.0, 0.0)
        for i in 0..<K {
            for j in 0..<K {
                let distance = K > 1 ? Double(abs(i - j)) / Double(K - 1) : 0
                let weight = weights == .none ? (i == j ? 0 : 1) : weights == .linear ? distance : distance * distance
                found += weight * Double(confusion[i][j]) / n
                chance += weight * rows[i] * columns[j]
            }
        }
        guard chance > 0 else { throw .undefined(measure: "Cohen's kappa", reason: "both raters used a single category, so chance agrees always") }
        return 1 - found / chance
    }

    /// √(p_o(1 − p_o)/(n(1 − p_e)²)), of the unweighted κ.
    public func standardError() throws(StatisticsError) -> Double {
        _ = try kappa()
        return (observed * (1 - observed) / (Double(items) * (1 - expected) * (1 - expected))).squareRoot()
    }
}

/// Agreement of n raters an item beyond chance; the raters may be others for every item.
///
///     P_i = (Σ_k n_ik² − n)/(n(n − 1))        κ = (P̄ − Σ p_k²)/(1 − Σ p_k²)
///
/// Source: Fleiss 1971.
public enum FleissKappa {
    /// - Parameter table: Items by categories: how many raters chose which; the same number of raters for each item.
    public static func kappa(_ table: [[Int]]) throws(StatisticsError) -> Double {
        guard let first = table.first else { throw .tooFew(what: "items", found: 0, needed: 1) }
        let raters = first.reduce(0, +)
        guard raters >= 2 else { throw .tooFew(what: "raters an item", found: raters, needed: 2) }
        var (agreement, totals) = (0.0, [Double](repeating: 0, count: first.count))
        for row in table {
            try checkPaired("an item's categories", row.count, first.count)
            try checkPaired("an item's raters", row.reduce(0, +), raters)
            for count in row where count < 0 { throw .outOfRange(what: "a count of raters", found: Double(count), expected: "0 or more") }
            agreement += Double(row.reduce(0) { $0 + $1 * $1 } - raters) / Double(raters * (raters - 1))
            for k in row.indices { totals[k] += Double(row[k]) }
        }
        let n = Double(table.count)
        let chance = totals.reduce(0) { $0 + ($1 / (n * Double(raters))) * ($1 / (n * Double(raters))) }
        guard totals.count(where: { $0 > 0 }) > 1 else { throw .undefined(measure: "Fleiss' kappa", reason: "all votes are for one category, so chance agrees always") }
        return (agreement / n - chance) / (1 - chance)
    }
}
