import Foundation
import Models
import Serialization
import Training

/// `losses/*.json`: preference and fine-tuning losses with their gradients.
struct LossesPart: VerifyPart {
    static let folder = "losses"

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            let label = "losses/\(name.dropLast(5))"
            context.guarded(label) {
                let file = try GoldenFile("\(folder)/\(name)")
                if RewardLossGolden.fits(file) {
                    try RewardLossGolden(file).run(label, context)
                    return context.remember(uncompared: file.uncompared(), of: label)
                }
                guard PreferenceLossGolden.fits(file) else { return UncoveredPart.report("\(folder)/\(name)", as: label, context) }
                try PreferenceLossGolden(file).run(label, context)
                context.remember(uncompared: file.uncompared(), of: label)
            }
        }
    }
}

/// `dpo.json` and its like: B pairs of per-token log-probs, the chosen rows before the rejected ones.
struct PreferenceLossGolden {
    let file: GoldenFile
    let policy: Ragged, reference: Ragged
    /// Tokens of each row, from its start.
    let lengths: [Int]
    let B: Int, T: Int
    let lossTolerance: Tolerance, gradientTolerance: Tolerance

    /// Whether the file is of this kind: pairs, with a reference.
    static func fits(_ file: GoldenFile) -> Bool {
        (file.path as NSString).lastPathComponent == "dpo.json" || ["B", "T", "policy_logps", "reference_logps"].allSatisfy { file.json[$0] != nil }
    }

    init(_ file: GoldenFile) throws {
        self.file = file
        let root = file.root
        B = try root.member("B").integer()
        T = try root.member("T").integer()
        let mask = try root.member("mask").integerRows()
        guard B > 0, mask.count.isMultiple(of: 2), mask.count / 2 == B else {
            throw GoldenError.wrongKind(file: file.path, path: "/mask", found: "\(mask.count) rows", expected: "2·B = \(2 * B)")
        }
        var lengths: [Int] = []
        for (r, row) in mask.enumerated() {
            let length = row.prefix { $0 == 1 }.count
            guard row.count == T, row.dropFirst(length).allSatisfy({ $0 == 0 }) else {
                throw GoldenError.wrongKind(file: file.path, path: "/mask/\(r)", found: "\(row)", expected: "\(T) entries, ones before zeros")
            }
            lengths.append(length)
        }
        self.lengths = lengths
        func ragged(_ key: String) throws -> Ragged {
            let rows = try root.member(key).rows()
            guard rows.count == lengths.count else {
                throw GoldenError.wrongKind(file: file.path, path: "/" + key, found: "\(rows.count) rows", expected: "\(lengths.count)")
            }
            return Ragged(rows: try rows.indices.map { r in
                guard rows[r].count == mask[r].count, rows[r].dropFirst(lengths[r]).allSatisfy({ $0 == 0 }) else {
                    throw GoldenError.wrongKind(file: file.path, path: "/\(key)/\(r)", found: "values at masked positions", expected: "zeros there")
                }
                return Array(rows[r].prefix(lengths[r]))
            })
        }
        policy = try ragged("policy_logps")
        reference = try ragged("reference_logps")
        if root.optional("log_sum_sq_probs") != nil { _ = try ragged("log_sum_sq_probs") }
        // One number for both, or one for each.
        let common = root.tolerance(default: 1e-6)
        lossTolerance = .either(root.optional("tolerance")?.tolerance("loss", default: common) ?? common)
        gradientTolerance = .either(root.optional("tolerance")?.tolerance("grad", default: common) ?? common)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        for node in try file.root.member("cases").elements() {
            let type = try node.member("loss_type").text()
            let parameters = try node.member("params").members()
            let words = parameters.map { "\($0.key)=\($0.value.json.string ?? $0.value.json.text())" }.joined(separator: " ")
            let name = "\(label) \(type) \(words)"
            let given = Set(parameters.map(\.key))
            guard let loss = try Self.objective(type, node, given: given) else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { try compare(node, loss, &$0) }
        }
    }

    /// What a case's name and parameters mean here; nil for those this build does not have.
    private static func objective(_ type: String, _ node: GoldenNode, given: Set<String>) throws -> Kind? {
        let parameters = try node.member("params")
        func beta() throws -> Double { try parameters.member("beta").number() }
        switch (type, given) {
        case ("sigmoid", ["beta"]): return .pairs(DPO(beta: try beta()))
        case ("cdpo", ["beta", "label_smoothing"]), ("sigmoid", ["beta", "label_smoothing"]):
            return .pairs(DPO(beta: try beta(), labelSmoothing: try parameters.member("label_smoothing").number()))
        case ("ipo", ["beta"]): return .pairs(IPO(beta: try beta(), norm: .mean))
        case ("ipo_sum", ["beta"]): return .pairs(IPO(beta: try beta(), norm: .sum))
        // The rewards printed beside it are β times the log-ratios, as for any pair.
        case ("sft", _) where given.subtracting(["beta"]).isEmpty: return .supervised(rewards: DPO(beta: try beta()))
        default: return nil
        }
    }

    private enum Kind {
        case pairs(any PairObjective)
        case supervised(rewards: any PairObjective)
    }

    private func compare(_ node: GoldenNode, _ kind: Kind, _ recorder: inout CaseRecorder) throws {
        let whole = PairLogProbs(logProbs: policy, reference: (0..<2 * B).map { reference.sum($0) })
        let loss: Loss
        let pairs: any PairObjective
        switch kind {
        case let .pairs(objective):
            pairs = objective
            loss = try objective(whole, step: StepTotals(pairs: B))
        case let .supervised(objective):
            pairs = objective
            let chosen = Ragged(rows: (0..<B).map { Array(policy[$0]) })
            var own = try CrossEntropy()(chosen, step: StepTotals(tokens: chosen.values.count))
            // The rejected rows take no part.
            own.gradient = Ragged(rows: (0..<2 * B).map { $0 < B ? Array(own.gradient[$0]) : policy[$0].map { _ in 0 } })
            loss = own
        }
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), lossTolerance)
        for (key, first) in [("grad_chosen", 0), ("grad_rejected", B)] {
            let golden = try node.member(key).rows()
            recorder.equal("rows of \(key)", B, golden: golden.count)
            for i in 0..<min(B, golden.count) {
                let row = Array(loss.gradient[first + i])
                recorder.compare("\(key)[\(i)]", row + [Double](repeating: 0, count: max(0, T - row.count)), golden: golden[i], gradientTolerance)
            }
        }
        // One pair at a time: per-example losses and rewards.
        let alone = try (0..<B).map { i in
            let rows = Ragged(rows: [Array(policy[i]), Array(policy[B + i])])
            return try pairs(PairLogProbs(logProbs: rows, reference: [reference.sum(i), reference.sum(B + i)]), step: StepTotals(pairs: 1))
        }
        if case .pairs = kind, let golden = node.optional("per_example_loss") {
            recorder.compare("per_example_loss", alone.map(\.value), golden: try golden.numbers(), lossTolerance)
        }
        for (key, metric) in [("rewards_chosen", "rewards/chosen"), ("rewards_rejected", "rewards/rejected")] {
            guard let golden = node.optional(key) else { continue }
            recorder.compare(key, alone.map { $0.metrics[metric] ?? .nan }, golden: try golden.numbers(), lossTolerance)
        }
    }
}
