import Foundation

/// log σ(u) = min(u, 0) − log(1 + e^−|u|): finite for every finite u, exact in both tails.
@inlinable public func logSigmoid(_ u: Double) -> Double { min(u, 0) - log1p(exp(-abs(u))) }

/// σ(u) = 1 / (1 + e^−u), with the branch whose exponential cannot overflow.
@inlinable public func sigmoid(_ u: Double) -> Double {
    if u >= 0 { return 1 / (1 + exp(-u)) }
    let e = exp(u)
    return e / (1 + e)
}

/// log(1 − e^a) for a < 0, by the branch that loses nothing (Mächler 2012).
@inlinable public func log1mexp(_ a: Double) -> Double { a > -0.6931471805599453 ? log(-expm1(a)) : log1p(-exp(a)) }

/// log Σ exp(z), with the greatest term taken out: finite wherever the terms are. −∞ of none.
public func logSumExp(_ z: [Double]) -> Double {
    guard let top = z.max(), top.isFinite else { return z.max() ?? -.infinity }
    return top + log(z.reduce(0) { $0 + exp($1 - top) })
}
