import Foundation
import Models
import Testing

@testable import Training

/// Rows of every kind that the losses of reward models learn from, with drawn read-outs.
enum RewardExamples {
    static func values(_ count: Int, seed: UInt64 = 3) -> [Double] {
        (0..<count).map { i -> Double in
            let x = Double(i)
            return 1.7 * sin(Double(seed) + 2.3 * x + 0.11 * x * x)
        }
    }

    static let pairs: [RewardReadouts.Row] = [
        .init(label: .preference(margin: 0, probability: 1)), .init(label: .preference(margin: 0.7, probability: 1)),
        .init(label: .preference(margin: 0, probability: 0.75)), .init(label: .preference(margin: 0.3, probability: 0.5)),
        .init(label: .ranking([2, 1, 2, 4])), .init(label: .ranking([1, 1])),
    ]
    static let graded: [RewardReadouts.Row] = [
        .init(label: .preference(margin: 0.2, probability: 0.95), grades: [[0, 1, nil, 2], [2, nil, 1, 1]]),
        .init(label: .preference(margin: 0, probability: 1), grades: [[nil, nil, nil, nil], [1, 1, 0, 0]]),
    ]
    static let rankings: [RewardReadouts.Row] = [
        .init(label: .ranking([1, 2, 3, 4])), .init(label: .ranking([2, 1, 2, 3])), .init(label: .ranking([1, 2, 2])),
        .init(label: .preference(margin: 0, probability: 1)),
    ]
    static let scores: [RewardReadouts.Row] = [
        .init(label: .scores([[1, nil], [0.5, -2]])), .init(label: .scores([[nil, 3]])),
    ]
    static let steps: [RewardReadouts.Row] = [.init(label: .steps([1, 1, 0, nil])), .init(label: .steps([0.25]))]

    /// A loss, rows for it, and outputs of the head.
    static let cases: [(name: String, objective: any RewardObjective, rows: [RewardReadouts.Row], outputs: Int)] = [
        ("bradley-terry", BradleyTerry(), pairs, 1),
        ("smoothed, centred", BradleyTerry(labelSmoothing: 0.1, centering: 0.05), pairs, 1),
        ("graded", BradleyTerry(labelSmoothing: 0.2, centering: 0.01, gradeWeight: 0.3), graded, 1 + Grading.outputs),
        ("plackett-luce", PlackettLuce(), rankings, 1),
        ("regression", ScoreRegression(), scores, 2),
        ("process", ProcessReward(), steps, 1),
    ]

    static func totals(_ rows: [RewardReadouts.Row]) -> StepTotals { rows.map(\.label.totals).reduce(StepTotals(), +) }
}

func loss(_ objective: any RewardObjective, _ values: [Double], _ outputs: Int, _ rows: [RewardReadouts.Row], step: StepTotals? = nil) throws -> Loss {
    try objective(RewardReadouts(values: values, outputs: outputs, rows: rows), step: step ?? RewardExamples.totals(rows))
}

@Suite("Reward losses") struct RewardLossTests {
    @Test("gradients agree with finite differences at every read-out", arguments: RewardExamples.cases.indices, [3, 40] as [UInt64])
    func finiteDifferences(index: Int, seed: UInt64) throws {
        let (name, objective, rows, outputs) = RewardExamples.cases[index]
        let values = RewardExamples.values(rows.reduce(0) { $0 + $1.label.points } * outputs, seed: seed)
        let analytic = try loss(objective, values, outputs, rows).readoutGradient
        #expect(analytic.count == values.count)
        let h = 1e-5
        for i in values.indices {
            var (up, down) = (values, values)
            up[i] += h
            down[i] -= h
            let numeric = (try loss(objective, up, outputs, rows).value - loss(objective, down, outputs, rows).value) / (2 * h)
            #expect(abs(numeric - analytic[i]) <= 1e-6 * max(1, abs(numeric)), "\(name), read-out \(i): analytic \(analytic[i]), numeric \(numeric)")
        }
        #expect(analytic.contains { $0 != 0 })
    }

    @Test("one step in shares is one step: loss, gradient and metrics add up", arguments: RewardExamples.cases.indices) func shares(index: Int) throws {
        let (name, objective, rows, outputs) = RewardExamples.cases[index]
        let values = RewardExamples.values(rows.reduce(0) { $0 + $1.label.points } * outputs)
        let whole = try loss(objective, values, outputs, rows)
        var (sum, gradient, metrics, first) = (0.0, [Double](), Metrics(), 0)
        for row in rows {
            let count = row.label.points * outputs
            let share = try loss(objective, Array(values[first..<first + count]), outputs, [row], step: RewardExamples.totals(rows))
            first += count
            sum += share.value
            gradient += share.readoutGradient
            metrics.add(share.metrics)
        }
        #expect(abs(sum - whole.value) < 1e-12, "\(name): \(sum) and \(whole.value)")
        let distance = zip(gradient, whole.readoutGradient).map { abs($0 - $1) }.max() ?? 0
        #expect(distance < 1e-12, "\(name): gradients differ by \(distance)")
        for (key, value) in whole.metrics.means { #expect(abs((metrics[key] ?? .nan) - value) < 1e-12, "\(name) \(key): \(metrics[key] ?? .nan) and \(value)") }
    }

    @Test("Bradley–Terry worked by hand") func byHand() throws {
        // r = 1.5 and 0.5: u = 1, L = log(1 + e⁻¹) = 0.3132617, slope σ(1) − 1 = −0.2689414.
        let row = RewardReadouts.Row(label: .preference(margin: 0, probability: 1))
        let plain = try loss(BradleyTerry(), [1.5, 0.5], 1, [row])
        #expect(abs(plain.value - 0.3132616875) < 1e-9 && abs(plain.readoutGradient[0] + 0.2689414214) < 1e-9, "\(plain.value), \(plain.readoutGradient)")
        // A margin as large as the difference: u = 0, L = log 2.
        let margin = try loss(BradleyTerry(), [1.5, 0.5], 1, [.init(label: .preference(margin: 1, probability: 1))])
        #expect(abs(margin.value - log(2.0)) < 1e-12, "\(margin.value)")
        // c = 0.01: 0.01·(1.5 + 0.5)² = 0.04 more, gradient 2·0.01·2 = 0.04 more on both sides.
        let centred = try loss(BradleyTerry(centering: 0.01), [1.5, 0.5], 1, [row])
        #expect(abs(centred.value - plain.value - 0.04) < 1e-12, "\(centred.value)")
        #expect(abs(centred.readoutGradient[1] - plain.readoutGradient[1] - 0.04) < 1e-12, "\(centred.readoutGradient)")
    }

    @Test("a soft label's minimum is at log(p/(1 − p))", arguments: zip(RewardLabelTables.afm, [2.9444, 1.7346, 1.0986, 0.6190])) func minimum(p: Double, gap: Double) throws {
        let row = RewardReadouts.Row(label: .preference(margin: 0, probability: p))
        let at = try loss(BradleyTerry(), [log(p / (1 - p)), 0], 1, [row])
        #expect(abs(log(p / (1 - p)) - gap) < 1e-4, "\(log(p / (1 - p))) and \(gap)")
        #expect(abs(at.readoutGradient[0]) < 1e-12, "slope \(at.readoutGradient[0])")
        let entropy = -p * log(p) - (1 - p) * log(1 - p)
        #expect(abs(at.value - entropy) < 1e-12, "\(at.value) and the entropy \(entropy)")
    }

    @Test("a constant added to all rewards changes Bradley–Terry only by centring") func shift() throws {
        let rows = RewardExamples.pairs
        let values = RewardExamples.values(rows.reduce(0) { $0 + $1.label.points })
        let shifted = values.map { $0 + 5 }
        let (a, b) = (try loss(BradleyTerry(), values, 1, rows).value, try loss(BradleyTerry(), shifted, 1, rows).value)
        #expect(abs(a - b) < 1e-12, "\(a) and \(b)")
        let (c, d) = (try loss(BradleyTerry(centering: 0.01), values, 1, rows).value, try loss(BradleyTerry(centering: 0.01), shifted, 1, rows).value)
        #expect(abs(c - d) > 0.1, "\(c) and \(d)")
    }

    @Test("swapping the sides is the complementary label") func swapped() throws {
        let a = try loss(BradleyTerry(labelSmoothing: 0.1), [0.3, -0.9], 1, [.init(label: .preference(margin: 0, probability: 0.8))])
        let b = try loss(BradleyTerry(labelSmoothing: 0.1), [-0.9, 0.3], 1, [.init(label: .preference(margin: 0, probability: 0.2))])
        #expect(abs(a.value - b.value) < 1e-12 && abs(a.readoutGradient[0] - b.readoutGradient[1]) < 1e-12, "\(a.value) and \(b.value)")
    }

    @Test("two ranked completions under Plackett–Luce are Bradley–Terry; three are worked by hand") func plackettLuce() throws {
        let pair = try loss(PlackettLuce(), [0.4, 1.1], 1, [.init(label: .ranking([2, 1]))])
        let same = try loss(BradleyTerry(), [0.4, 1.1], 1, [.init(label: .ranking([2, 1]))])
        #expect(abs(pair.value - same.value) < 1e-12, "\(pair.value) and \(same.value)")
        // Rewards log 3, log 2, 0 in this order: P = 3/6 · 2/3 = 1/3, L = log 3.
        let three = try loss(PlackettLuce(), [log(3.0), log(2.0), 0], 1, [.init(label: .ranking([1, 2, 3]))])
        #expect(abs(three.value - log(3.0)) < 1e-12, "\(three.value) and \(log(3.0))")
        // Both first places from all three: (3/6)·(2/6) = 1/6.
        let tied = try loss(PlackettLuce(), [log(3.0), log(2.0), 0], 1, [.init(label: .ranking([1, 1, 2]))])
        #expect(abs(tied.value - log(6.0)) < 1e-12, "\(tied.value) and \(log(6.0))")
    }

    @Test("K ranked completions weigh as one row: the mean over their pairs") func ranking() throws {
        // Rewards 1, 0, −1 in order: pairs with u = 1, 2, 1.
        let found = try loss(BradleyTerry(), [1, 0, -1], 1, [.init(label: .ranking([1, 2, 3]))]).value
        let expected = (2 * log1p(exp(-1.0)) + log1p(exp(-2.0))) / 3
        #expect(abs(found - expected) < 1e-12, "\(found) and \(expected)")
    }

    @Test("regression and process reward worked by hand") func others() throws {
        // (1 − 3)² and (2 − 1)², one score missing: (4 + 1) / 2.
        let regression = try loss(ScoreRegression(), [1, 2, 7, 9], 2, [.init(label: .scores([[3, 1], [nil, nil]]))])
        #expect(regression.value == 2.5 && regression.readoutGradient == [-2, 1, 0, 0], "\(regression.value), \(regression.readoutGradient)")
        // r = 0 and 0: log 2 each, half of two labels; the middle step has none.
        let process = try loss(ProcessReward(), [0, 5, 0], 1, [.init(label: .steps([1, nil, 0]))])
        #expect(abs(process.value - log(2.0)) < 1e-12 && process.readoutGradient == [-0.25, 0, 0.25], "\(process.value), \(process.readoutGradient)")
    }

    @Test("metrics under TRL's names: extremes are extremes, a tie is half right") func metrics() throws {
        let row = RewardReadouts.Row(label: .preference(margin: 0, probability: 1))
        var metrics = try loss(BradleyTerry(), [2, -1, 0.5, 0.5], 1, [row, row]).metrics
        metrics.add(try loss(BradleyTerry(), [-3, 4], 1, [row]).metrics)
        let found = ["min_reward", "mean_reward", "max_reward", "accuracy", "margin"].map { metrics[$0] ?? .nan }
        let expected: [Double] = [-3, 0.5, 4, 0.5, -4.0 / 3]
        #expect(found == expected, "\(found) and \(expected)")
    }

    @Test("a reward that is not finite is named") func notFinite() throws {
        #expect(throws: ObjectiveError.notFinite(objective: "bradley-terry", quantity: "the reward", row: 1)) {
            try loss(BradleyTerry(), [0, 1, .nan, 0], 1, [.init(label: .ranking([1, 2])), .init(label: .ranking([1, 2]))])
        }
    }

    @Test("calibration by hand") func calibration() {
        // Two pairs with σ(|Δ|) = 0.75, one right: accuracy 0.5, error 0.25.
        let found = Calibration(margins: [log(3.0), -log(3.0)])
        #expect(abs(found.error - 0.25) < 1e-12 && found.bins[4].count + found.bins[5].count == 2, "\(found)")
    }
}
