import Foundation

/// Ratings that move after every game, as chess players' do. They depend on the order of games: for live display, and, as
/// the median over many orders, beside the Bradley-Terry fit.
///
///     E = 1/(1 + 10^((R_j − R_i)/400))        R_i ← R_i + K·(result − E)        R_j ← R_j − K·(result − E)
///
/// Source: Elo 1978.
public struct OnlineElo: Sendable, Equatable {
    public private(set) var ratings: [Double]
    /// K, rating points.
    public var step: Double

    public init(players: Int, start: Double = 1000, step: Double = 16) {
        ratings = [Double](repeating: start, count: players)
        self.step = step
    }

    public mutating func play(_ outcome: PairwiseOutcome) {
        precondition(
            ratings.indices.contains(outcome.first) && ratings.indices.contains(outcome.second),
            "players \(outcome.first) and \(outcome.second) of \(ratings.count)")
        let expected = 1 / (1 + pow(10, (ratings[outcome.second] - ratings[outcome.first]) / 400))
        let change = step * (outcome.result - expected)
        ratings[outcome.first] += change
        ratings[outcome.second] -= change
    }

    /// Medians and percentile intervals over resampled games in random order.
    public static func bootstrap(
        _ outcomes: [PairwiseOutcome], players: Int, start: Double = 1000, step: Double = 16, resamples: Int = 1000, seed: UInt64 = 0,
        level: Double = 0.95
    ) throws(StatisticsError) -> [(median: Double, interval: ClosedRange<Double>)] {
        _ = try WinTable(outcomes, players: players)  // numbers and results are in range
        var draws = [[Double]](repeating: [], count: players)
        try Bootstrap.clusters(Array(outcomes.indices), resamples: resamples, seed: seed) { (rows) throws(StatisticsError) in
            var elo = OnlineElo(players: players, start: start, step: step)
            for row in rows { elo.play(outcomes[row]) }
            for (i, rating) in elo.ratings.enumerated() { draws[i].append(rating) }
        }
        return try draws.map { (values) throws(StatisticsError) in
            (Bootstrap.quantile(values.sorted(), 0.5), try Bootstrap.interval(values, level: level))
        }
    }
}
