import Foundation
import Models
import Testing

@testable import Evaluations

@Suite("Planted world") struct PlantedWorldTests {
    private let world = PlantedWorld(seed: 7)
    /// Mode 5 is the second: its own class is 3, the other 2.
    private let prompt: [Int32] = [1, 5, 40, 41, 42, 2]

    @Test("gold of completions worked by hand") func gold() {
        func check(_ completion: [Int32], _ expected: Double, _ variant: PlantedWorld.Variant = .base, line: Int = #line) {
            let found = PlantedWorld(variant, seed: 7).gold(completion, after: prompt)
            #expect(abs(found - expected) < 1e-12, "line \(line): found \(found), expected \(expected)")
        }
        // L = 1: |1 − 15| − 4 = 10 too short costs 1; the end earns 0.5.
        check([3], -0.5)
        // L = 11: no cost. n = 2 (0.8·2), d = 2 (0.3·2), end 0.5; eight fillers are nothing.
        check([8, 9, 32, 33, 34, 35, 36, 37, 38, 39, 3], 1.6 + 0.6 + 0.5)
        // n = 7: 3.2 − 0.5·2; d = 1: 0.3; six equal neighbours: −3; L = 12.
        check([8, 8, 8, 8, 8, 8, 8, 32, 33, 34, 35, 3], 3.2 - 1 + 0.3 - 3 + 0.5)
        // The same without bends.
        check([8, 8, 8, 8, 8, 8, 8, 32, 33, 34, 35, 3], 3.2 + 0.3 + 0.5, .flat)
        // w = 5 counts as 4: −3.2; p = 3 counts as 2: 0.6; q = 1: −0.3; L = 12.
        check([14, 15, 16, 17, 18, 26, 27, 28, 20, 32, 33, 3], -3.2 + 0.6 - 0.3 + 0.5)
        // Cut off at 24: no end, 24 − 15 − 4 = 5 too long.
        check(Array(repeating: [32, 33], count: 12).flatMap { $0 }, -0.5)
        // bound: mode 1 wants class 1, and class 2 is unwanted: n = 2, d = 2, w = 1.
        check([14, 15, 20, 32, 33, 34, 35, 36, 37, 38, 3], 1.6 + 0.6 - 0.8 + 0.5, .bound)
    }

    @Test("the writers' likelihood, where it can be worked by hand") func likelihood() {
        // Eight wanted ids: 1/14 · E[r⁸] · 6⁻⁸, E[r⁸] = (0.2⁹ − 0.03⁹)/(9·0.17).
        let wanted = world.writersLogLikelihood(of: [8, 9, 10, 11, 12, 13, 8, 9, 3], after: prompt, cells: 400)
        let eighth = (pow(0.2, 9) - pow(0.03, 9)) / (9 * 0.17)
        let expected = log(eighth / 14) - 8 * log(6)
        #expect(abs(wanted - expected) < 1e-3, "found \(wanted), expected \(expected)")
        // A wanted id and then a filler 4 on from the first: 1 + 3 or 3 + 1, two ways of 16; 2 on is 1 + 1 alone; 1 on is no way.
        func filler(_ on: Int32) -> Double { world.writersLogLikelihood(of: [8, 40 + on, 8, 8, 8, 8, 8, 8, 3], after: prompt) }
        #expect(abs(filler(4) - filler(2) - log(2)) < 1e-9, "\(filler(4)) and \(filler(2))")
        #expect(filler(1) == -.infinity, "\(filler(1))")
        // The mode's own class is three times as likely as the other.
        func bound(_ id: Int32) -> Double { world.writersLogLikelihood(of: [id, 8, 8, 8, 8, 8, 8, 8, 3], after: prompt) }
        #expect(abs(bound(26) - bound(20) - log(3)) < 1e-9, "\(bound(26)) and \(bound(20))")
        #expect(world.writersLogLikelihood(of: [8, 3], after: prompt) == -.infinity)
        #expect(world.writersLogLikelihood(of: [8, 8, 8, 8, 8, 8, 8, 8, 8], after: prompt) == -.infinity)
    }

    @Test("documents are what the likelihood says") func documents() {
        // Over many documents the share of class 0 is its mean rate, 0.115, within four standard errors; every one is possible.
        var (wanted, places) = (0, 0)
        for index in 0..<2000 {
            let (prompt, completion) = world.document(index)
            #expect(world.writersLogLikelihood(of: completion, after: prompt, cells: 4).isFinite, "document \(index) is impossible: \(prompt) \(completion)")
            #expect((9...22).contains(completion.count) && completion.last == 3, "\(completion)")
            wanted += completion.count { (8..<14).contains($0) }
            places += completion.count - 1
        }
        let (share, error) = (Double(wanted) / Double(places), (0.049 * 0.049 / 2000 + 0.115 * 0.885 / Double(places)).squareRoot())
        #expect(abs(share - 0.115) < 4 * error, "share \(share), expected 0.115 ± \(error)")
    }

    @Test("everything follows from the seed, and purposes share nothing") func determinism() {
        let again = PlantedWorld(seed: 7), other = PlantedWorld(seed: 8)
        #expect(again.document(11).completion == world.document(11).completion)
        #expect(other.document(11).completion != world.document(11).completion)
        let prompts = PlantedWorld.Purpose.allCases.map { world.prompts(64, for: $0) }
        for (place, one) in prompts.enumerated() {
            for (otherPlace, two) in prompts.enumerated() where otherPlace > place { #expect(one != two, "purposes \(place) and \(otherPlace)") }
        }
    }

    @Test("labels follow gold's difference, and flip with the noise") func labels() {
        let better: [Int32] = [8, 9, 32, 33, 34, 35, 36, 37, 38, 39, 3], worse: [Int32] = [8, 41, 32, 33, 34, 35, 36, 37, 38, 39, 3]
        // 2.7 and 1.6: σ(1.1/0.7) = 0.828; with noise 0.25 it is 0.828·0.75 + 0.172·0.25.
        for (noise, expected) in [(0.0, 0.8280), (0.25, 0.6640)] {
            let share = Double((0..<20_000).count { world.prefersFirst(better, worse, after: prompt, index: $0, noise: noise) }) / 20_000
            #expect(abs(share - expected) < 4 * (0.25 / 20_000).squareRoot(), "noise \(noise): found \(share), expected \(expected)")
        }
    }

    @Test("gold refuses what is no completion of the world") func strangers() async {
        await #expect(throws: RewardFailure.self) { _ = try await GoldReward(world).scores(of: [RewardItem(prompt: .text("hello"), completion: "you")]) }
    }
}

@Suite("Study measures") struct StudyMeasureTests {
    @Test("the toy's divergence keeps below its bound: near it without ties, far from it with three values") func toy() {
        let toy = BestOfNToy(seed: 3)
        #expect(toy.probabilities.count == 3125 && abs(toy.probabilities.reduce(0, +) - 1) < 1e-9, "\(toy.probabilities.reduce(0, +))")
        for n in [2, 8, 64] {
            let (fine, coarse) = (toy.slack(toy.fine, of: n), toy.slack(toy.coarse, of: n))
            #expect(fine > 0 && fine < 0.25, "n = \(n): slack \(fine) without ties")
            #expect(coarse > fine + 0.02, "n = \(n): slack \(coarse) with three values, \(fine) without ties")
        }
        #expect(abs(toy.divergence(toy.fine, of: 1)) < 1e-12, "best of 1 is \(toy.divergence(toy.fine, of: 1)) away")
    }

    @Test("α and β are found again in a curve that has them") func fit() throws {
        let sizes = [1, 2, 4, 8, 16, 32, 64]
        let curve = sizes.map { n -> Double in
            let d = (log(Double(n)) - Double(n - 1) / Double(n)).squareRoot()
            return 1.5 + d * (2 - 0.7 * d)
        }
        let found = BestOfNLaw.fit(curve, sizes: sizes)
        #expect(abs(found.alpha - 2) < 1e-9 && abs(found.beta - 0.7) < 1e-9, "\(found)")
    }

    @Test("a ranking's curve is the mean over all subsets") func curve() {
        // Ranked 1 < 2 < 3 with gold 5, 0, 1: of two, {1,2} gives 0, {1,3} and {2,3} give 1.
        let law = BestOfNLaw(gold: [[5, 0, 1]], lengths: [[1, 1, 1]])
        let lines = law.lines("a", seed: 1, ranking: [[1, 2, 3]]).filter { $0.step > 0 }
        #expect(lines.map(\.step) == [1, 2], "\(lines.map(\.step))")
        #expect(abs((lines[0].gold ?? 0) - 2) < 1e-12 && abs((lines[1].gold ?? 0) - 2.0 / 3) < 1e-12, "\(lines.map(\.gold))")
    }

    @Test("verdicts say reproduced, refuted and undecided as the rules have it") func verdicts() {
        func word(_ values: [Double]) -> StudyVerdict.Word {
            StudyVerdict("", effects: values.enumerated().map { ($0.offset, $0.element) }, smallest: 1).word
        }
        #expect(word([1, 1.1, 0.9, 1]) == .reproduced)
        #expect(word([-0.1, 0.1, 0, -0.1]) == .refuted)
        #expect(word([0.1, 1.5, -0.4, 0.9]) == .undecided)
        #expect(word([3]) == .undecided)
        // t of 0.975 with 3 degrees of freedom is 3.182: 1 ± 3.182·0.0816/2.
        let interval = StudyVerdict("", effects: [1, 1.1, 0.9, 1].enumerated().map { ($0.offset, $0.element) }, smallest: 1).interval
        #expect(abs((interval?.upperBound ?? 0) - 1.1299) < 1e-3, "\(String(describing: interval))")
    }

    @Test("a line is read as it was written") func lines() {
        let line = StudyLine(arm: "gold", seed: 3, step: 8, rollouts: 16, kl: 1.5, proxy: nil, gold: 0.25, length: 14, others: [("beta", 0.5)])
        #expect(StudyLine(json: line.json) == line, "\(line.json.text())")
        #expect(StudyLine(json: ["arm": "gold"]) == nil)
    }
}
