import Models
import Testing

@testable import Training

@Suite("Lengths of pairs") struct PairLengthsTests {
    @Test("the longer one wins, half of a tie; within ten per cent is matched") func lengths() {
        #expect(PairLengths(chosen: 3, rejected: 2).longerWins == 1 && PairLengths(chosen: 2, rejected: 3).longerWins == 0)
        #expect(PairLengths(chosen: 2, rejected: 2).longerWins == 0.5)
        #expect(PairLengths(chosen: 11, rejected: 10).isMatched() && !PairLengths(chosen: 12, rejected: 10).isMatched())
        #expect(!PairLengths(chosen: 10, rejected: 12).isMatched() && PairLengths(chosen: 10, rejected: 12).isMatched(within: 1.2))
    }

    @Test("preference optimisation's evaluations say what length alone says; its training lines do not") func ofPairs() throws {
        // Chosen longer, rejected longer by one of ten, both as long: baseline (1 + 0 + ½)/3, two of three matched.
        let lengths = [(9, 4), (10, 11), (5, 5)]
        let rows = lengths.map { PairRow(prompt: [1], chosen: [Int32](repeating: 2, count: $0.0), rejected: [Int32](repeating: 3, count: $0.1)) }
        let task = PairTask(rows: rows, reference: [(0, 0), (-30, 0), (0, -30)], objective: DPO())
        let policy = TablePolicy(vocabulary: 5, seed: 1)
        let scores = try policy.scores(of: task.batch([0, 1, 2]))
        let metrics = try task.loss(scores, rows: [0, 1, 2], step: StepTotals(pairs: 3)).metrics
        let held = task.metrics(metrics, isEvaluation: true)
        #expect(held["length_baseline"] == 0.5 && held["length_matched"] == 2.0 / 3, "\(held.means)")
        // The references say that the second pair is won and the third lost by far.
        #expect(held["accuracy_length_matched"] == 0.5, "\(held["accuracy_length_matched"] ?? .nan)")
        let training = task.metrics(metrics, isEvaluation: false)
        for name in ["accuracy", "length_baseline", "length_matched", "accuracy_length_matched"] { #expect(training[name] == nil && held[name] != nil, "\(name)") }
        #expect(training["rewards/accuracies"] != nil)
    }
}
