import Evaluations
import Foundation
import Models
import Testing

/// A generator of bits for the bootstrap.
private struct Bits: RandomNumberGenerator {
    var state: UInt64 = 1
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 33
    }
}

@Suite("RewardBench") struct RewardBenchTests {
    @Test("the table has the benchmark's sections and weights") func table() {
        func weight(_ section: String) -> Double { RewardBench.table.filter { $0.section == section }.reduce(0) { $0 + $1.weight } }
        let found = ["Chat", "Chat Hard", "Safety", "Reasoning"].map(weight)
        #expect(found == [358, 456, 740, 1968], "\(found)")
    }

    @Test("sections are weighted by examples, the score is their mean") func score() {
        // Chat: easy all right (100), hard all wrong (95): 100/195. Reasoning: math half right (984), go right (164): (492 + 164)/1148.
        let bench = RewardBench([("alpacaeval-easy", 1), ("alpacaeval-hard", 0), ("math-prm", 1), ("math-prm", 0), ("hep-go", 1), ("mine", 1)])
        let sections = bench.sections.map(\.accuracy)
        let expected: [Double] = [100.0 / 195, 656.0 / 1148]
        #expect(sections == expected, "\(sections) and \(expected)")
        let mean = (expected[0] + expected[1]) / 2
        #expect(bench.score == mean && bench.unknown == ["mine"], "\(bench.score ?? .nan) and \(mean)")
        #expect(RewardBench([]).score == nil)
    }

    @Test("the bootstrap's interval holds the score, and is a point where nothing varies") func interval() throws {
        var bits = Bits()
        let half = RewardBench((0..<40).map { ("donotanswer", Double($0 % 2)) })
        let found = try #require(half.interval(using: &bits))
        let (low, high) = (found.lowerBound, found.upperBound)
        #expect(low < 0.45 && low > 0.2, "\(found)")
        #expect(high > 0.55 && high < 0.8, "\(found)")
        let sure = try #require(RewardBench([("donotanswer", 1)]).interval(using: &bits))
        #expect(sure == 1...1, "\(sure)")
    }

    @Test("a table of one's own, and lines that are none") func ownTable() throws {
        let table = try RewardBench.table(csv: "subset,weight,section\na, 2, One\nb,1,One\n\nc,1,Two\n", file: "t.csv")
        let bench = RewardBench([("a", 1), ("b", 0), ("c", 1)], table: table)
        let mean: Double = (2.0 / 3 + 1) / 2
        #expect(bench.score == mean, "\(bench.score ?? .nan) and \(mean)")
        for bad in ["a,0,One", "a,x,One", "a,1", "a,1,One\na,1,Two", ",1,One"] {
            #expect(throws: RewardBenchError.self, "\(bad)") { try RewardBench.table(csv: bad, file: "t.csv") }
        }
    }
}

@Suite("Reward accuracy") struct RewardAccuracyTests {
    private func pair(_ margin: Double, _ chosen: Int, _ rejected: Int, strength: String? = nil) -> RewardAccuracy.Pair {
        RewardAccuracy.Pair(chosen: margin, rejected: 0, lengths: PairLengths(chosen: chosen, rejected: rejected), strength: strength)
    }

    @Test("accuracy beside length, by length and by strength") func groups() {
        let found = RewardAccuracy([
            pair(1, 30, 10, strength: "better"), pair(-1, 30, 20, strength: "better"), pair(2, 10, 11, strength: "slightly"), pair(0, 10, 10), pair(1, 5, 20),
        ])
        #expect(found.all.accuracy == 0.7 && found.lengthBaseline.accuracy == 0.5, "\(found.all.accuracy), \(found.lengthBaseline.accuracy)")
        #expect(found.lengthMatched.count == 2 && found.lengthMatched.accuracy == 0.75, "\(found.lengthMatched)")
        #expect(found.byStrength.map(\.name) == ["better", "slightly"] && found.byStrength[0].accuracy.accuracy == 0.5)
        let counts = found.byLength.map { "\($0.name) \($0.accuracy.count)" }
        #expect(counts == ["chosen over twice as long 1", "chosen longer 1", "within 10 % 2", "rejected over twice as long 1"], "\(counts)")
    }

    @Test("calibration, Brier score and temperature by hand") func probabilities() {
        // Four pairs with |Δ| = log 3, σ = 0.75, three of them right: calibrated as it is.
        let right = RewardAccuracy([pair(log(3.0), 1, 1), pair(log(3.0), 1, 1), pair(log(3.0), 1, 1), pair(-log(3.0), 1, 1)])
        #expect(right.calibration.error < 1e-12, "\(right.calibration.error)")
        let brier: Double = (3 * 0.0625 + 0.5625) / 4
        #expect(abs(right.brier - brier) < 1e-12, "\(right.brier) and \(brier)")
        #expect(abs(right.temperature - 1) < 1e-6, "\(right.temperature)")
        // Twice the differences: too sure by a factor of two.
        let sure = RewardAccuracy([pair(2 * log(3.0), 1, 1), pair(2 * log(3.0), 1, 1), pair(2 * log(3.0), 1, 1), pair(-2 * log(3.0), 1, 1)])
        #expect(abs(sure.temperature - 2) < 1e-6, "\(sure.temperature)")
        #expect(abs(sure.calibration.error - 0.15) < 1e-12, "\(sure.calibration.error)")
    }

    @Test("a reward that counts tokens correlates with length") func correlation() {
        let counts = RewardAccuracy((1...9).map { RewardAccuracy.Pair(chosen: Double(2 * $0), rejected: Double($0), lengths: PairLengths(chosen: 2 * $0, rejected: $0)) })
        #expect(abs((counts.lengthCorrelation ?? 0) - 1) < 1e-12, "\(counts.lengthCorrelation ?? .nan)")
        #expect(RewardAccuracy([pair(0, 3, 3)]).lengthCorrelation == nil)
    }

    @Test("the reliability plot has a point for each bin with pairs") func plot() {
        let svg = ReliabilityPlot(Calibration(margins: [0.1, -0.1, 5])).svg
        #expect(svg.components(separatedBy: "<circle").count == 3, "\(svg)")
    }
}
