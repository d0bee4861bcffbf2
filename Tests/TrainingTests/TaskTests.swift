import Models
import Serialization
import Testing

@testable import Training

@Suite("Tasks") struct TaskTests {
    static let rows = [
        PairRow(prompt: [1, 2], chosen: [3, 4, 5], rejected: [3, 6]), PairRow(prompt: [], chosen: [2, 2, 7], rejected: [9, 1]),
        PairRow(prompt: [8], chosen: [8], rejected: [1, 2, 3, 4]),
    ]
    static let reference = [(chosen: -6.5, rejected: -5.5), (-5.0, -2.0), (-2.5, -9.0)]

    /// Some tokens do not count.
    static let masked = rows.map { row in
        var row = row
        (row.chosenMask, row.rejectedMask) = (row.chosen.indices.map { $0 != 1 }, row.rejected.indices.map { $0 != 2 })
        return row
    }

    static func tasks() -> [any TrainingTask] {
        [
            PairTask(rows: rows, reference: reference, objective: DPO(beta: 0.4, labelSmoothing: 0.1)),
            PairTask(rows: rows, reference: reference, objective: DPO(beta: 0.4), sharesPrefixes: false),
            PairTask(rows: rows, reference: reference, objective: IPO(beta: 0.3)),
            PairTask(rows: rows, reference: reference, objective: IPO(beta: 0.3, norm: .sum), sharesPrefixes: false),
            PairTask(rows: masked, reference: masked.map { _ in (0, 0) }, objective: ORPO(beta: 0.6)),
            PairTask(rows: masked, reference: reference, objective: AOT(beta: 0.4, labelSmoothing: 0.1), sharesPrefixes: false),
            UnpairedTask(
                rows: rows.map { UnpairedRow(prompt: $0.prompt, completion: $0.chosen, isDesirable: $0.chosen.count == 3) }, objective: APOZeroUnpaired(beta: 0.4),
                reference: reference.map { $0.0 }, maxLength: 20),
            SupervisedTask(rows: rows.map { SupervisedRow(tokens: $0.prompt + $0.chosen, mask: ($0.prompt + $0.chosen).indices.map { $0 % 2 == 1 }) }),
        ]
    }

    @Test("∂L/∂θ through batch, objective and policy agrees with finite differences", .tags(.gradient), arguments: 0..<8)
    func gradient(index: Int) throws {
        let task = Self.tasks()[index]
        let policy = TablePolicy(vocabulary: 11, seed: 2)
        let totals = (0..<3).map { task.totals(of: $0) }.reduce(StepTotals(), +)
        func loss() throws -> Double { try task.loss(policy.scores(of: task.batch([0, 1, 2])), rows: [0, 1, 2], step: totals).value }
        let scores = try policy.logProbs(of: task.batch([0, 1, 2]))
        #expect(scores.logProbs.values.count == totals.tokens, "\(scores.logProbs.values.count) log-probs, totals say \(totals.tokens)")
        try policy.backward(task.loss(scores, rows: [0, 1, 2], step: totals).gradient.values)
        for i in 0..<policy.weights.count {
            let center = policy.weights.base[i]
            var failed = false
            let numeric = numericalDerivative(at: 0, step: 1.0 / 64) { shift in
                policy.weights.base[i] = center + Float(shift)
                guard let value = try? loss() else {
                    failed = true
                    return 0
                }
                return value
            }
            policy.weights.base[i] = center
            let analytic = Double(policy.gradients.base[i])
            #expect(!failed && abs(analytic - numeric) < 2e-5 * max(1, abs(numeric)), "θ[\(i)]: analytic \(analytic), numeric \(numeric)")
        }
    }

    @Test("prompts are shared, or not; either way the rows are the same") func layout() throws {
        let shared = PairTask(rows: Self.rows, reference: Self.reference, objective: DPO()).batch([0, 2])
        let apart = PairTask(rows: Self.rows, reference: Self.reference, objective: DPO(), sharesPrefixes: false).batch([0, 2])
        #expect(shared.tokenCount == 2 + 3 + 2 + 1 + 1 + 4 && apart.tokenCount == 2 * 2 + 5 + 2 * 1 + 5)
        #expect(shared.plainTokenCount == apart.plainTokenCount && shared.plainTokenCount == Self.rows[0].plainTokens + Self.rows[2].plainTokens)
        #expect(shared.targets == [3, 4, 5, 8, 3, 6, 1, 2, 3, 4] && shared.targets == apart.targets)
        #expect(shared.rowOffsets == [0, 3, 4, 6, 10])
    }

    @Test("an epoch takes every row once, in an order of its own") func order() {
        var settings = TrainingSettings(learningRate: 1)
        (settings.batchSize, settings.accumulationSteps, settings.seed) = (3, 2, 4)
        var order = BatchOrder(rows: 14, settings: settings)
        let first = (0..<3).map { order.microBatches(of: $0) }, second = (3..<6).map { order.microBatches(of: $0) }
        #expect(first.map { $0.map(\.count) } == [[3, 3], [3, 3], [2]])
        #expect(first.joined().joined().sorted() == Array(0..<14) && second.joined().joined().sorted() == Array(0..<14))
        #expect(Array(first.joined().joined()) != Array(second.joined().joined()))
        var again = BatchOrder(rows: 14, settings: settings)
        #expect(again.microBatches(of: 4) == second[1])  // a resumed run jumps in anywhere
        settings.shuffles = false
        var plain = BatchOrder(rows: 14, settings: settings)
        #expect(plain.microBatches(of: 3) == [[0, 1, 2], [3, 4, 5]])
    }

    @Test("a dumped row reads as the same row") func dump() {
        let task = PairTask(rows: Self.rows, reference: Self.reference, objective: DPO())
        #expect(task.record(of: 0) == ["prompt_ids": [1, 2], "chosen_ids": [3, 4, 5], "rejected_ids": [3, 6]])
    }
}
