/// Contrastive preference optimization: DPO with a uniform reference, held to the data by the chosen side's likelihood.
///
///     L = −(1−ε)·log σ(β·Δ) − ε·log σ(−β·Δ) − (α/N) Σ log π(y_w,t),  Δ = log π(y_w|x) − log π(y_l|x)
///
/// Source: Xu et al. 2024 (CPO); α weighs the second term as in TRL. N counts the chosen tokens of the step; the first
/// term is the mean over the step's pairs.
public struct CPO: PairwiseObjective {
    public static let name = "cpo"
    public var beta: Double
    public var likelihoodWeight: Double  // α
    public var labelSmoothing: Double  // ε

    public init(beta: Double = 0.1, alpha: Double = 1, labelSmoothing: Double = 0) {
        (self.beta, likelihoodWeight, self.labelSmoothing) = (beta, alpha, labelSmoothing)
    }

    public func loss(of pair: PairScores) -> PairLoss { DPO(beta: beta, labelSmoothing: labelSmoothing).loss(of: pair) }
}
