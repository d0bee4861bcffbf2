import Foundation
import Models
import Training

/// `reward.json` and its like: B pairs of rewards, the chosen ones first, under Bradley–Terry with its knobs, and AFM's gradings.
struct RewardLossGolden {
    let file: GoldenFile
    let rewards: [Double]
    let B: Int
    let lossTolerance: Tolerance, gradientTolerance: Tolerance

    /// Whether the file is of this kind: rewards, and neither log-probs nor values.
    static func fits(_ file: GoldenFile) -> Bool {
        (file.path as NSString).lastPathComponent == "reward.json"
            || (file.json["rewards"] != nil && file.json["B"] != nil && file.json["policy_logps"] == nil && file.json["cases"] != nil
                && file.json["T"] == nil)
    }

    init(_ file: GoldenFile) throws {
        self.file = file
        B = try file.root.member("B").integer()
        rewards = try file.root.member("rewards").numbers()
        guard B > 0, rewards.count.isMultiple(of: 2), rewards.count / 2 == B else {
            throw GoldenError.wrongKind(file: file.path, path: "/rewards", found: "\(rewards.count) numbers", expected: "2·B = \(2 * B)")
        }
        let common = file.root.tolerance(default: 1e-6)
        lossTolerance = .either(file.root.optional("tolerance")?.tolerance("loss", default: common) ?? common)
        gradientTolerance = .either(file.root.optional("tolerance")?.tolerance("grad", default: common) ?? common)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        for node in try file.root.member("cases").elements() {
            let type = try node.member("loss_type").text()
            let parameters = try node.member("params").members()
            let name = "\(label) \(type) \(parameters.map { "\($0.key)=\($0.value.json.array == nil ? $0.value.json.text() : "…")" }.joined(separator: " "))"
            let known: Set = ["margin", "centering", "target_probability", "levels", "level_probabilities", "label_smoothing"]
            guard ["bradley_terry", "label_smoothing", "afm_soft_labels"].contains(type), known.isSuperset(of: parameters.map(\.key)) else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { try compare(node, &$0) }
        }
        if let gradings = file.root.optional("single_sided_grading") {
            context.test("\(label) single_sided_grading") { try compare(gradings: gradings, &$0) }
        }
    }

    // MARK: Pairs

    /// Margins and probabilities of the pairs of a case.
    private func labels(_ node: GoldenNode, _ recorder: inout CaseRecorder) throws -> [RewardLabel] {
        let parameters = try node.member("params")
        var margins = [Double](repeating: 0, count: B), probabilities = [Double](repeating: 1, count: B)
        if let flag = parameters.optional("margin") {
            if flag.json.array != nil { margins = try flag.numbers() } else if try flag.bool() { margins = try file.root.member("margin").numbers() }
        }
        if let stated = parameters.optional("target_probability") { probabilities = try stated.numbers() }
        if let levels = parameters.optional("levels"), let table = parameters.optional("level_probabilities") {
            let table = try table.numbers()
            recorder.compare("level_probabilities", RewardLabelTables.afm, golden: table, .absolute(1e-12))
            let levels = try levels.integers()
            guard levels.allSatisfy(table.indices.contains) else {
                throw GoldenError.wrongKind(file: file.path, path: levels.description, found: "levels", expected: "0 to \(table.count - 1)")
            }
            recorder.compare("target_probability", levels.map { RewardLabelTables.afm[$0] }, golden: probabilities, .absolute(1e-12))
        }
        guard margins.count == B, probabilities.count == B else {
            throw GoldenError.wrongKind(file: file.path, path: node.path, found: "\(margins.count) margins, \(probabilities.count) probabilities", expected: "\(B)")
        }
        return (0..<B).map { .preference(margin: margins[$0], probability: probabilities[$0]) }
    }

    /// The pairs side by side, as rows of two points.
    private func inputs(_ labels: [RewardLabel], _ pairs: Range<Int>) -> RewardReadouts {
        RewardReadouts(values: pairs.flatMap { [rewards[$0], rewards[B + $0]] }, outputs: 1, rows: pairs.map { .init(label: labels[$0]) })
    }

    private func compare(_ node: GoldenNode, _ recorder: inout CaseRecorder) throws {
        var objective = BradleyTerry()
        objective.centering = try node.member("params").optional("centering")?.number() ?? 0
        objective.labelSmoothing = try node.member("params").optional("label_smoothing")?.number() ?? 0
        let labels = try labels(node, &recorder)
        let loss = try objective(inputs(labels, 0..<B), step: StepTotals(pairs: B))
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), lossTolerance)
        for (key, side) in [("grad_chosen", 0), ("grad_rejected", 1)] {
            let found = (0..<B).map { loss.readoutGradient[2 * $0 + side] }
            recorder.compare(key, found, golden: try node.member(key).numbers(), gradientTolerance)
        }
        if let golden = node.optional("accuracy") { recorder.compare("accuracy", loss.metrics["accuracy"] ?? .nan, golden: try golden.number(), lossTolerance) }
        for (key, centering) in [("per_example_loss_without_centering", 0), ("per_example_loss", objective.centering)] {
            guard let golden = node.optional(key) else { continue }
            var alone = objective
            alone.centering = centering
            let found = try (0..<B).map { try alone(inputs(labels, $0..<$0 + 1), step: StepTotals(pairs: 1)).value }
            recorder.compare(key, found, golden: try golden.numbers(), lossTolerance)
        }
    }

    // MARK: Gradings

    private func compare(gradings node: GoldenNode, _ recorder: inout CaseRecorder) throws {
        let logits = try node.member("head_logits").flattened()
        let grades = try node.member("grades").integerRows().map { $0.map { $0 < 0 ? nil : $0 } }
        let outputs = 1 + Grading.outputs
        guard grades.count == 2 * B, logits.count == 2 * B * Grading.outputs,
            grades.allSatisfy({ $0.count == Grading.aspects.count && $0.allSatisfy { $0 ?? 0 < Grading.classes } })
        else {
            throw GoldenError.wrongKind(file: file.path, path: node.path, found: "other shapes", expected: "2·B completions, four grades, three classes")
        }
        func inputs(_ pairs: Range<Int>) -> RewardReadouts {
            let rows = pairs.flatMap { [$0, B + $0] }
            return RewardReadouts(
                values: rows.flatMap { [rewards[$0]] + logits[$0 * Grading.outputs..<($0 + 1) * Grading.outputs] }, outputs: outputs,
                rows: pairs.map { .init(label: .preference(margin: 0, probability: 1), grades: [grades[$0], grades[B + $0]]) })
        }
        let objective = BradleyTerry(gradeWeight: try node.member("lambda").number())
        let loss = try objective(inputs(0..<B), step: StepTotals(pairs: B))
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), lossTolerance)
        // Points lie pair by pair; the golden has the chosen side first.
        func point(_ row: Int) -> Int { row < B ? 2 * row : 2 * (row - B) + 1 }
        let gradient = loss.readoutGradient
        recorder.compare("grad_rewards", (0..<2 * B).map { gradient[point($0) * outputs] }, golden: try node.member("grad_rewards").numbers(), gradientTolerance)
        recorder.compare(
            "grad_head_logits", (0..<2 * B).flatMap { gradient[point($0) * outputs + 1..<(point($0) + 1) * outputs] },
            golden: try node.member("grad_head_logits").flattened(), gradientTolerance)
        let alone = try (0..<B).map { i in
            let pair = try BradleyTerry(gradeWeight: 1)(inputs(i..<i + 1), step: StepTotals(pairs: 1)).value
            return pair - (try BradleyTerry()(inputs(i..<i + 1), step: StepTotals(pairs: 1)).value)
        }
        recorder.compare("per_pair_regulariser", alone, golden: try node.member("per_pair_regulariser").numbers(), lossTolerance)
    }
}
