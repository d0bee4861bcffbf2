/// Why a statistic has no value. None is ever reported as NaN.
public enum StatisticsError: Error, Equatable {
    case tooFew(what: String, found: Int, needed: Int)
    case lengths(what: String, Int, Int)
    case outOfRange(what: String, found: Double, expected: String)
    /// A quotient whose divisor is zero: chance agreement of 1, no spread, …
    case undefined(measure: String, reason: String)
    /// Without a win both ways across every split, some strength is infinite (Ford 1957).
    case notConnected(components: [[Int]])
    case notConverged(what: String, iterations: Int)
}

extension StatisticsError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .tooFew(what, found, needed): "found \(found) \(what), expected at least \(needed). Collect more, or leave this figure out."
        case let .lengths(what, a, b): "\(what) have \(a) and \(b) values, expected as many of one as of the other."
        case let .outOfRange(what, found, expected): "\(what) is \(found), expected \(expected)."
        case let .undefined(measure, reason): "\(measure) is undefined here: \(reason)."
        case let .notConnected(components):
            "the comparisons fall into \(components.count) groups without wins both ways between them (\(components.map { "\($0)" }.joined(separator: ", "))); "
                + "their strengths cannot be told on one scale. Compare across the groups, or fit with a ridge above 0."
        case let .notConverged(what, iterations): "\(what) did not settle in \(iterations) iterations. Give the fit a larger ridge."
        }
    }
}

/// Both lists are as long and not empty.
func checkPaired(_ what: String, _ a: Int, _ b: Int, atLeast needed: Int = 1) throws(StatisticsError) {
    guard a == b else { throw .lengths(what: what, a, b) }
    guard a >= needed else { throw .tooFew(what: what, found: a, needed: needed) }
}
