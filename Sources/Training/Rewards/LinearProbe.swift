import Foundation
import Models

/// A linear score of fixed features, fitted to preferences by logistic regression: how a reward model's head begins before all weights train.
///
///     min_w  (1/N) Σ_i log(1 + e^(−w·(x_chosen − x_rejected)))  +  (λ/2)·‖w‖²
///
/// By L-BFGS with backtracking, from 0. Source of the method: Nocedal 1980; of probing first: Kumar et al. 2022 (LP-FT).
public struct LinearProbe: Sendable {
    /// λ: small, so that separable pairs have a finite head.
    public var ridge = 1e-3
    public var steps = 20
    /// Pairs of (change of w, change of gradient) that are remembered.
    private static let memory = 10

    public init(steps: Int = 20, ridge: Double = 1e-3) { (self.steps, self.ridge) = (steps, ridge) }

    /// - Parameter differences: `[N][d]`, features of the chosen side less those of the rejected one.
    /// - Returns: w, `[d]`.
    public func fit(_ differences: [[Double]]) -> [Double] {
        let d = differences.first?.count ?? 0
        precondition(differences.allSatisfy { $0.count == d }, "differences of \(Set(differences.map(\.count)).sorted()) features")
        var w = [Double](repeating: 0, count: d)
        guard d > 0 else { return w }
        var (value, gradient) = loss(w, differences)
        var history: [(s: [Double], y: [Double])] = []
        for _ in 0..<steps {
            let direction = Self.direction(gradient, history)
            let slope = dot(direction, gradient)
            guard slope < 0 else { break }
            var (size, next, found) = (1.0, w, (value: Double.infinity, gradient: gradient))
            while size > 1e-8 {
                next = zip(w, direction).map { $0 + size * $1 }
                found = loss(next, differences)
                if found.value <= value + 1e-4 * size * slope { break }
                size /= 2
            }
            guard found.value < value else { break }
            history.append((zip(next, w).map(-), zip(found.gradient, gradient).map(-)))
            if history.count > Self.memory { history.removeFirst() }
            (w, value, gradient) = (next, found.value, found.gradient)
        }
        return w
    }

    func loss(_ w: [Double], _ differences: [[Double]]) -> (value: Double, gradient: [Double]) {
        var (value, gradient) = (0.0, w.map { ridge * $0 })
        let n = Double(max(1, differences.count))
        for x in differences {
            let margin = dot(w, x)
            value -= logSigmoid(margin) / n
            let slope = -sigmoid(-margin) / n
            for j in x.indices { gradient[j] += slope * x[j] }
        }
        return (value + ridge / 2 * dot(w, w), gradient)
    }

    /// −H·g by the two loops of L-BFGS.
    private static func direction(_ gradient: [Double], _ history: [(s: [Double], y: [Double])]) -> [Double] {
        var q = gradient
        var weights: [Double] = []
        for (s, y) in history.reversed() {
            let weight = dot(s, q) / dot(s, y)
            weights.append(weight)
            for j in q.indices { q[j] -= weight * y[j] }
        }
        if let (s, y) = history.last {
            let scale = dot(s, y) / dot(y, y)
            for j in q.indices { q[j] *= scale }
        }
        for ((s, y), weight) in zip(history, weights.reversed()) {
            let correction = weight - dot(y, q) / dot(s, y)
            for j in q.indices { q[j] += correction * s[j] }
        }
        return q.map { -$0 }
    }
}

private func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for j in a.indices { sum += a[j] * b[j] }
    return sum
}
