/// Mean and spread of a sample.
public struct SampleMean: Sendable, Equatable {
    public var count: Int
    public var mean: Double
    /// With n − 1 in the divisor.
    public var standardDeviation: Double
    public var standardError: Double

    /// - Throws: `.tooFew` below two values.
    public init(_ values: [Double]) throws(StatisticsError) {
        guard values.count >= 2 else { throw .tooFew(what: "values", found: values.count, needed: 2) }
        for value in values where !value.isFinite { throw .outOfRange(what: "a value", found: value, expected: "a finite number") }
        let n = Double(values.count), mean = values.reduce(0, +) / n
        count = values.count
        self.mean = mean
        standardDeviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1)).squareRoot()
        standardError = standardDeviation / n.squareRoot()
    }

    /// mean ± z·SE
    public func normalInterval(level: Double = 0.95) throws(StatisticsError) -> ClosedRange<Double> {
        let half = try Distributions.normalQuantile((1 + level) / 2) * standardError
        return (mean - half)...(mean + half)
    }

    /// mean ± t_{n−1}·SE, for small samples.
    public func studentInterval(level: Double = 0.95) throws(StatisticsError) -> ClosedRange<Double> {
        let half = try Distributions.studentQuantile(level: level, freedom: Double(count - 1)) * standardError
        return (mean - half)...(mean + half)
    }
}

/// Student's paired test: whether the mean difference is 0.
public struct PairedTest: Sendable, Equatable {
    public var t: Double
    /// Two-sided.
    public var p: Double
    /// Of the mean difference.
    public var standardError: Double

    /// - Throws: `.undefined` where all differences are the same.
    public init(_ x: [Double], _ y: [Double]) throws(StatisticsError) {
        try checkPaired("the paired samples", x.count, y.count, atLeast: 2)
        let difference = try SampleMean(zip(x, y).map { $0 - $1 })
        guard difference.standardError > 0 else { throw .undefined(measure: "the paired t", reason: "all differences are the same") }
        standardError = difference.standardError
        t = difference.mean / standardError
        p = Distributions.studentTwoSided(t, freedom: Double(x.count - 1))
    }
}
