import Foundation

/// Which pairs are worth a person's time.
public enum ActiveSelection {
    /// p(1 − p), p = σ(margin): largest where a reward model cannot tell.
    public static func uncertainty(margin: Double) -> Double {
        let p = sigmoid(margin)
        return p * (1 - p)
    }

    /// H(mean p) − mean H(p), nats: how much the members of an ensemble disagree, beyond what each doubts. Source: Houlsby et al. 2011, eq. 2.
    public static func disagreement(margins: [Double]) throws(StatisticsError) -> Double {
        guard !margins.isEmpty else { throw .tooFew(what: "reward models", found: 0, needed: 1) }
        let shares = margins.map(sigmoid), mean = shares.reduce(0, +) / Double(shares.count)
        // Rounding may leave −10⁻¹⁷.
        return max(0, entropy(mean) - shares.reduce(0) { $0 + entropy($1) } / Double(shares.count))
    }

    /// −p·log p − (1 − p)·log(1 − p), nats.
    static func entropy(_ p: Double) -> Double { p <= 0 || p >= 1 ? 0 : -p * log(p) - (1 - p) * log1p(-p) }

    /// p(1 − p)·(e_i − e_j)ᵀ·C·(e_i − e_j): what a vote on i against j tells of the ratings, C their covariance. The first-order gain of log det H.
    public static func ratingInformation(_ i: Int, _ j: Int, fit: BradleyTerry) -> Double {
        let p = fit.probability(i, over: j)
        return p * (1 - p) * (fit.covariance[i][i] + fit.covariance[j][j] - 2 * fit.covariance[i][j])
    }

    public struct Choice: Sendable, Equatable {
        public var candidate: Int
        /// P(this candidate was taken at this place), for estimates that weigh by its inverse.
        public var propensity: Double
        public var isRandom: Bool
    }

    /// An order to label in: highest score first, no more than `perCluster` of a cluster (a prompt) until every cluster had as many,
    /// every place with probability `randomShare` drawn evenly from what is left, so that some labels are a fair sample.
    /// - Parameters:
    ///   - scores: Higher is better; equals go by number.
    ///   - seed: Of the random places.
    public static func order(
        scores: [Double], clusters: [Int], randomShare: Double = 0.1, perCluster: Int = 1, seed: UInt64
    ) throws(StatisticsError) -> [Choice] {
        try checkPaired("scores and clusters", scores.count, clusters.count, atLeast: 0)
        guard randomShare >= 0, randomShare <= 1 else { throw .outOfRange(what: "the random share", found: randomShare, expected: "0 to 1") }
        for score in scores where !score.isFinite { throw .outOfRange(what: "a score", found: score, expected: "a finite number") }
        var seen: [Int: Int] = [:]
        // The nth best of its cluster belongs to round n: rounds one after the other spread the clusters.
        let byScore = scores.indices.sorted { (-scores[$0], $0) < (-scores[$1], $1) }
        let rounds = byScore.map { index -> (round: Int, index: Int) in
            let place = seen[clusters[index], default: 0]
            seen[clusters[index]] = place + 1
            return (place / max(1, perCluster), index)
        }
        let ranked = rounds.enumerated().sorted { ($0.element.round, $0.offset) < ($1.element.round, $1.offset) }.map(\.element.index)
        var random = SplitMix64(seed: seed), isTaken = [Bool](repeating: false, count: scores.count), next = 0
        // For even draws: those left, in no particular order.
        var left = Array(scores.indices), place = Array(scores.indices), result: [Choice] = []
        result.reserveCapacity(scores.count)
        func remove(_ candidate: Int) {
            let at = place[candidate], last = left[left.count - 1]
            left[at] = last
            place[last] = at
            left.removeLast()
            isTaken[candidate] = true
        }
        while !left.isEmpty {
            while next < ranked.count, isTaken[ranked[next]] { next += 1 }
            let isRandom = random.uniform() < randomShare, count = Double(left.count)
            let candidate = isRandom ? left[Int.random(in: 0..<left.count, using: &random)] : ranked[next]
            let propensity = (candidate == ranked[next] ? 1 - randomShare : 0) + randomShare / count
            result.append(Choice(candidate: candidate, propensity: propensity, isRandom: isRandom))
            remove(candidate)
        }
        return result
    }
}
