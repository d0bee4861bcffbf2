import Foundation
import Testing

@testable import PreferenceData

@Suite("Ratings from comparisons") struct StatisticsRatingsTests {
    private func table(_ wins: [[Double]]) throws -> WinTable { try WinTable(wins) }

    @Test("three wins and a loss are ln 3, 190.85 Elo") func byHand() throws {
        let fit = try BradleyTerry(table([[0, 3], [1, 0]]))
        #expect(abs(fit.strengths[0] - fit.strengths[1] - log(3)) < 1e-12, "\(fit.strengths), ln 3 is \(log(3.0))")
        #expect(abs(fit.elo[0] - fit.elo[1] - 190.848501887865) < 1e-9, "\(fit.elo)")
        // H = 4·¾·¼·[[1, −1], [−1, 1]], so var(s₁ − s₂) = 1/0.75 and H⁺₁₁ a quarter of it.
        #expect(abs(fit.covariance[0][0] - 1 / 3.0) < 1e-12, "\(fit.covariance[0][0]), 1/3 was expected")
    }

    @Test("shrunk, the slope is zero: w − n·p = λ·s") func ridge() throws {
        let fit = try BradleyTerry(table([[0, 3], [1, 0]]), ridge: 0.7)
        let slope = 3 - 4 * fit.probability(0, over: 1)
        #expect(abs(slope - 0.7 * fit.strengths[0]) < 1e-10, "\(slope) and \(0.7 * fit.strengths[0])")
        #expect(abs(fit.strengths[0] + fit.strengths[1]) < 1e-12, "\(fit.strengths)")
        // Covariance on the sum-0 line: 1/(2·n·p·q + λ), half of it on the diagonal.
        let p = fit.probability(0, over: 1), expected = 0.5 / (2 * 4 * p * (1 - p) + 0.7)
        #expect(abs(fit.covariance[0][0] - expected) < 1e-10, "\(fit.covariance[0][0]), \(expected)")
    }

    @Test("five wins, three ties, two losses: Rao-Kupper ln 2 and 2, Davidson ln 2.5 and 3/√10") func ties() throws {
        let (wins, ties) = (try table([[0, 5], [2, 0]]), try table([[0, 3], [3, 0]]))
        let rao = try TieModel(.raoKupper, wins: wins, ties: ties), davidson = try TieModel(.davidson, wins: wins, ties: ties)
        #expect(abs(rao.strengths[0] - rao.strengths[1] - log(2)) < 1e-9 && abs(rao.tie - 2) < 1e-9, "\(rao)")
        #expect(abs(davidson.strengths[0] - davidson.strengths[1] - log(2.5)) < 1e-9 && abs(davidson.tie - 3 / 10.0.squareRoot()) < 1e-9, "\(davidson)")
        for model in [rao, davidson] {
            let p = model.probabilities(0, 1)
            #expect(abs(p.win - 0.5) < 1e-9 && abs(p.tie - 0.3) < 1e-9 && abs(p.loss - 0.2) < 1e-9, "\(model.kind): \(p)")
        }
        var equal = rao
        equal.strengths = [0, 0]
        #expect(abs(equal.probabilities(0, 1).tie - 1 / 3.0) < 1e-9, "\(equal.probabilities(0, 1))")
        // No ties: plain Bradley-Terry.
        let none = try TieModel(.raoKupper, wins: wins, ties: table([[0, 0], [0, 0]]))
        #expect(none.tie == 1 && abs(none.strengths[0] - none.strengths[1] - log(2.5)) < 1e-9, "\(none)")
        #expect(throws: StatisticsError.self) { try TieModel(.davidson, wins: table([[0, 0], [0, 0]]), ties: ties) }
    }

    @Test("tie models of four players: every slope is zero at the fit", arguments: TieModel.Kind.allCases) func tieSlopes(kind: TieModel.Kind) throws {
        let wins = try table([[0, 5, 3, 1], [2, 0, 4, 2], [1, 3, 0, 2], [4, 1, 2, 0]]), ties = try table([[0, 1, 2, 1], [1, 0, 3, 0], [2, 3, 0, 1], [1, 0, 1, 0]])
        let fit = try TieModel(kind, wins: wins, ties: ties)
        func likelihood(_ change: (inout TieModel) -> Void) -> Double {
            var model = fit
            change(&model)
            var sum = 0.0
            for i in 0..<4 {
                for j in 0..<i {
                    let p = model.probabilities(i, j)
                    sum += wins.wins[i][j] * log(p.win) + wins.wins[j][i] * log(p.loss) + ties.wins[i][j] * log(p.tie)
                }
            }
            return sum
        }
        #expect(abs(likelihood { _ in } - fit.logLikelihood) < 1e-9, "\(likelihood { _ in }) and \(fit.logLikelihood)")
        for parameter in 0...4 {
            func at(_ h: Double) -> Double { likelihood { if parameter < 4 { $0.strengths[parameter] += h } else { $0.tie += h } } }
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5
            #expect(abs(slope) < 1e-5, "\(kind) parameter \(parameter): slope \(slope)")
        }
    }

    @Test("no strength is infinite or NaN: what cannot be rated says why") func extremes() throws {
        #expect(throws: StatisticsError.notConnected(components: [[0], [1]])) { try BradleyTerry(table([[0, 5], [0, 0]])) }
        #expect(throws: StatisticsError.notConnected(components: [[0, 1], [2, 3]])) {
            try BradleyTerry(table([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 2], [0, 0, 1, 0]]))
        }
        #expect(throws: StatisticsError.tooFew(what: "votes", found: 0, needed: 1)) { try BradleyTerry(table([[0, 0], [0, 0]])) }
        #expect(throws: StatisticsError.tooFew(what: "players", found: 1, needed: 2)) { try BradleyTerry(table([[0]])) }
        #expect(throws: StatisticsError.self) { try table([[0, -1], [1, 0]]) }
        #expect(throws: StatisticsError.self) { try table([[0, .nan], [1, 0]]) }
        #expect(throws: StatisticsError.tooFew(what: "players with votes", found: 0, needed: 2)) { try Ratings([], players: 3) }
        // One always wins, one never played, two groups never met.
        let games = (0..<20).map { PairwiseOutcome(0, 1, result: 1, cluster: $0) } + (0..<20).map { PairwiseOutcome(3, 4, result: $0 % 2 == 0 ? 1 : 0, cluster: $0) }
        let ratings = try Ratings(games, players: 5, resamples: 50)
        #expect(ratings.unrated == [2] && ratings.components == [[0], [1], [3, 4]] && ratings.ridge == Ratings.fallbackRidge, "\(ratings)")
        for player in ratings.players {
            let isFinite = [player.elo, player.standardError, player.interval.lowerBound, player.interval.upperBound].allSatisfy { $0.isFinite }
            #expect(isFinite, "\(player)")
        }
        #expect(ratings.players.map(\.player) == [0, 3, 4, 1] || ratings.players.map(\.player) == [0, 4, 3, 1], "\(ratings.players.map(\.player))")
    }

    /// Games drawn from given strengths, a prompt each.
    private func simulated(_ strengths: [Double], games: Int, seed: UInt64) -> [PairwiseOutcome] {
        var random = SplitMix64(seed: seed)
        return (0..<games).map { game in
            let i = Int.random(in: 0..<strengths.count, using: &random), j = (i + Int.random(in: 1..<strengths.count, using: &random)) % strengths.count
            return PairwiseOutcome(i, j, result: random.uniform() < sigmoid(strengths[i] - strengths[j]) ? 1 : 0, cluster: game)
        }
    }

    @Test("95 % intervals hold the strengths that games were drawn from, about 95 times of 100") func coverage() throws {
        let truth = [0.9, 0.3, 0, -0.4, -0.8]
        var (byBootstrap, bySandwich, all) = (0, 0, 0)
        for seed in 0..<40 {
            let games = simulated(truth, games: 400, seed: UInt64(seed))
            let ratings = try Ratings(games, players: 5, resamples: 200, seed: UInt64(seed)), plain = try Ratings(games, players: 5, resamples: 0)
            for (a, b) in zip(ratings.players, plain.players) {
                all += 1
                if a.interval.contains(BradleyTerry.elo(truth[a.player])) { byBootstrap += 1 }
                if b.interval.contains(BradleyTerry.elo(truth[b.player])) { bySandwich += 1 }
            }
        }
        // 190 of 200 expected, deviation 3 were they independent; the seeds are fixed.
        #expect(byBootstrap >= 178 && bySandwich >= 178, "\(byBootstrap) and \(bySandwich) of \(all)")
    }

    @Test("equal seeds give equal bits, and the sandwich of one vote a cluster is near the Hessian") func seeds() throws {
        let games = simulated([0.5, 0, -0.5], games: 3000, seed: 9)
        #expect(try Ratings(games, players: 3, resamples: 40, seed: 4) == Ratings(games, players: 3, resamples: 40, seed: 4))
        let fit = try BradleyTerry(WinTable(games, players: 3)), sandwich = fit.sandwich(games)
        for i in 0..<3 {
            let ratio = sandwich[i][i] / fit.covariance[i][i]
            #expect(abs(ratio - 1) < 0.1, "player \(i): \(sandwich[i][i]) and \(fit.covariance[i][i])")
        }
        // Every vote ten times over, a cluster each: the sandwich does not believe it has ten times the votes.
        let repeated = games.flatMap { [PairwiseOutcome](repeating: $0, count: 10) }
        let tenfold = try BradleyTerry(WinTable(repeated, players: 3)).sandwich(repeated)
        #expect(abs(tenfold[0][0] / sandwich[0][0] - 1) < 1e-6, "\(tenfold[0][0]) and \(sandwich[0][0])")
    }

    @Test("Elo, by hand, and its median over orders") func elo() throws {
        var elo = OnlineElo(players: 2, step: 32)
        elo.play(PairwiseOutcome(0, 1, result: 1))  // 1000 + 32·(1 − ½)
        #expect(elo.ratings == [1016, 984], "\(elo.ratings)")
        let games = simulated([0.6, 0, -0.6], games: 600, seed: 3)
        let medians = try OnlineElo.bootstrap(games, players: 3, step: 8, resamples: 100)
        let fit = try BradleyTerry(WinTable(games, players: 3)).elo
        for i in 0..<3 { #expect(abs(medians[i].median - fit[i]) < 40 && medians[i].interval.contains(fit[i]), "player \(i): \(medians[i]), fit \(fit[i])") }
    }

    @Test("labels asked where they tell most rank as well with fewer of them") func active() throws {
        let truth = (0..<8).map { 1.6 - 0.45 * Double($0) }
        /// Mean |rank − true rank| after `budget` votes.
        func error(budget: Int, active: Bool, seed: UInt64) throws -> Double {
            var random = SplitMix64(seed: seed), games: [PairwiseOutcome] = []
            while games.count < budget {
                var (i, j) = (0, 0)
                if active, games.count >= 16 {
                    let fit = try BradleyTerry(WinTable(games, players: 8), ridge: 0.1)
                    var best = -1.0
                    for a in 0..<8 { for b in 0..<a where ActiveSelection.ratingInformation(a, b, fit: fit) > best { (i, j, best) = (a, b, ActiveSelection.ratingInformation(a, b, fit: fit)) } }
                } else {
                    i = Int.random(in: 0..<8, using: &random)
                    j = (i + Int.random(in: 1..<8, using: &random)) % 8
                }
                games.append(PairwiseOutcome(i, j, result: random.uniform() < sigmoid(truth[i] - truth[j]) ? 1 : 0))
            }
            let order = try BradleyTerry(WinTable(games, players: 8), ridge: 0.1).order
            return order.enumerated().reduce(0) { $0 + abs(Double($1.offset - $1.element)) } / 8
        }
        func mean(budget: Int, active: Bool) throws -> Double {
            try (0..<60).reduce(0.0) { try $0 + error(budget: budget, active: active, seed: UInt64(1000 + $1)) } / 60
        }
        let (few, many) = (try mean(budget: 100, active: true), try mean(budget: 130, active: false))
        #expect(few <= many, "rank error \(few) with 100 chosen votes, \(many) with 130 random ones")
    }

    @Test("the order to label in: best first, prompts spread, random places fair") func order() throws {
        let choices = try ActiveSelection.order(scores: [5, 4, 3, 2], clusters: [0, 0, 1, 1], randomShare: 0, seed: 1)
        #expect(choices.map(\.candidate) == [0, 2, 1, 3] && choices.allSatisfy { $0.propensity == 1 }, "\(choices)")
        let random = try ActiveSelection.order(scores: [Double](repeating: 0, count: 2000), clusters: Array(0..<2000), randomShare: 0.2, seed: 7)
        #expect(random.map(\.candidate).sorted() == Array(0..<2000))
        let share = Double(random.count { $0.isRandom }) / 2000
        #expect(abs(share - 0.2) < 0.04, "\(share) random, 0.2 asked for")
        // H(½) − mean(H(σ(±3))) by hand: ln 2 − 0.19086; two that agree disagree by nothing.
        let disagreement = try ActiveSelection.disagreement(margins: [3, -3])
        #expect(abs(disagreement - (log(2) - 0.190_864_97)) < 1e-6, "\(disagreement)")
        #expect(try ActiveSelection.disagreement(margins: [2, 2]) < 1e-15)
        #expect(ActiveSelection.uncertainty(margin: 0) == 0.25)
    }
}
