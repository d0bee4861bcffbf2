import Foundation
import Testing

@testable import PreferenceData

@Suite("Agreement of annotators") struct StatisticsAgreementTests {
    @Test("Cohen's kappa of [[20, 5], [10, 15]] is 0.4") func cohen() throws {
        let kappa = try CohenKappa(confusion: [[20, 5], [10, 15]])
        let (value, error) = (try kappa.kappa(), try kappa.standardError())
        #expect(abs(value - 0.4) < 1e-12, "\(value)")
        // √(0.7·0.3/(50·0.25))
        #expect(abs(error - 0.129_614_813_968) < 1e-9, "\(error)")
        #expect(throws: StatisticsError.self) { try CohenKappa([1, 1], [1, 1], categories: 2).kappa() }
        #expect(throws: StatisticsError.lengths(what: "the raters' items", 1, 2)) { try CohenKappa([1], [1, 0], categories: 2) }
        #expect(throws: StatisticsError.tooFew(what: "the raters' items", found: 0, needed: 1)) { try CohenKappa([], [], categories: 2) }
        #expect(throws: StatisticsError.self) { try CohenKappa([2], [0], categories: 2) }
    }

    @Test("Fleiss' kappa of the standard table is 0.20993") func fleiss() throws {
        let table = [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ]
        let kappa = try FleissKappa.kappa(table)
        #expect(abs(kappa - 0.209_930_7) < 1e-6, "\(kappa)")
        #expect(throws: StatisticsError.self) { try FleissKappa.kappa([[3, 0], [3, 0]]) }
        #expect(throws: StatisticsError.tooFew(what: "raters an item", found: 1, needed: 2)) { try FleissKappa.kappa([[1, 0]]) }
        #expect(throws: StatisticsError.self) { try FleissKappa.kappa([[2, 1], [1, 1]]) }
    }

    @Test(
        "Krippendorff's alpha of four raters and twelve units",
        arguments: [(KrippendorffAlpha.Metric.nominal, 0.743421), (.ordinal, 0.815388), (.interval, 0.849107), (.ratio, 0.797403)])
    func krippendorff(metric: KrippendorffAlpha.Metric, expected: Double) throws {
        let ratings = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."].map { $0.map { $0.wholeNumberValue.map(Double.init) } }
        let alpha = try KrippendorffAlpha.alpha(ratings, metric: metric)
        #expect(abs(alpha - expected) < 1e-6, "\(alpha), \(expected) was expected")
        // Raters may change places.
        let turned = try KrippendorffAlpha.alpha(ratings.reversed(), metric: metric)
        #expect(abs(turned - alpha) < 1e-12, "\(turned) and \(alpha)")
    }

    @Test("alpha without anything to compare says so") func undefined() {
        #expect(throws: StatisticsError.tooFew(what: "units that two raters saw", found: 0, needed: 1)) {
            try KrippendorffAlpha.alpha([[1, nil], [nil, 2]], metric: .nominal)
        }
        #expect(throws: StatisticsError.self) { try KrippendorffAlpha.alpha([[1, 1], [1, 1]], metric: .nominal) }
        #expect(throws: StatisticsError.tooFew(what: "units that two raters saw", found: 0, needed: 1)) { try KrippendorffAlpha.alpha([], metric: .nominal) }
        #expect(throws: StatisticsError.self) { try KrippendorffAlpha.alpha(units: [[1, .nan]], metric: .interval) }
    }

    @Test("Dawid and Skene find the careless annotator, and the truth better than a majority") func dawidSkene() throws {
        let accuracies = [0.95, 0.9, 0.55, 0.55, 0.55]
        var random = SplitMix64(seed: 11), votes: [DawidSkene.Vote] = [], truth: [Int] = []
        for item in 0..<400 {
            truth.append(Int.random(in: 0...1, using: &random))
            for (annotator, accuracy) in accuracies.enumerated() {
                votes.append(.init(item: item, annotator: annotator, category: random.uniform() < accuracy ? truth[item] : 1 - truth[item]))
            }
        }
        let fit = try DawidSkene(votes, items: 400, annotators: 5, categories: 2)
        let right = (0..<400).count { fit.truth($0) == truth[$0] }
        let majority = (0..<400).count { item in votes.filter { $0.item == item && $0.category == 1 }.count >= 3 ? truth[item] == 1 : truth[item] == 0 }
        #expect(right > majority && right > 370, "\(right) right, the majority \(majority)")
        for (annotator, accuracy) in accuracies.enumerated() {
            #expect(abs(fit.reliability(annotator) - accuracy) < 0.08, "annotator \(annotator): \(fit.reliability(annotator)), drawn with \(accuracy)")
        }
        let consensus = Consensus.agreement(votes, annotators: 5, categories: 2).map { $0.agreed / Double($0.votes) }
        #expect(consensus[0] > consensus[2] && consensus[1] > consensus[3], "\(consensus)")
        let alone = votes.filter { $0.annotator == 0 }
        #expect(throws: StatisticsError.tooFew(what: "annotators", found: 1, needed: 2)) { try DawidSkene(alone, items: 400, annotators: 5, categories: 2) }
        #expect(Consensus.agreement(alone, annotators: 5, categories: 2).allSatisfy { $0.votes == 0 })
        #expect(throws: StatisticsError.tooFew(what: "votes", found: 0, needed: 1)) { try DawidSkene([], items: 0, annotators: 0, categories: 2) }
    }

    @Test("intervals and tests at their edges") func edges() throws {
        #expect(try Proportions.wilson(0, of: 5).lowerBound == 0 && Proportions.wilson(5, of: 5).upperBound == 1)
        #expect(throws: StatisticsError.tooFew(what: "trials", found: 0, needed: 1)) { try Proportions.wilson(0, of: 0) }
        #expect(throws: StatisticsError.self) { try Proportions.clopperPearson(6, of: 5) }
        #expect(try McNemar.exact(onlyFirst: 0, onlySecond: 0) == 1)
        #expect(throws: StatisticsError.self) { try McNemar.chiSquared(onlyFirst: 0, onlySecond: 0) }
        #expect(throws: StatisticsError.self) { try Calibration.temperature([0.9, 0.8], [true, true]) }
        #expect(throws: StatisticsError.self) { try Calibration([1.2], [true]) }
        #expect(throws: StatisticsError.self) { try Correlations.pearson([1, 1], [1, 2]) }
        #expect(throws: StatisticsError.self) { try Correlations.auc(scores: [1, 2], isPositive: [true, true]) }
        #expect(throws: StatisticsError.self) { try PairedTest([1, 2], [0, 1]) }
        #expect(throws: StatisticsError.self) { try BestOfN.passAtK(correct: 1, of: 2, k: 3) }
        // P(B ≥ 2) of four tosses of a fair coin: 11/16.
        let (beta, quantile) = (Distributions.incompleteBeta(0.5, 2, 3), try Distributions.normalQuantile(0.025))
        #expect(abs(beta - 0.6875) < 1e-14 && abs(quantile + 1.959963984540054) < 1e-13, "\(beta), \(quantile)")
        let (interval, undefined) = try Bootstrap.interval(units: 30, resamples: 200, seed: 1) { (rows) throws(StatisticsError) in
            Double(rows.reduce(0, +)) / Double(rows.count)
        }
        #expect(interval.contains(14.5) && undefined == 0, "\(interval)")
    }
}
