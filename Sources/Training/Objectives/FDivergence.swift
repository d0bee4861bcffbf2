import Foundation

/// How far policy and reference may part: replaces the log-ratio r = log π − log π_ref of DPO-like losses by f′(e^r).
///
///     reverse_kl        r                          ∂/∂r = 1
///     forward_kl        1 − e^−r                          e^−r
///     js_divergence     log 2 + log σ(r)                  σ(−r)
///     alpha_divergence  (e^((α−1)·r) − 1)/(α − 1)         e^((α−1)·r)
///
/// Source: Wang et al. 2024, "Beyond Reverse KL" (f-DPO), table 1; constants as TRL has them, so that f′(1) = 0.
public enum FDivergence: Sendable, Equatable {
    case reverseKL, forwardKL, jensenShannon
    /// α → 1 is the reverse KL.
    case alpha(Double)

    /// Beyond e^80 a ratio has left every useful range: it is held there, and pulls no more.
    private static let largestExponent = 80.0

    /// f′ at a log-ratio, and its derivative.
    public func score(_ logRatio: Double) -> (value: Double, slope: Double) {
        switch self {
        case .reverseKL: return (logRatio, 1)
        case .forwardKL:
            let (e, slope) = Self.exponential(-logRatio)
            return (1 - e, slope)
        case .jensenShannon: return (log(2) + logSigmoid(logRatio), sigmoid(-logRatio))
        case let .alpha(alpha):
            if abs(alpha - 1) < 1e-6 { return (logRatio, 1) }
            let (e, slope) = Self.exponential((alpha - 1) * logRatio)
            return ((e - 1) / (alpha - 1), slope)
        }
    }

    private static func exponential(_ x: Double) -> (value: Double, slope: Double) {
        x > largestExponent ? (exp(largestExponent), 0) : (exp(x), exp(x))
    }
}
