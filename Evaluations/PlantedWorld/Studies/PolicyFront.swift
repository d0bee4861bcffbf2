import Foundation

/// How gold goes with the distance from the start model over one online run: what studies of policies compare.
///
/// Every step's numbers are of the samples it has drawn anyway; `smoothed` are means over a window of steps, as single steps are noisy.
struct PolicyFront {
    struct Point {
        var step: Int
        var kl: Double, gold: Double, proxy: Double
    }
    let points: [Point]

    /// - Parameter window: Steps that are averaged, an odd number; fewer at the ends.
    init(_ lines: [StudyLine], window: Int = 9) {
        let given = lines.filter { $0.step > 0 && $0.kl != nil && $0.gold != nil }.sorted { $0.step < $1.step }
        points = given.indices.map { place in
            let half = min(window / 2, place, given.count - 1 - place), part = given[place - half...place + half]
            func mean(_ value: (StudyLine) -> Double?) -> Double { part.reduce(0) { $0 + (value($1) ?? .nan) } / Double(part.count) }
            return Point(step: given[place].step, kl: mean(\.kl), gold: mean(\.gold), proxy: mean(\.proxy))
        }
    }

    var peak: Point? { points.max { $0.gold < $1.gold } }
    var greatestKL: Double { points.map(\.kl).max() ?? .nan }

    /// Gold where the run first comes to a KL, interpolated between steps; nil where it never does.
    func gold(atKL kl: Double) -> Double? { value(atKL: kl) { $0.gold } }

    func value(atKL kl: Double, _ value: (Point) -> Double) -> Double? {
        guard let place = points.firstIndex(where: { $0.kl >= kl }) else { return nil }
        guard place > 0 else { return value(points[0]) }
        let (a, b) = (points[place - 1], points[place])
        let share = b.kl > a.kl ? (kl - a.kl) / (b.kl - a.kl) : 1
        return value(a) + share * (value(b) - value(a))
    }

    /// Mean of gold's difference to another front over the KLs that both reach, from `low` on, in twenty places.
    func advantage(over other: PolicyFront, from low: Double = 0.5, to high: Double = .infinity) -> Double? {
        let end = min(greatestKL, other.greatestKL, high)
        guard end > low else { return nil }
        let differences = (0...20).compactMap { place -> Double? in
            let kl = low + (end - low) * Double(place) / 20
            guard let own = gold(atKL: kl), let theirs = other.gold(atKL: kl) else { return nil }
            return own - theirs
        }
        return differences.isEmpty ? nil : differences.reduce(0, +) / Double(differences.count)
    }

    /// Mean gold over the run's steps: the area under gold against rollouts, as a height.
    var meanGold: Double? { points.isEmpty ? nil : points.reduce(0) { $0 + $1.gold } / Double(points.count) }

    /// R(d) = d·(α − β·log d), d = √KL, fitted to gold's gain over `start` by least squares. Source: Gao et al. 2022, §3.1.
    func fit(start: Double, to limit: Double = .infinity) -> (alpha: Double, beta: Double)? {
        var (s2, s3, s4, t1, t2) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for point in points where point.kl > 0.05 && point.kl < limit {
            let d = point.kl.squareRoot(), e = d * log(d), gain = point.gold - start
            (s2, s3, s4, t1, t2) = (s2 + d * d, s3 + d * e, s4 + e * e, t1 + d * gain, t2 + e * gain)
        }
        let determinant = s2 * s4 - s3 * s3
        guard determinant > 1e-9 else { return nil }
        return ((t1 * s4 - t2 * s3) / determinant, (t1 * s3 - t2 * s2) / determinant)
    }

    /// Whether smoothed gold lay below `start` for ten steps in a row.
    func diverges(below start: Double) -> Bool {
        var inARow = 0
        for point in points {
            inARow = point.gold < start || !point.gold.isFinite ? inARow + 1 : 0
            if inARow >= 10 { return true }
        }
        return false
    }
}
