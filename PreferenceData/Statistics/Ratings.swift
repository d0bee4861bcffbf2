import Foundation

/// A table of ratings: Bradley-Terry strengths on the Elo scale, with intervals and rank ranges.
///
/// Where no maximum of the likelihood exists (someone always wins, or groups never met), the fit takes a ridge, and says so.
public struct Ratings: Sendable, Equatable {
    public struct Player: Sendable, Equatable {
        public var player: Int
        /// 1000 + (400/ln 10)·s.
        public var elo: Double
        /// Elo; from the sandwich over clusters.
        public var standardError: Double
        /// Elo; percentiles of the bootstrap over clusters, sum of strengths 0 in each resample.
        public var interval: ClosedRange<Double>
        /// Ranks that the intervals leave open: 1 + those surely above, up to those not surely below.
        public var ranks: ClosedRange<Int>
        public var winRate: Double
        public var games: Double
    }

    /// Strongest first. Players without a game are left out.
    public var players: [Player]
    /// Players without a game.
    public var unrated: [Int]
    /// 0, or what was needed for strengths to be finite.
    public var ridge: Double
    /// Groups that lack wins both ways between them; one if all is well.
    public var components: [[Int]]
    /// Resamples that needed a ridge.
    public var regularisedResamples: Int
    public var resamples: Int

    /// A prior whose 95 % lies within ±6.2 natural units: 1076 Elo, more than any vote tells.
    public static let fallbackRidge = 0.1

    /// - Parameters:
    ///   - resamples: 0 leaves the intervals to the standard errors (±1.96).
    ///   - seed: Of the resampling.
    /// - Throws: `.tooFew` without two players that met.
    public init(_ outcomes: [PairwiseOutcome], players count: Int, resamples: Int = 1000, seed: UInt64 = 0, level: Double = 0.95) throws(StatisticsError) {
        let whole = try WinTable(outcomes, players: count)
        let rated = (0..<count).filter { whole.winRate($0) != nil }
        unrated = (0..<count).filter { whole.winRate($0) == nil }
        guard rated.count >= 2 else { throw .tooFew(what: "players with votes", found: rated.count, needed: 2) }
        var number = [Int](repeating: 0, count: count)
        for (i, player) in rated.enumerated() { number[player] = i }
        let games = outcomes.filter { $0.first != $0.second }.map {
            PairwiseOutcome(number[$0.first], number[$0.second], result: $0.result, cluster: $0.cluster)
        }
        let table = try WinTable(games, players: rated.count)
        components = table.components.map { $0.map { rated[$0] } }
        ridge = components.count == 1 ? 0 : Self.fallbackRidge
        let fit = try BradleyTerry(table, ridge: ridge)
        let sandwich = fit.sandwich(games)
        let errors = sandwich.indices.map { BradleyTerry.eloUnit * max(0, sandwich[$0][$0]).squareRoot() }
        let (intervals, regularised) = try Self.intervals(games, fit, errors, resamples, seed, level)
        (self.resamples, regularisedResamples) = (resamples, regularised)
        let played = rated.indices.map { i in rated.indices.reduce(0) { $0 + table.wins[i][$1] + table.wins[$1][i] } }
        players = fit.order.map { i in
            let above = intervals.count { $0.lowerBound > intervals[i].upperBound }
            let below = intervals.count { $0.upperBound < intervals[i].lowerBound }
            return Player(
                player: rated[i], elo: fit.elo[i], standardError: errors[i], interval: intervals[i], ranks: (above + 1)...(rated.count - below),
                winRate: table.winRate(i) ?? 0, games: played[i])
        }
    }

    private static func intervals(
        _ games: [PairwiseOutcome], _ fit: BradleyTerry, _ errors: [Double], _ resamples: Int, _ seed: UInt64, _ level: Double
    ) throws(StatisticsError) -> ([ClosedRange<Double>], regularised: Int) {
        let centres = fit.elo
        guard resamples > 0 else {
            let z = try Distributions.normalQuantile((1 + level) / 2)
            return (centres.indices.map { (centres[$0] - z * errors[$0])...(centres[$0] + z * errors[$0]) }, 0)
        }
        var draws = [[Double]](repeating: [], count: centres.count), regularised = 0
        try Bootstrap.clusters(games.map(\.cluster), resamples: resamples, seed: seed) { (rows) throws(StatisticsError) in
            let table = try WinTable(rows.lazy.map { games[$0] }, players: centres.count)
            var ridge = fit.ridge
            if ridge == 0, table.components.count > 1 { (ridge, regularised) = (fallbackRidge, regularised + 1) }
            for (i, rating) in try BradleyTerry(table, ridge: ridge).elo.enumerated() { draws[i].append(rating) }
        }
        let intervals = try draws.map { (values) throws(StatisticsError) in try Bootstrap.interval(values, level: level) }
        return (intervals, regularised)
    }
}
