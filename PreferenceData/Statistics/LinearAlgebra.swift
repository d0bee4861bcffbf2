import Foundation

/// Small dense symmetric systems; rows of rows, as there are no more models than a table has lines.
enum LinearAlgebra {
    /// Cholesky's factor L of a = L·Lᵀ; nil if `a` is not positive definite.
    static func cholesky(_ a: [[Double]]) -> [[Double]]? {
        let n = a.count
        var factor = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
        for i in 0..<n {
            for j in 0...i {
                var sum = a[i][j]
                for k in 0..<j { sum -= factor[i][k] * factor[j][k] }
                if i == j {
                    guard sum > 0, sum.isFinite else { return nil }
                    factor[i][i] = sum.squareRoot()
                } else {
                    factor[i][j] = sum / factor[j][j]
                }
            }
        }
        return factor
    }

    /// x of L·Lᵀ·x = b.
    static func solve(factor: [[Double]], _ b: [Double]) -> [Double] {
        var x = b
        for i in x.indices {
            for k in 0..<i { x[i] -= factor[i][k] * x[k] }
            x[i] /= factor[i][i]
        }
        for i in x.indices.reversed() {
            for k in (i + 1)..<x.count { x[i] -= factor[k][i] * x[k] }
            x[i] /= factor[i][i]
        }
        return x
    }

    static func inverse(_ a: [[Double]]) -> [[Double]]? {
        guard let factor = cholesky(a) else { return nil }
        // Symmetric, so columns are rows.
        return a.indices.map { column in solve(factor: factor, a.indices.map { $0 == column ? 1 : 0 }) }
    }

    /// H⁺ of a matrix whose null space is the constant vector (a connected graph's Laplacian): (H + 11ᵀ/K)⁻¹ − 11ᵀ/K.
    /// - Returns: nil if the null space is larger: the graph is not connected.
    static func pseudoInverse(laplacian h: [[Double]]) -> [[Double]]? {
        let share = 1 / Double(h.count)
        return inverse(h.map { $0.map { $0 + share } }).map { $0.map { $0.map { $0 - share } } }
    }

    static func product(_ a: [[Double]], _ x: [Double]) -> [Double] { a.map { row in zip(row, x).reduce(0) { $0 + $1.0 * $1.1 } } }

    /// xᵀ·a·x
    static func form(_ a: [[Double]], _ x: [Double]) -> Double { zip(x, product(a, x)).reduce(0) { $0 + $1.0 * $1.1 } }
}

/// Newton's method for a concave function, steps halved until the value rises.
enum ConcaveNewton {
    struct Point {
        var value: Double
        var gradient: [Double]
        /// −∂²/∂x², positive definite.
        var curvature: [[Double]]
    }

    /// - Parameter evaluate: nil outside the domain.
    static func maximise(
        _ what: String, from start: [Double], iterations: Int = 200, _ evaluate: ([Double]) -> Point?
    ) throws(StatisticsError) -> [Double] {
        var x = start
        guard var point = evaluate(x) else { throw .undefined(measure: what, reason: "the start lies outside the domain") }
        for _ in 0..<iterations {
            guard let factor = LinearAlgebra.cholesky(point.curvature) else { break }
            let step = LinearAlgebra.solve(factor: factor, point.gradient)
            // Twice what the step can still gain: below the value's own rounding there is nothing left to find.
            let decrement = zip(step, point.gradient).reduce(0) { $0 + $1.0 * $1.1 }
            let largest = step.map(abs).max() ?? 0
            if decrement <= 1e-24 * max(1, abs(point.value)) || largest < 1e-13 { return x }
            var (scale, found) = (1.0, false)
            for _ in 0..<60 {
                let candidate = zip(x, step).map { $0 + scale * $1 }
                if let next = evaluate(candidate), next.value.isFinite, next.value >= point.value || largest * scale < 1e-9 {
                    (x, point, found) = (candidate, next, true)
                    break
                }
                scale /= 2
            }
            if !found { return x }
            if largest * scale < 1e-12 { return x }
        }
        throw .notConverged(what: what, iterations: iterations)
    }
}

/// log σ(x), without overflow.
func logSigmoid(_ x: Double) -> Double { x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x)) }
/// 1/(1 + e⁻ˣ), without overflow.
func sigmoid(_ x: Double) -> Double { x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)) }
