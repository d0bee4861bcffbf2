import Foundation
import Models

/// A weighted sum of pairwise losses, with what may be added to all of them.
///
///     L = Σ_k w_k · mean over pairs of [ω · L_k(s_w, s_l)] + c · mean over pairs of −log π(y_w|x)/|y_w|
///
/// - s: f′ of the log-ratio (`divergence`) for losses that take it, the ratio itself for the others.
/// - Length desensitisation (Liu et al. 2024, LD-DPO): tokens beyond the shorter of the two lengths weigh α (`tailWeight`),
///   in policy and reference.
/// - ω: WPO's weight of a pair (Zhou et al. 2024, eq. 2), e^mean(ℓ_t − log Σ_v p_v²) of either side, multiplied; no gradient.
///   It is of the pairwise terms; likelihood terms keep their divisors.
/// - c: the NLL term of RPO (Pang et al. 2024) and of Llama 3 (§4.1.4), per token of its completion.
public struct PreferenceObjective: PairObjective {
    public struct Term: Sendable {
        public var loss: any PairwiseObjective
        public var weight: Double
        public init(_ loss: any PairwiseObjective, weight: Double = 1) { (self.loss, self.weight) = (loss, weight) }
    }

    public static let name = "preference"
    /// The first one's rewards are those of the metrics.
    public var terms: [Term]
    public var divergence = FDivergence.reverseKL
    public var tailWeight = 1.0
    /// WPO.
    public var weighsPairs = false
    public var nllCoefficient = 0.0

    public init(_ terms: [Term]) {
        precondition(!terms.isEmpty, "an objective of no terms")
        self.terms = terms
    }

    public var beta: Double { terms[0].loss.beta }
    public var couplesPairs: Bool { terms.contains { $0.loss.couplesPairs } }
    public var needsSumSquares: Bool { weighsPairs }
    private var name: String { type(of: terms[0].loss).name }

    /// - Returns: The gradient has the shape of `logProbs`.
    public func callAsFunction(_ inputs: PairLogProbs, step: StepTotals) throws(ObjectiveError) -> Loss {
        let B = inputs.pairs
        precondition(!couplesPairs || B == step.pairs, "\(name) couples the step's \(step.pairs) pairs and was given \(B)")
        var loss = Loss(gradientLike: inputs.logProbs)
        let pairs = try scores(of: inputs)
        let weights = weighsPairs ? pairWeights(inputs) : [Double](repeating: 1, count: B)
        var slopes = [PairLoss](repeating: PairLoss(value: 0, chosen: 0, rejected: 0), count: B)
        for term in terms { add(term, of: pairs, weights, to: &slopes, metrics: &loss.metrics) }
        for i in 0..<B {
            loss.value += slopes[i].value / Double(step.pairs)
            fill(&loss, pair: i, of: inputs, chosen: slopes[i].chosen / Double(step.pairs), rejected: slopes[i].rejected / Double(step.pairs))
            record(pairs[i], into: &loss)
        }
        addLikelihoods(of: inputs, step: step, to: &loss)
        return loss
    }

    // MARK: Pairwise terms

    private func add(_ term: Term, of pairs: [PairScores], _ weights: [Double], to slopes: inout [PairLoss], metrics: inout Metrics) {
        let diverges = type(of: term.loss).takesDivergence && divergence != .reverseKL
        var seen = pairs
        if diverges {
            for i in seen.indices {
                seen[i].chosen = divergence.score(pairs[i].chosen).value
                seen[i].rejected = divergence.score(pairs[i].rejected).value
            }
        }
        for (i, loss) in term.loss.losses(of: seen).enumerated() {
            let weight = term.weight * weights[i]
            slopes[i].value += weight * loss.value
            slopes[i].chosen += weight * loss.chosen * (diverges ? divergence.score(pairs[i].chosen).slope : 1)
            slopes[i].rejected += weight * loss.rejected * (diverges ? divergence.score(pairs[i].rejected).slope : 1)
            for name in loss.metrics.keys.sorted() { metrics.record(name, sum: loss.metrics[name] ?? 0, count: 1) }
        }
    }

    private func scores(of inputs: PairLogProbs) throws(ObjectiveError) -> [PairScores] {
        let B = inputs.pairs
        var scores: [PairScores] = []
        scores.reserveCapacity(B)
        for i in 0..<B {
            let shared = sharedLength(inputs.logProbs, pair: i)
            var pair = PairScores(
                chosen: LengthDesensitisation.sum(inputs.logProbs[i], shared: shared, tailWeight: tailWeight) - inputs.reference[i],
                rejected: LengthDesensitisation.sum(inputs.logProbs[B + i], shared: shared, tailWeight: tailWeight) - inputs.reference[B + i])
            (pair.chosenReference, pair.rejectedReference) = (inputs.reference[i], inputs.reference[B + i])
            pair.chosenLength = Double(max(1, inputs.logProbs.count(i)))
            pair.rejectedLength = Double(max(1, inputs.logProbs.count(B + i)))
            guard pair.delta.isFinite else { throw .notFinite(objective: name, quantity: "the log-ratio", row: i) }
            scores.append(pair)
        }
        return scores
    }

    private func sharedLength(_ logProbs: Ragged, pair i: Int) -> Int { min(logProbs.count(i), logProbs.count(logProbs.rows / 2 + i)) }

    private func fill(_ loss: inout Loss, pair i: Int, of inputs: PairLogProbs, chosen: Double, rejected: Double) {
        loss.fill(row: i, with: chosen)
        loss.fill(row: inputs.pairs + i, with: rejected)
        guard tailWeight != 1 else { return }
        let shared = sharedLength(inputs.logProbs, pair: i)
        for row in [i, inputs.pairs + i] {
            for t in loss.gradient.range(row).dropFirst(shared) { loss.gradient.values[t] *= tailWeight }
        }
    }

    /// WPO's weights of the pairs.
    private func pairWeights(_ inputs: PairLogProbs) -> [Double] {
        guard let squares = inputs.logSumSquares else { preconditionFailure("WPO's weights need Σp² of \(inputs.logProbs.values.count) tokens") }
        let rows = (0..<2 * inputs.pairs).map { row in
            exp(inputs.logProbs.range(row).reduce(0) { $0 + inputs.logProbs.values[$1] - squares[$1] } / Double(max(1, inputs.logProbs.count(row))))
        }
        return (0..<inputs.pairs).map { rows[$0] * rows[inputs.pairs + $0] }
    }

    // MARK: Likelihood terms

    private func addLikelihoods(of inputs: PairLogProbs, step: StepTotals, to loss: inout Loss) {
        let tokenWeight = terms.reduce(0) { $0 + $1.weight * $1.loss.likelihoodWeight }
        guard tokenWeight != 0 || nllCoefficient != 0 else { return }
        for i in 0..<inputs.pairs {
            let count = Double(max(1, inputs.logProbs.count(i)))
            let slope = -tokenWeight / Double(max(1, step.chosenTokens)) - nllCoefficient / count / Double(step.pairs)
            loss.value += slope * inputs.logProbs.sum(i)
            for t in inputs.logProbs.range(i) { loss.gradient.values[t] += slope }
            loss.metrics.record("nll_loss", sum: -inputs.logProbs.sum(i), count: count)
        }
    }

    // MARK: Metrics

    private func record(_ pair: PairScores, into loss: inout Loss) {
        let (chosen, rejected) = terms[0].loss.rewards(of: pair)
        loss.record("rewards/chosen", chosen)
        loss.record("rewards/rejected", rejected)
        loss.record("rewards/accuracies", chosen > rejected ? 1 : 0)
        loss.record("rewards/margins", chosen - rejected)
        // A tie is half right: before training every pair is one, and accuracy says 0.5.
        loss.record("accuracy", chosen > rejected ? 1 : chosen == rejected ? 0.5 : 0)
        loss.record("logps/chosen", pair.chosen + pair.chosenReference)
        loss.record("logps/rejected", pair.rejected + pair.rejectedReference)
    }
}

/// Sums of log-probs in which the tokens that only the longer side has count less.
public enum LengthDesensitisation {
    /// - Parameter shared: The shorter of the pair's two lengths.
    public static func sum(_ logProbs: some Collection<Double>, shared: Int, tailWeight: Double) -> Double {
        if tailWeight == 1 { return logProbs.reduce(0, +) }
        return logProbs.prefix(shared).reduce(0, +) + tailWeight * logProbs.dropFirst(shared).reduce(0, +)
    }
}
