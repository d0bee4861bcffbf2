import Models
import Serialization
import Testing

@testable import Training

/// TRL's own loss code, in float64, on rounded log-probs.
@Suite("Loss goldens", .tags(.golden)) struct LossGoldenTests {
    /// The golden's padded rows as ragged ones, and a gradient back in the golden's layout.
    struct Golden {
        let json: JSON
        let mask: [[Double]], policy: Ragged, reference: [Double]
        init(_ json: JSON) {
            self.json = json
            let mask = json["mask"]!.rows
            func kept(_ key: String) -> [[Double]] { zip(json[key]!.rows, mask).map { zip($0, $1).filter { $0.1 != 0 }.map(\.0) } }
            self.mask = mask
            policy = Ragged(rows: kept("policy_logps"))
            reference = kept("reference_logps").map { $0.reduce(0, +) }
        }
        func padded(_ gradient: Ragged) -> [[Double]] {
            mask.prefix(gradient.rows).enumerated().map { row, mask in
                var values = gradient[row].makeIterator()
                return mask.map { $0 == 0 ? 0 : values.next() ?? .nan }
            }
        }
    }

    static func objective(_ type: String, _ parameters: JSON) -> (any PairObjective)? {
        let beta = parameters["beta"]?.double ?? 0.1
        switch type {
        case "sigmoid" where parameters.object?.count == 1: return DPO(beta: beta)
        case "cdpo": return DPO(beta: beta, labelSmoothing: parameters["label_smoothing"]?.double ?? 0)
        case "ipo": return IPO(beta: beta)
        case "ipo_sum": return IPO(beta: beta, norm: .sum)
        default: return nil
        }
    }

    @Test("sigmoid, cdpo, ipo and ipo_sum are TRL's") func pairLosses() throws {
        guard let json = try sharedGolden("losses/dpo.json") else { return }
        let golden = Golden(json)
        let B = golden.policy.rows / 2
        var seen: Set<String> = []
        for item in json["cases"]?.array ?? [] {
            guard let type = item["loss_type"]?.string, let objective = Self.objective(type, item["params"] ?? .null) else { continue }
            seen.insert(type)
            let inputs = PairLogProbs(logProbs: golden.policy, reference: golden.reference)
            let loss = try objective(inputs, step: StepTotals(pairs: B))
            let expected = item["loss"]?.double ?? .nan
            #expect(abs(loss.value - expected) < 1e-10, "\(type): \(loss.value), golden \(expected)")
            let gradient = golden.padded(loss.gradient)
            for (row, values) in ((item["grad_chosen"]?.rows ?? []) + (item["grad_rejected"]?.rows ?? [])).enumerated() {
                for (t, value) in values.enumerated() {
                    #expect(abs(gradient[row][t] - value) < 1e-10, "\(type) row \(row) token \(t): \(gradient[row][t]), golden \(value)")
                }
            }
            for (name, key) in [("rewards/chosen", "rewards_chosen"), ("rewards/rejected", "rewards_rejected")] {
                guard let rewards = item[key]?.doubles, !rewards.isEmpty else { continue }
                let mean = rewards.reduce(0, +) / Double(rewards.count)
                #expect(abs((loss.metrics[name] ?? .nan) - mean) < 1e-10, "\(type) \(name): \(loss.metrics[name] ?? .nan), golden \(mean)")
            }
        }
        #expect(seen == ["sigmoid", "cdpo", "ipo", "ipo_sum"])
    }

    @Test("cross-entropy is TRL's sft term over the chosen completions") func crossEntropy() throws {
        guard let json = try sharedGolden("losses/dpo.json") else { return }
        let golden = Golden(json)
        let B = golden.policy.rows / 2
        let chosen = Ragged(rows: (0..<B).map { Array(golden.policy[$0]) })
        let item = try #require(json["cases"]?.array?.first { $0["loss_type"]?.string == "sft" })
        let loss = try CrossEntropy()(chosen, step: StepTotals(tokens: chosen.values.count))
        let expected = item["loss"]?.double ?? .nan
        #expect(abs(loss.value - expected) < 1e-10, "\(loss.value), golden \(expected)")
        let gradient = golden.padded(loss.gradient).joined()
        for (value, expected) in zip(gradient, (item["grad_chosen"]?.rows ?? []).joined()) {
            #expect(abs(value - expected) < 1e-10, "\(value), golden \(expected)")
        }
    }
}
