/// How several reward models' scores of one completion become one.
///
///     mean: (1/K) Σ r_k          min: min_k r_k          mean-std:κ: mean − κ·std, std over the K members (divisor K)
///
/// `min` is worst-case optimisation, `mean-std` uncertainty-weighted optimisation: Coste et al. 2023, eqs. 3 and 4 (which subtracts the
/// variance). Scores have an offset of their own in each model; `standardized` takes it out.
public enum RewardEnsemble: Sendable, Equatable {
    case mean
    case minimum
    case meanMinusDeviation(Double)

    /// `mean`, `min`, `mean-std` (κ = 1) or `mean-std:κ` with κ ≥ 0.
    public init?(_ text: String) {
        switch text {
        case "mean": self = .mean
        case "min": self = .minimum
        case "mean-std": self = .meanMinusDeviation(1)
        default:
            guard text.hasPrefix("mean-std:"), let kappa = Double(text.dropFirst(9)), kappa >= 0, kappa.isFinite else { return nil }
            self = .meanMinusDeviation(kappa)
        }
    }

    /// - Parameter scores: One a member, at least one.
    public func callAsFunction(_ scores: [Double]) -> Double {
        precondition(!scores.isEmpty, "an ensemble of no scores")
        let mean = scores.reduce(0, +) / Double(scores.count)
        switch self {
        case .mean: return mean
        case .minimum: return scores.reduce(.infinity) { $0.isNaN || $1.isNaN ? .nan : min($0, $1) }
        case let .meanMinusDeviation(kappa):
            let variance = scores.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(scores.count)
            return mean - kappa * variance.squareRoot()
        }
    }

    /// Scores less their mean, over their standard deviation (divisor n); only the mean where they do not vary.
    public static func standardized(_ scores: [Double]) -> [Double] {
        guard !scores.isEmpty else { return [] }
        let mean = scores.reduce(0, +) / Double(scores.count)
        let deviation = (scores.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(scores.count)).squareRoot()
        return scores.map { ($0 - mean) / (deviation > 0 ? deviation : 1) }
    }
}
