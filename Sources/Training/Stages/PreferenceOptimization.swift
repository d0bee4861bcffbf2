import Models

/// Fits a policy to preference pairs with one of the pairwise objectives.
public struct PreferenceOptimization {
    /// The losses that `--loss` names: one line each.
    public static let objectives: [(name: String, make: @Sendable (PreferenceSettings) -> any PairObjective)] = [
        (DPO.name, { DPO(beta: $0.beta, labelSmoothing: $0.labelSmoothing) }),
        (IPO.name, { IPO(beta: $0.beta, norm: $0.ipoNorm) }),
    ]
}
