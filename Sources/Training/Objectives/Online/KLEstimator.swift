import Foundation

/// Estimates of KL(π‖π_ref) from one sampled token, with d = log π_ref(y_t) − log π(y_t).
///
///     k1 = −d              unbiased, may be negative        ∂/∂log π = 1       (zero in expectation: of no use as a loss)
///     k2 = d²/2            biased, at least 0               ∂/∂log π = −d      (in expectation the gradient of KL(π‖π_ref))
///     k3 = e^d − 1 − d     unbiased, at least 0             ∂/∂log π = 1 − e^d (in expectation the gradient of KL(π_ref‖π))
///
/// Source: Schulman 2020, "Approximating KL divergence".
public enum KLEstimator: String, CaseIterable, Sendable, Codable {
    case k1, k2, k3

    /// Nats, and the derivative with respect to log π.
    public func callAsFunction(_ logProb: Double, reference: Double) -> (value: Double, slope: Double) {
        let d = reference - logProb
        switch self {
        case .k1: return (-d, 1)
        case .k2: return (d * d / 2, -d)
        case .k3: return (exp(d) - 1 - d, 1 - exp(d))
        }
    }
}

/// KL(p‖q) of two whole distributions given by their logits, exactly.
///
///     KL = Σ_j p_j·(log p_j − log q_j)          ∂KL/∂z_j = p_j·(log p_j − log q_j − KL)
public struct ExactKL: Sendable {
    /// Nats.
    public var value: Double
    /// With respect to p's logits.
    public var gradient: [Double]
    /// Of p, nats.
    public var entropy: Double

    public init(logits: [Double], reference: [Double]) {
        precondition(logits.count == reference.count, "\(logits.count) logits, \(reference.count) of the reference")
        let (p, q) = (logSoftmax(logits), logSoftmax(reference))
        let value = zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
        self.value = value
        gradient = zip(p, q).map { exp($0) * ($0 - $1 - value) }
        entropy = -p.reduce(0) { $0 + exp($1) * $1 }
    }
}

/// log softmax(z/τ), through the largest element.
public func logSoftmax(_ logits: [Double], temperature: Double = 1) -> [Double] {
    var result = logits
    result.withUnsafeMutableBufferPointer { logSoftmax($0, temperature: temperature) }
    return result
}

/// The same in place.
func logSoftmax(_ logits: UnsafeMutableBufferPointer<Double>, temperature: Double) {
    let top = (logits.max() ?? 0) / temperature
    var sum = 0.0
    for j in logits.indices {
        logits[j] /= temperature
        sum += exp(logits[j] - top)
    }
    let total = top + log(sum)
    for j in logits.indices { logits[j] -= total }
}
