import Foundation
import Tensors
import Testing

@testable import Models

/// What may be drawn: rules worked by hand.
@Suite("Token filter") struct TokenFilterTests {
    /// Probabilities ½, ¼, ⅛, ⅛ at temperature 1.
    private let logits = [Float(log(0.5)), Float(log(0.25)), Float(log(0.125)), Float(log(0.125))]

    private func kept(prompt: [Int32] = [], completion: [Int32] = [], _ change: (inout Sampling) -> Void) throws -> TokenDistribution {
        var sampling = Sampling()
        change(&sampling)
        return TokenDistribution(logits, sampling: sampling, prompt: prompt, completion: completion, compute: try Compute(threads: 1))
    }

    private func near(_ found: TokenDistribution, _ tokens: [Int32], _ probabilities: [Double]) -> Bool {
        found.tokens == tokens && zip(found.probabilities, probabilities).allSatisfy { abs($0 - $1) < 1e-6 }
    }

    @Test("filters") func filters() throws {
        let (two, one) = (2.0 / 3, 1.0 / 3)
        typealias Change = (inout Sampling) -> Void
        var cases: [(change: Change, tokens: [Int32], probabilities: [Double])] = []
        func expect(_ tokens: [Int32], _ probabilities: [Double], _ change: @escaping Change) { cases.append((change, tokens, probabilities)) }
        expect([0, 1], [two, one]) { $0.topK = 2 }
        expect([0, 1, 2, 3], [0.5, 0.25, 0.125, 0.125]) { $0.topK = 3 }  // the third and the fourth tie
        expect([0, 1], [two, one]) { $0.topP = 0.74 }
        expect([0, 1], [two, one]) { $0.minP = 0.3 }
        expect([0, 1], [two, one]) { ($0.topP, $0.minP) = (0.8, 0.3) }  // top-p keeps all, min-p two
        // Entropy 1.75 bits; surprises 1, 2, 3, 3 lie 0.75, 0.25, 1.25, 1.25 from it.
        expect([1], [1]) { $0.typicalP = 0.2 }
        expect([0, 1], [two, one]) { $0.typicalP = 0.6 }
        expect([0, 1], [two, one]) { $0.epsilonCutoff = 0.2 }
        expect([0], [1]) { $0.epsilonCutoff = 0.9 }
        // min(0.5, √0.5·e^(−1.213)) = 0.2102
        expect([0, 1], [two, one]) { $0.etaCutoff = 0.5 }
        expect([0], [1]) { $0.temperature = 0 }
        expect([0, 1, 2, 3], [16, 4, 1, 1].map { $0 / 22.0 }) { $0.temperature = 0.5 }  // squares
        for (change, tokens, probabilities) in cases {
            let found = try kept(change)
            #expect(near(found, tokens, probabilities), "\(found.tokens) \(found.probabilities), expected \(tokens) \(probabilities)")
        }
    }

    @Test("penalties and what is forbidden") func penalties() throws {
        // Negative logits are multiplied: ½ becomes ¼, relative to ¼, ⅛, ⅛.
        let repeated = try kept(prompt: [0, 0], { $0.repetitionPenalty = 2 })
        let (third, sixth) = (1.0 / 3, 1.0 / 6)
        let isHalved = near(repeated, [0, 1, 2, 3], [third, third, sixth, sixth])
        #expect(isHalved, "\(repeated.probabilities)")
        // The prompt does not count; token 0 is there twice, 1 once.
        let two = log(2.0)
        let frequent = try kept(prompt: [2], completion: [0, 1, 0], { ($0.frequencyPenalty, $0.presencePenalty) = (two / 2, two / 2) })
        let weights: [Double] = [0.5 * exp(-1.5 * two), 0.125, 0.125, 0.125]
        let sum: Double = weights.reduce(0, +)
        let expected = weights.map { $0 / sum }
        let isLowered = near(frequent, [0, 1, 2, 3], expected)
        #expect(isLowered, "\(frequent.probabilities), expected \(expected)")
        // "1 2" was followed by 3, then by 0.
        #expect(try kept(prompt: [1, 2, 3, 1, 2, 0], completion: [1, 2], { $0.noRepeatNgram = 3 }).tokens == [1, 2])
        #expect(try kept(completion: [1], { ($0.minNewTokens, $0.stopIDs) = (2, [0]) }).tokens == [1, 2, 3])
        #expect(try kept(completion: [1, 1], { ($0.minNewTokens, $0.stopIDs) = (2, [0]) }).tokens == [0, 1, 2, 3])
        #expect(try kept(completion: [1], { ($0.minNewTokens, $0.stopIDs) = (2, [0, 1, 2, 3]) }).tokens == [0, 1, 2, 3], "a rule that forbids all is none")
    }

    @Test("draws follow the distribution, their log-probs the model's") func draws() throws {
        var sampling = Sampling()
        (sampling.topK, sampling.repetitionPenalty) = (2, 2)
        let row = Matrix(rows: 1, columns: 4)
        row.copy(from: logits)
        let drawing = Drawing(rows: 500, vocabulary: 4, compute: try Compute(threads: 2)), rules = drawing.rules(sampling)
        var counts = [Int32: Int]()
        for round in 0..<8 {
            for i in 0..<500 { drawing.ask(row: i, logits: 0, rules: rules, stream: UInt64(i), prompt: [0], index: round) }
            drawing.draw(row, rows: 500)
            for (token, logProb) in drawing.drawn {
                counts[token, default: 0] += 1
                #expect(abs(logProb - Double(logits[Int(token)])) < 1e-6, "token \(token): \(logProb), expected \(logits[Int(token)])")
            }
        }
        // ½² against ¼: even; of 4000, 2000 ± 5 standard deviations of 32
        #expect(Set(counts.keys) == [0, 1] && abs((counts[0] ?? 0) - 2000) < 160, "\(counts)")
    }
}
