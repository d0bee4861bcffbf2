import Foundation
import PreferenceData
import Serialization

/// `stats/*.json`: ratings, agreement, calibration, intervals and tests, each against an independent implementation.
struct StatsPart: VerifyPart {
    static let folder = "stats"
    /// Of closed forms.
    private static let closed = 1e-9

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            context.guarded("stats/\(name)") {
                let file = try GoldenFile("\(folder)/\(name)")
                let limits = file.root.optional("tolerance")
                let others = Tolerance.either(limits?.tolerance("others", default: Self.closed) ?? Self.closed)
                let fit = Tolerance.either(limits?.tolerance("bradley_terry", default: 1e-5) ?? 1e-5)
                let temperature = Tolerance.either(limits?.tolerance("temperature", default: 1e-4) ?? 1e-4)
                for (section, node) in try file.root.members() {
                    guard let compare = Self.sections[section] else {
                        if !["tolerance", "versions"].contains(section) { context.report(.notYet("stats/\(section)")) }
                        node.markRead()
                        continue
                    }
                    context.test("stats/\(section)") { try compare(node, section == "bradley_terry" ? fit : others, temperature, &$0) }
                }
                context.remember(uncompared: file.uncompared(), of: "stats/\(name)")
            }
        }
    }

    private typealias Compare = (GoldenNode, Tolerance, Tolerance, inout CaseRecorder) throws -> Void
    private static var sections: [String: Compare] {
        [
            "bradley_terry": bradleyTerry, "elo_online": elo, "cohen_kappa": cohen, "fleiss_kappa": fleiss, "krippendorff_alpha": krippendorff,
            "calibration": calibration, "proportion_intervals": proportions, "means": means, "auc": auc, "mcnemar": mcnemar, "pass_at_k": passAtK,
            "best_of_n": bestOfN,
        ]
    }

    private static func bradleyTerry(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let table = try WinTable(node.member("wins").rows()), fit = try BradleyTerry(table)
        recorder.compare("log_strength", fit.strengths, golden: try node.member("log_strength").numbers(), limit)
        recorder.compare("log_likelihood", fit.logLikelihood, golden: try node.member("log_likelihood").number(), limit)
        recorder.compare("standard_error", fit.standardErrors, golden: try node.member("standard_error").numbers(), limit)
        // Elo points are strengths times 173.7, and so is their tolerance.
        recorder.compare("elo", fit.elo, golden: try node.member("elo").numbers(), .absolute(limit.value * BradleyTerry.eloUnit))
        recorder.compare("win_probability_0_over_1", fit.probability(0, over: 1), golden: try node.member("win_probability_0_over_1").number(), limit)
        guard let ridge = node.optional("ridge") else { return }
        let words = try ridge.member("penalty").text()
        guard let lambda = words.split(separator: "*").dropFirst().first.flatMap({ Double($0.trimmingCharacters(in: .whitespaces)) }) else {
            throw GoldenError.wrongKind(file: ridge.file.path, path: ridge.path + "/penalty", found: words, expected: "0.5 * NUMBER * sum(b^2)")
        }
        let shrunk = try BradleyTerry(table, ridge: lambda)
        recorder.compare("ridge/log_strength", shrunk.strengths, golden: try ridge.member("log_strength").numbers(), limit)
    }

    private static func elo(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let games = try node.member("games").rows(), golden = try node.member("ratings").numbers()
        var elo = OnlineElo(players: golden.count, start: try node.member("start").number(), step: try node.member("k").number())
        for (row, game) in games.enumerated() {
            guard game.count == 3, let first = Int(exactly: game[0]), let second = Int(exactly: game[1]), golden.indices.contains(first), golden.indices.contains(second) else {
                throw GoldenError.wrongKind(file: node.file.path, path: "\(node.path)/games/\(row)", found: "\(game)", expected: "[player, player, result]")
            }
            elo.play(PairwiseOutcome(first, second, result: game[2]))
        }
        recorder.compare("ratings", elo.ratings, golden: golden, limit)
    }

    private static func cohen(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let (first, second) = (try node.member("rater_1").integers(), try node.member("rater_2").integers())
        let cohen = try CohenKappa(first, second, categories: ((first + second).max() ?? 0) + 1)
        recorder.compare("confusion", cohen.confusion.joined().map(Double.init), golden: Array(try node.member("confusion").rows().joined()), limit)
        recorder.compare("observed", cohen.observed, golden: try node.member("observed").number(), limit)
        recorder.compare("expected", cohen.expected, golden: try node.member("expected").number(), limit)
        for (key, weights) in [("kappa", CohenKappa.Weights.none), ("kappa_linear", .linear), ("kappa_quadratic", .quadratic)] {
            recorder.compare(key, try cohen.kappa(weights), golden: try node.member(key).number(), limit)
        }
    }

    private static func fleiss(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let table = try node.member("table").elements().map { try $0.integers() }
        recorder.compare("raters", Double(table.first?.reduce(0, +) ?? 0), golden: try node.member("raters").number(), limit)
        recorder.compare("kappa", try FleissKappa.kappa(table), golden: try node.member("kappa").number(), limit)
    }

    private static func krippendorff(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let data = try node.member("data")
        let ratings = try data.elements().map { row in
            try row.elements().map { cell -> Double? in cell.json.isNull ? nil : try cell.number() }
        }
        data.markRead()
        for metric in KrippendorffAlpha.Metric.allCases {
            guard let golden = node.optional(metric.rawValue) else { continue }
            recorder.compare(metric.rawValue, try KrippendorffAlpha.alpha(ratings, metric: metric), golden: try golden.number(), limit)
        }
    }

    private static func calibration(_ node: GoldenNode, _ limit: Tolerance, _ coarse: Tolerance, _ recorder: inout CaseRecorder) throws {
        let confidence = try node.member("confidence").numbers(), correct = try node.member("correct").integers().map { $0 == 1 }
        let words = try node.member("bins").text()
        guard let bins = words.split(separator: " ").first.flatMap({ Int($0) }), words.contains("[0.5, 1]") else {
            throw GoldenError.wrongKind(file: node.file.path, path: node.path + "/bins", found: words, expected: "NUMBER of equal width on [0.5, 1]")
        }
        let calibration = try Calibration(confidence, correct, bins: bins)
        recorder.compare("ece", calibration.expectedError, golden: try node.member("ece").number(), limit)
        recorder.compare("mce", calibration.largestError, golden: try node.member("mce").number(), limit)
        recorder.compare("brier", calibration.brier, golden: try node.member("brier").number(), limit)
        recorder.compare("log_loss", calibration.logLoss, golden: try node.member("log_loss").number(), limit)
        let golden = try node.member("temperature").number()
        recorder.compare("temperature", try Calibration.temperature(confidence, correct), golden: golden, coarse)
        let loss = try Calibration.logLoss(confidence, correct, temperature: golden)
        recorder.compare("log_loss_at_temperature", loss, golden: try node.member("log_loss_at_temperature").number(), limit)
    }

    private static func proportions(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let level = try node.member("level").number()
        recorder.compare("z", try Distributions.normalQuantile((1 + level) / 2), golden: try node.member("z").number(), limit)
        for item in try node.member("cases").elements() {
            let (k, n) = (try item.member("successes").integer(), try item.member("n").integer())
            let wilson = try Proportions.wilson(k, of: n, level: level), exact = try Proportions.clopperPearson(k, of: n, level: level)
            recorder.compare("wilson \(k)/\(n)", [wilson.lowerBound, wilson.upperBound], golden: try item.member("wilson").numbers(), limit)
            recorder.compare("clopper_pearson \(k)/\(n)", [exact.lowerBound, exact.upperBound], golden: try item.member("clopper_pearson").numbers(), limit)
            let p = Distributions.fairCoinTwoSided(k, of: n)
            recorder.compare("binomial_p_value_half \(k)/\(n)", p, golden: try item.member("binomial_p_value_half").number(), limit)
        }
    }

    private static func means(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let (x, y) = (try node.member("x").numbers(), try node.member("y").numbers())
        let mean = try SampleMean(x), paired = try PairedTest(x, y)
        let (normal, student) = (try mean.normalInterval(), try mean.studentInterval())
        recorder.compare("ci95_normal", [normal.lowerBound, normal.upperBound], golden: try node.member("ci95_normal").numbers(), limit)
        recorder.compare("ci95_t", [student.lowerBound, student.upperBound], golden: try node.member("ci95_t").numbers(), limit)
        let found = [
            ("mean", mean.mean), ("sd", mean.standardDeviation), ("sem", mean.standardError), ("paired_t", paired.t), ("paired_t_p", paired.p),
            ("paired_difference_sem", paired.standardError), ("pearson", try Correlations.pearson(x, y)), ("spearman", try Correlations.spearman(x, y)),
            ("kendall_tau_b", try Correlations.kendallTauB(x, y)),
        ]
        for (key, value) in found { recorder.compare(key, value, golden: try node.member(key).number(), limit) }
    }

    private static func auc(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let labels = try node.member("labels").integers().map { $0 == 1 }
        let found = try Correlations.auc(scores: node.member("scores").numbers(), isPositive: labels)
        recorder.compare("auc", found, golden: try node.member("auc").number(), limit)
    }

    private static func mcnemar(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let (a, b) = (try node.member("only_a_right").integer(), try node.member("only_b_right").integer())
        recorder.compare("exact_p", try McNemar.exact(onlyFirst: a, onlySecond: b), golden: try node.member("exact_p").number(), limit)
        let chi = try McNemar.chiSquared(onlyFirst: a, onlySecond: b)
        recorder.compare("chi2_continuity", chi, golden: try node.member("chi2_continuity").number(), limit)
    }

    private static func passAtK(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        for item in try node.elements() {
            let (n, c, k) = (try item.member("n").integer(), try item.member("c").integer(), try item.member("k").integer())
            recorder.compare("n \(n), c \(c), k \(k)", try BestOfN.passAtK(correct: c, of: n, k: k), golden: try item.member("value").number(), limit)
        }
    }

    private static func bestOfN(_ node: GoldenNode, _ limit: Tolerance, _: Tolerance, _ recorder: inout CaseRecorder) throws {
        let rewards = try node.member("rewards_sorted").numbers()
        for item in try node.member("expected_max").elements() {
            let n = try item.member("n").integer()
            recorder.compare("expected_max \(n)", try BestOfN.expectedMaximum(rewards, of: n), golden: try item.member("value").number(), limit)
        }
        for item in try node.member("kl_bound").elements() {
            let n = try item.member("n").integer()
            recorder.compare("kl_bound \(n)", try BestOfN.klBound(n), golden: try item.member("value").number(), limit)
        }
    }
}
