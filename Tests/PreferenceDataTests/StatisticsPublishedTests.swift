import Foundation
import Serialization
import Testing

@testable import PreferenceData

/// Figures that others published of data that lie beside the fixtures.
@Suite("Statistics against published results") struct StatisticsPublishedTests {
    /// Lines of a shared file, plain or gzipped; nil, with a note, where the folder is not.
    private func rows(_ name: String) throws -> [JSON]? {
        let root = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/../../../shared"
        let path = root + "/data/" + name
        guard let data = FileManager.default.contents(atPath: path) else {
            print("skipped: \(path) is missing")
            return nil
        }
        let bytes = name.hasSuffix(".gz") ? try Inflate.gunzip(Array(data), limit: 1 << 26) : Array(data)
        return try bytes.split(separator: 10).map { try JSON.parse(Array($0)) }
    }

    /// PandaLM's human judgments (Wang et al. 2024): three annotators, five models.
    /// Published of all 999: wins, losses, ties of the majority, and Cohen's kappas 0.85, 0.88, 0.86; here are four fifths of the rows.
    @Test("PandaLM: ratings order the models as the published win rates do, and kappas agree") func pandaLM() throws {
        guard let rows = try rows("preferences/pandalm-human.jsonl") else { return }
        let names = ["llama-7b", "bloom-7b", "cerebras-gpt-6.7B", "opt-7b", "pythia-6.9b"]
        let published: [(Int, Int, Double, Double, Double)] = [
            (0, 1, 72, 28, 11), (0, 2, 80, 24, 6), (0, 3, 71, 24, 11), (0, 4, 58, 27, 9), (1, 2, 59, 30, 11), (1, 3, 43, 35, 11), (1, 4, 49, 47, 11),
            (2, 3, 33, 49, 9), (2, 4, 27, 53, 11), (3, 4, 32, 53, 15),
        ]
        var wins = [[Double]](repeating: [Double](repeating: 0, count: 5), count: 5)
        for (i, j, won, lost, tied) in published { (wins[i][j], wins[j][i]) = (won + tied / 2, lost + tied / 2) }
        let whole = try WinTable(wins)
        let publishedOrder = (0..<5).sorted { whole.winRate($0) ?? 0 > whole.winRate($1) ?? 0 }

        var games: [PairwiseOutcome] = [], labels = [[Int]](repeating: [], count: 3), prompts: [String: Int] = [:]
        for row in rows {
            let pair = (row["cmp_key"]?.string ?? "").split(separator: "_").compactMap { names.firstIndex(of: String($0)) }
            let cluster = prompts[row["instruction"]?.string ?? "", default: prompts.count]
            prompts[row["instruction"]?.string ?? ""] = cluster
            for annotator in 0..<3 {
                let label = row["annotator\(annotator + 1)"]?.int ?? 0
                labels[annotator].append(label)
                games.append(PairwiseOutcome(pair[0], pair[1], result: [0.5, 1, 0][label], cluster: cluster))
            }
        }
        let table = try WinTable(games, players: 5), ratings = try Ratings(games, players: 5, resamples: 200)
        let rates = (0..<5).sorted { table.winRate($0) ?? 0 > table.winRate($1) ?? 0 }
        let found = ratings.players.map(\.player)
        print("PandaLM:", ratings.players.map { "\(names[$0.player]) \(Int($0.elo)) [\(Int($0.interval.lowerBound)), \(Int($0.interval.upperBound))] rank \($0.ranks)" }.joined(separator: "; "))
        #expect(found == publishedOrder && rates == publishedOrder, "ratings \(found), win rates \(rates), published \(publishedOrder)")
        #expect(try BradleyTerry(whole).order == publishedOrder)
        for (a, b, kappa) in [(0, 1, 0.85), (0, 2, 0.88), (1, 2, 0.86)] {
            let mine = try CohenKappa(labels[a], labels[b], categories: 3).kappa()
            #expect(abs(mine - kappa) < 0.02, "annotators \(a + 1) and \(b + 1): \(mine), published \(kappa)")
        }
        let units = rows.indices.map { row in labels.map { Double($0[row]) } }
        let table3 = units.map { unit in (0..<3).map { k in unit.count { $0 == Double(k) } } }
        let (alpha, fleiss) = (try KrippendorffAlpha.alpha(units: units, metric: .nominal), try FleissKappa.kappa(table3))
        // Without missing values alpha is Fleiss' kappa but for a correction of 1/n.
        #expect(abs(alpha - fleiss) < 0.001 && alpha > 0.8, "alpha \(alpha), Fleiss' kappa \(fleiss)")
    }

    /// AlpacaEval 2: soft judgments of three models against one baseline, and the leaderboard's win rates, in percent.
    @Test("AlpacaEval 2: win rates and their errors are the leaderboard's, and ratings keep their order") func alpacaEval() throws {
        guard let rows = try rows("evaluation/alpaca-eval2-annotations.jsonl.gz") else { return }
        let root = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/../../../shared"
        let board = try String(contentsOfFile: root + "/data/evaluation/alpaca-eval2-leaderboard.csv", encoding: .utf8).split(separator: "\n").map { $0.split(separator: ",") }
        let names = Set(rows.compactMap { $0["generator_2"]?.string }).sorted()
        let published = try names.map { name in
            let line = try #require(board.first { $0[0] == name[...] }, "\(name) is not on the leaderboard")
            return (rate: Double(line[1]) ?? 0, error: Double(line[2]) ?? 0)
        }
        var games: [PairwiseOutcome] = []
        for (number, name) in names.enumerated() {
            let shares = rows.filter { $0["generator_2"]?.string == name }.compactMap { $0["preference"]?.double }.map { $0 - 1 }
            let mean = try SampleMean(shares)
            #expect(abs(100 * mean.mean - published[number].rate) < 1e-9, "\(name): \(100 * mean.mean), published \(published[number].rate)")
            #expect(abs(100 * mean.standardError - published[number].error) < 1e-9, "\(name): \(100 * mean.standardError), published \(published[number].error)")
            games += shares.enumerated().map { PairwiseOutcome(number, names.count, result: $0.element, cluster: $0.offset) }
        }
        let order = try Ratings(games, players: names.count + 1, resamples: 0).players.map(\.player)
        let expected = [names.count] + names.indices.sorted { published[$0].rate > published[$1].rate }
        #expect(order == expected, "\(order.map { $0 < names.count ? names[$0] : "baseline" }), published \(expected)")
    }
}
