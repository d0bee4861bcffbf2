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
