import Foundation

/// The true category of every item and the error rates of every annotator, from votes alone.
///
///     P(item i is k) ∝ π_k·Π_{votes (a, v) on i} θ_a[k][v]        EM from the shares of votes
///
/// θ_a[k][v] = P(annotator a says v | truth k), with `smoothing` virtual votes in every cell, so that none is 0.
/// Source: Dawid and Skene 1979, eqs 2.3–2.5.
public struct DawidSkene: Sendable, Equatable {
    public struct Vote: Sendable, Equatable {
        public var item: Int
        public var annotator: Int
        public var category: Int
        public init(item: Int, annotator: Int, category: Int) { (self.item, self.annotator, self.category) = (item, annotator, category) }
    }

    /// P(item is category), items without votes at the shares of all.
    public var posteriors: [[Double]]
    public var shares: [Double]
    /// By annotator, truth, vote.
    public var confusions: [[[Double]]]
    public var logLikelihood: Double
    public var iterations: Int

    /// - Throws: `.tooFew` with fewer than two annotators: one alone agrees with themselves whatever they do.
    public init(
        _ votes: [Vote], items: Int, annotators: Int, categories: Int, smoothing: Double = 0.01, iterations limit: Int = 500
    ) throws(StatisticsError) {
        guard !votes.isEmpty else { throw .tooFew(what: "votes", found: 0, needed: 1) }
        let voting = Set(votes.map(\.annotator)).count
        guard voting >= 2 else { throw .tooFew(what: "annotators", found: voting, needed: 2) }
        guard smoothing > 0 else { throw .outOfRange(what: "the smoothing", found: smoothing, expected: "above 0") }
        for vote in votes {
            for (what, value, count) in [("an item", vote.item, items), ("an annotator", vote.annotator, annotators), ("a category", vote.category, categories)]
            where value < 0 || value >= count { throw .outOfRange(what: "\(what)'s number", found: Double(value), expected: "0 to \(count - 1)") }
        }
        posteriors = Self.voteShares(votes, items: items, categories: categories)
        (shares, confusions, logLikelihood, iterations) = ([], [], -.infinity, 0)
        while iterations < limit {
            iterations += 1
            maximise(votes, annotators: annotators, categories: categories, smoothing: smoothing)
            let before = logLikelihood
            logLikelihood = expect(votes)
            if logLikelihood - before < 1e-10 * max(1, abs(logLikelihood)) { break }
        }
    }

    private static func voteShares(_ votes: [Vote], items: Int, categories: Int) -> [[Double]] {
        var counts = [[Double]](repeating: [Double](repeating: 0, count: categories), count: items)
        for vote in votes { counts[vote.item][vote.category] += 1 }
        return counts.map { row in
            let total = row.reduce(0, +)
            return row.map { total > 0 ? $0 / total : 1 / Double(categories) }
        }
    }

    private mutating func maximise(_ votes: [Vote], annotators: Int, categories: Int, smoothing: Double) {
        let voted = Set(votes.map(\.item)).sorted()
        shares = (0..<categories).map { k in
            (voted.reduce(0) { $0 + posteriors[$1][k] } + smoothing) / (Double(voted.count) + smoothing * Double(categories))
        }
        let empty = [[Double]](repeating: [Double](repeating: smoothing, count: categories), count: categories)
        confusions = [[[Double]]](repeating: empty, count: annotators)
        for vote in votes { for k in 0..<categories { confusions[vote.annotator][k][vote.category] += posteriors[vote.item][k] } }
        for a in 0..<annotators {
            for k in 0..<categories {
                let total = confusions[a][k].reduce(0, +)
                for v in 0..<categories { confusions[a][k][v] /= total }
            }
        }
    }

    private mutating func expect(_ votes: [Vote]) -> Double {
        var logs = [[Double]](repeating: shares.map { log($0) }, count: posteriors.count)
        for vote in votes { for k in shares.indices { logs[vote.item][k] += log(confusions[vote.annotator][k][vote.category]) } }
        var total = 0.0
        for item in logs.indices {
            let top = logs[item].max() ?? 0
            let sum = logs[item].reduce(0) { $0 + exp($1 - top) }
            posteriors[item] = logs[item].map { exp($0 - top) / sum }
            total += top + log(sum)
        }
        return total
    }

    /// P(annotator's vote is right) = Σ_k π_k·θ_a[k][k]
    public func reliability(_ annotator: Int) -> Double { shares.indices.reduce(0) { $0 + shares[$1] * confusions[annotator][$1][$1] } }

    /// The likeliest category of an item; the first of equals.
    public func truth(_ item: Int) -> Int { posteriors[item].indices.max { (posteriors[item][$0], -$0) < (posteriors[item][$1], -$1) } ?? 0 }
}

/// How often each annotator says what most of the others say.
public enum Consensus {
    /// Per annotator: votes that have a consensus of others to compare with, and on how many they agree; half where the others are even.
    public static func agreement(_ votes: [DawidSkene.Vote], annotators: Int, categories: Int) -> [(agreed: Double, votes: Int)] {
        var counts: [Int: [Int]] = [:]
        for vote in votes { counts[vote.item, default: [Int](repeating: 0, count: categories)][vote.category] += 1 }
        var result = [(agreed: Double, votes: Int)](repeating: (0, 0), count: annotators)
        for vote in votes {
            guard var others = counts[vote.item] else { continue }
            others[vote.category] -= 1
            guard let top = others.max(), top > 0 else { continue }
            result[vote.annotator].votes += 1
            if others[vote.category] == top { result[vote.annotator].agreed += 1 / Double(others.count { $0 == top }) }
        }
        return result
    }
}
