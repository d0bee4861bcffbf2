/// Alignment via optimal transport: the distribution of the policy's margins is to dominate the reference's, rank by rank.
///
///     m_i = log π(y_w|x_i) − log π(y_l|x_i),  the reference's m_ref likewise; both sorted over the step
///     δ_k = m_(k) − m_ref,(k)          L = mean_k of −(1−ε)·log σ(β·δ_k) − ε·log σ(−β·δ_k)
///
/// The gradient goes through the sorting's permutation. Pairs are coupled: the step is sorted as one, however it is cut into
/// micro-batches. Source: Melnyk et al. 2024 (AOT), with the logistic violation, paired.
public struct AOT: PairwiseObjective {
    public static let name = "aot"
    public var beta: Double
    public var labelSmoothing: Double  // ε, in [0, 0.5)
    public var couplesPairs: Bool { true }

    public init(beta: Double = 0.1, labelSmoothing: Double = 0) { (self.beta, self.labelSmoothing) = (beta, labelSmoothing) }

    public func losses(of pairs: [PairScores]) -> [PairLoss] {
        let reference = pairs.map { $0.chosenReference - $0.rejectedReference }
        let policy = zip(pairs, reference).map { $0.delta + $1 }
        let matched = reference.sorted()
        var losses = pairs.map { _ in PairLoss(value: 0, slope: 0) }
        let violation = DPO(beta: beta, labelSmoothing: labelSmoothing)
        for (rank, i) in ranking(policy).enumerated() { losses[i] = violation.loss(of: PairScores(chosen: policy[i], rejected: matched[rank])) }
        return losses
    }

    public func loss(of pair: PairScores) -> PairLoss { losses(of: [pair])[0] }
}

/// AOT without pairs: the chosen side's log-ratios are to dominate the rejected side's, rank by rank.
///
///     r_w and r_l sorted over the step, each by itself          δ_k = r_w,(k) − r_l,(k)          L as AOT's
///
/// Source: Melnyk et al. 2024 (AOT), with the logistic violation, unpaired.
public struct AOTUnpaired: PairwiseObjective {
    public static let name = "aot_unpaired"
    public var beta: Double
    public var labelSmoothing: Double  // ε, in [0, 0.5)
    public var couplesPairs: Bool { true }

    public init(beta: Double = 0.1, labelSmoothing: Double = 0) { (self.beta, self.labelSmoothing) = (beta, labelSmoothing) }

    public func losses(of pairs: [PairScores]) -> [PairLoss] {
        var losses = pairs.map { _ in PairLoss(value: 0, slope: 0) }
        let violation = DPO(beta: beta, labelSmoothing: labelSmoothing)
        for (w, l) in zip(ranking(pairs.map(\.chosen)), ranking(pairs.map(\.rejected))) {
            let loss = violation.loss(of: PairScores(chosen: pairs[w].chosen, rejected: pairs[l].rejected))
            losses[w].value = loss.value
            losses[w].chosen = loss.chosen
            losses[l].rejected = loss.rejected
        }
        return losses
    }

    public func loss(of pair: PairScores) -> PairLoss { losses(of: [pair])[0] }
}

/// Indices by ascending value; equal values in their order, so that a tie is broken alike in every run.
private func ranking(_ values: [Double]) -> [Int] { values.indices.sorted { (values[$0], $0) < (values[$1], $1) } }
