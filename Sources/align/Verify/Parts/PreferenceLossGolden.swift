import Foundation
import Models
import Serialization
import Training

/// `dpo.json`, `reference_free.json` and their like: B pairs of per-token log-probs, the chosen rows before the rejected ones.
///
/// A case is read as settings of `align dpo`: what is compared is what those settings train.
struct PreferenceLossGolden {
    let rows: PaddedRows
    let policy: Ragged
    /// Zeros where the file has none.
    let reference: Ragged
    let logSumSquares: Ragged?
    let B: Int
    let tolerances: LossTolerances
    private var file: GoldenFile { rows.file }

    static func fits(_ file: GoldenFile) -> Bool {
        let name = (file.path as NSString).lastPathComponent
        return name == "dpo.json" || name == "reference_free.json"
            || ["B", "T", "policy_logps", "reference_logps"].allSatisfy { file.json[$0] != nil }
    }

    init(_ file: GoldenFile) throws {
        rows = try PaddedRows(file)
        B = try file.root.member("B").integer()
        if let T = file.root.optional("T") {
            let T = try T.integer()
            guard T == rows.width else { throw GoldenError.wrongKind(file: file.path, path: "/T", found: "\(T)", expected: "\(rows.width), as the mask has") }
        }
        guard B > 0, rows.lengths.count == 2 * B else {
            throw GoldenError.wrongKind(file: file.path, path: "/mask", found: "\(rows.lengths.count) rows", expected: "2·B = \(2 * B)")
        }
        policy = try rows.ragged("policy_logps")
        let isReferenceFree = file.root.optional("reference_logps") == nil && (file.path as NSString).lastPathComponent == "reference_free.json"
        reference = isReferenceFree ? Ragged(rows: rows.lengths.map { [Double](repeating: 0, count: $0) }) : try rows.ragged("reference_logps")
        logSumSquares = file.root.optional("log_sum_sq_probs") == nil ? nil : try rows.ragged("log_sum_sq_probs")
        tolerances = LossTolerances(file.root)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        for node in try file.root.member("cases").elements() {
            let type = try node.member("loss_type").text()
            let name = "\(label) \(type) \(try node.parametersText())"
            guard let settings = try Self.settings(type, node) else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { try compare(node, settings.filled.pairObjective(), &$0) }
        }
    }

    /// Names of cases that are settings of another loss.
    private static let aliases: [String: [(setting: String, value: JSON)]] = [
        "cdpo": [("loss", "sigmoid")], "ipo_sum": [("loss", "ipo"), ("ipo-norm", "sum")], "rpo": [("loss", "sigmoid")],
        "slic_hinge_reference_free": [("loss", "hinge")],
    ]
    /// Names of parameters that differ from those of settings.
    private static let parameters = [
        "label_smoothing": "label-smoothing", "discopop_tau": "discopop-tau", "ld_alpha": "ld-alpha", "f_divergence": "f-divergence",
        "f_alpha": "f-alpha", "wpo_weights": "wpo", "rpo_alpha": "nll-coefficient", "gamma": "simpo-gamma", "nll_alpha": "cpo-alpha",
        "loss_weights": "loss-weights", "beta": "beta",
    ]

    /// What a case's name and parameters mean here; nil for those this build does not have.
    private static func settings(_ type: String, _ node: GoldenNode) throws -> PreferenceSettings? {
        var settings = PreferenceSettings()
        func set(_ name: String, _ value: JSON) throws -> Bool {
            guard let field = PreferenceSettings.field(named: name) else { return false }
            do throws(SettingError) { try field.set(value, in: &settings) } catch { return false }
            return true
        }
        for (name, value) in aliases[type] ?? [("loss", .string(type.replacing("+", with: ",")))] {
            guard try set(name, value) else { return nil }
        }
        for (key, value) in try node.member("params").members() where key != "loss_types" {
            // λ is the penalty of one loss and the weight of another.
            let name = key == "lambda" ? (type == "dpop" ? "dpop-lambda" : "beta") : parameters[key]
            guard let name, try set(name, value.json) else { return nil }
            value.markRead()
        }
        return settings
    }

    private func inputs(_ objective: PreferenceObjective, pairs: [Int]) -> PairLogProbs {
        let shared = pairs.map { min(policy.count($0), policy.count(B + $0)) }
        let (chosen, rejected) = (pairs, pairs.map { B + $0 })
        let sums = zip(chosen + rejected, shared + shared).map { LengthDesensitisation.sum(reference[$0], shared: $1, tailWeight: objective.tailWeight) }
        let squares = logSumSquares.map { squares in (chosen + rejected).flatMap { Array(squares[$0]) } }
        return PairLogProbs(
            logProbs: Ragged(rows: (chosen + rejected).map { Array(policy[$0]) }), reference: sums, logSumSquares: objective.needsSumSquares ? squares : nil)
    }

    private func evaluate(_ objective: PreferenceObjective, pairs: [Int]) throws -> Loss {
        let tokens = pairs.reduce(0) { $0 + policy.count($1) }
        return try objective(inputs(objective, pairs: pairs), step: StepTotals(pairs: pairs.count, tokens: tokens, chosenTokens: tokens))
    }

    private func compare(_ node: GoldenNode, _ objective: PreferenceObjective, _ recorder: inout CaseRecorder) throws {
        if objective.needsSumSquares, logSumSquares == nil { throw GoldenError.missing(file: file.path, path: "/log_sum_sq_probs") }
        let loss = try evaluate(objective, pairs: Array(0..<B))
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), tolerances.loss)
        for (key, first) in [("grad_chosen", 0), ("grad_rejected", B)] {
            let golden = try node.member(key).rows()
            recorder.equal("rows of \(key)", B, golden: golden.count)
            try rows.compare(node, key, loss.gradient, from: first, tolerances.gradient, &recorder)
        }
        // One pair at a time: per-example losses and rewards.
        let alone = try (0..<B).map { try evaluate(objective, pairs: [$0]) }
        if let golden = node.optional("per_example_loss") {
            // Likelihood terms are means over the step's tokens, and not in them.
            let likelihood = objective.terms.reduce(0) { $0 + $1.weight * $1.loss.likelihoodWeight }
            let values = alone.map { likelihood == 0 ? $0.value : $0.value - likelihood * ($0.metrics["nll_loss"] ?? 0) }
            recorder.compare("per_example_loss", values, golden: try golden.numbers(), tolerances.loss)
        }
        // The goldens' rewards are of plain sums, whatever the loss makes of the longer side's tail.
        var plain = objective
        plain.tailWeight = 1
        let rewarded = try objective.tailWeight == 1 ? alone : (0..<B).map { try evaluate(plain, pairs: [$0]) }
        for (key, metric) in [("rewards_chosen", "rewards/chosen"), ("rewards_rejected", "rewards/rejected")] {
            guard let golden = node.optional(key) else { continue }
            recorder.compare(key, rewarded.map { $0.metrics[metric] ?? .nan }, golden: try golden.numbers(), tolerances.loss)
        }
    }
}

/// `kto.json` and its like: single completions with labels, and the sums of mismatched ones.
struct UnpairedLossGolden {
    let rows: PaddedRows
    let policy: Ragged, reference: Ragged
    let labels: [Bool]
    let tolerances: LossTolerances

    static func fits(_ file: GoldenFile) -> Bool { ["label", "policy_logps", "reference_logps", "cases"].allSatisfy { file.json[$0] != nil } }

    init(_ file: GoldenFile) throws {
        rows = try PaddedRows(file)
        policy = try rows.ragged("policy_logps")
        reference = try rows.ragged("reference_logps")
        labels = try file.root.member("label").integers().map { $0 == 1 }
        guard labels.count == policy.rows else {
            throw GoldenError.wrongKind(file: file.path, path: "/label", found: "\(labels.count) labels", expected: "\(policy.rows)")
        }
        tolerances = LossTolerances(file.root)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        for node in try rows.file.root.member("cases").elements() {
            let type = try node.member("loss_type").text()
            let name = "\(label) \(type) \(try node.parametersText())"
            var settings = PreferenceSettings(loss: type)
            guard PreferenceLoss.named(type)?.isUnpaired == true else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            settings.beta = try node.parameter("beta")
            settings.desirableWeight = try node.parameter("desirable_weight")
            settings.undesirableWeight = try node.parameter("undesirable_weight")
            guard let objective = settings.filled.unpairedObjective() else { continue }
            context.test(name) { try compare(node, objective, &$0) }
        }
    }

    private func compare(_ node: GoldenNode, _ given: any UnpairedObjective, _ recorder: inout CaseRecorder) throws {
        var objective = given
        let mismatched = zip(try node.member("kl_policy_logps").numbers(), try node.member("kl_reference_logps").numbers()).map { $0 - $1 }
        if case .mismatchedKL = type(of: objective).anchoring {
            objective.anchor = max(0, mismatched.reduce(0, +) / Double(max(1, mismatched.count)))
        }
        recorder.compare("z0", objective.anchor, golden: try node.member("z0").number(), tolerances.loss)
        let loss = try evaluate(objective, Array(labels.indices))
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), tolerances.loss)
        try rows.compare(node, "grad", loss.gradient, tolerances.gradient, &recorder)
        let alone = try labels.indices.map { try evaluate(objective, [$0]) }
        if let golden = node.optional("per_example_loss") {
            recorder.compare("per_example_loss", alone.map(\.value), golden: try golden.numbers(), tolerances.loss)
        }
        if let golden = node.optional("rewards") {
            let rewards = alone.map { $0.metrics["rewards/chosen"] ?? $0.metrics["rewards/rejected"] ?? .nan }
            recorder.compare("rewards", rewards, golden: try golden.numbers(), tolerances.loss)
        }
    }

    private func evaluate(_ objective: some UnpairedObjective, _ indices: [Int]) throws -> Loss {
        let inputs = UnpairedLogProbs(
            logProbs: Ragged(rows: indices.map { Array(policy[$0]) }), reference: indices.map { reference.sum($0) }, labels: indices.map { labels[$0] })
        return try objective(inputs, step: StepTotals(pairs: indices.count))
    }
}
