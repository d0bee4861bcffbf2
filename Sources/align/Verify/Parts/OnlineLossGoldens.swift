import Foundation
import Models
import Serialization
import Training

/// `grpo.json`, `rloo.json` and their like: completions that an earlier policy sampled, in groups of one prompt.
struct PolicyLossGolden {
    let rows: PaddedRows
    let policy: Ragged, old: Ragged, reference: Ragged
    let rewards: [Double]
    let groupSize: Int
    let tolerances: LossTolerances
    private var file: GoldenFile { rows.file }

    static func fits(_ file: GoldenFile) -> Bool { ["group_size", "rewards", "policy_logps", "old_logps"].allSatisfy { file.json[$0] != nil } }

    init(_ file: GoldenFile) throws {
        rows = try PaddedRows(file)
        policy = try rows.ragged("policy_logps")
        old = try rows.ragged("old_logps")
        reference = try rows.ragged("reference_logps")
        rewards = try file.root.member("rewards").numbers()
        groupSize = try file.root.member("group_size").integer()
        let prompts = try file.root.member("num_prompts").integer()
        guard groupSize > 0, rewards.count == policy.rows, prompts * groupSize == policy.rows else {
            throw GoldenError.wrongKind(file: file.path, path: "/group_size", found: "\(prompts) × \(groupSize)", expected: "\(policy.rows) completions")
        }
        tolerances = LossTolerances(file.root)
    }

    private var step: StepTotals { StepTotals(pairs: policy.rows, tokens: policy.values.count) }

    func run(_ label: String, _ context: VerifyContext) throws {
        if let goldens = file.root.optional("advantages") {
            context.test("\(label) advantages") { recorder in
                for (key, golden) in try goldens.members() {
                    guard let scale = Advantages.Scale(rawValue: key) else {
                        recorder.fail("advantages", found: key, golden: "a scale that is known")
                        continue
                    }
                    let found = Advantages.groupRelative(rewards, groupSize: groupSize, scale: scale)
                    recorder.compare("advantages/\(key)", found, golden: try golden.numbers(), tolerances.loss)
                }
            }
        }
        if let check = file.root.optional("check") {
            context.test("\(label) check") { recorder in
                let rewards = try check.member("rewards").numbers()
                let golden = try check.member("rloo_advantages").numbers()
                recorder.compare("rloo_advantages", Advantages.leaveOneOut(rewards, groupSize: rewards.count), golden: golden, tolerances.loss)
            }
        }
        for node in try file.root.member("cases").elements() {
            let type = try node.member("loss_type").text()
            let name = "\(label) \(type) \(try node.parametersText())"
            if let variant = GRPO.Variant(rawValue: type) {
                context.test(name) { try compare(node, variant, &$0) }
            } else if ["rloo", "mdloo", "reinforce"].contains(type) {
                context.test(name) { try compare(node, type, &$0) }
            } else {
                node.markRead()
                context.report(.notYet(name))
            }
        }
    }

    private func compare(_ node: GoldenNode, _ variant: GRPO.Variant, _ recorder: inout CaseRecorder) throws {
        let parameters = try node.member("params")
        var objective = GRPO(variant)
        objective.clipLow = try node.parameter("epsilon_low") ?? objective.clipLow
        objective.clipHigh = try node.parameter("epsilon_high") ?? objective.clipHigh
        objective.beta = try node.parameter("beta") ?? 0
        objective.ratioLimit = try node.parameter("delta")
        objective.importance = GRPO.Importance(rawValue: try parameters.member("importance_sampling").text()) ?? .token
        if let length = parameters.optional("max_completion_length") { objective.maxCompletionLength = try length.integer() }
        objective.temperatures.positive = try node.parameter("temperature_pos") ?? objective.temperatures.positive
        objective.temperatures.other = try node.parameter("temperature_neg") ?? objective.temperatures.other
        guard let scale = Advantages.Scale(rawValue: try parameters.member("advantages").text()) else {
            return recorder.fail("advantages", found: try parameters.member("advantages").text(), golden: "a scale that is known")
        }
        let advantages = Advantages.groupRelative(rewards, groupSize: groupSize, scale: scale)
        let loss = try objective(PolicyLogProbs(logProbs: policy, old: old, reference: reference, advantages: advantages), step: step)
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), tolerances.loss)
        try rows.compare(node, "grad", loss.gradient, tolerances.gradient, &recorder)
        if let golden = node.optional("mean_kl_k3") { recorder.compare("mean_kl_k3", loss.metrics["kl"] ?? .nan, golden: try golden.number(), tolerances.loss) }
        if let golden = node.optional("clip_fraction") {
            // The golden's is a mean in single precision.
            recorder.compare("clip_fraction", loss.metrics["clip_ratio/region_mean"] ?? .nan, golden: try golden.number(), tolerances.loss)
        }
    }

    private func compare(_ node: GoldenNode, _ type: String, _ recorder: inout CaseRecorder) throws {
        let beta = try node.parameter("beta") ?? 0
        let kl = (0..<old.rows).map { old.sum($0) - reference.sum($0) }
        let shaped = zip(rewards, kl).map { $0 - beta * $1 }
        var advantages = Advantages.leaveOneOut(shaped, groupSize: groupSize)
        for (key, found) in [("sequence_kl", kl), ("rewards_with_kl", shaped), ("baselines", zip(shaped, advantages).map { $0 - $1 })] {
            guard let golden = node.optional(key) else { continue }
            recorder.compare(key, found, golden: try golden.numbers(), tolerances.loss)
        }
        if try node.member("params").optional("normalize_advantages")?.bool() == true { advantages = Advantages.normalised(advantages) }
        if type == "reinforce" {
            let mean = rewards.reduce(0, +) / Double(rewards.count)
            advantages = rewards.map { $0 - mean }
        }
        recorder.compare("advantages", advantages, golden: try node.member("advantages").numbers(), tolerances.loss)
        let inputs = PolicyLogProbs(logProbs: policy, old: old, reference: reference, advantages: advantages)
        let mdpo = MDPO(gamma: try node.parameter("gamma") ?? 0)
        let loss: Loss
        switch type {
        case "rloo": loss = try RLOO(clipRange: node.parameter("epsilon") ?? 0.2)(inputs, step: step)
        case "mdloo": loss = try mdpo(inputs, step: step)
        default: loss = try REINFORCE()(inputs, step: step)
        }
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), tolerances.loss)
        try rows.compare(node, "grad", loss.gradient, tolerances.gradient, &recorder)
        if let golden = node.optional("per_example_loss") {
            let alone = try (0..<policy.rows).map { row in
                func one(_ ragged: Ragged) -> Ragged { Ragged(rows: [Array(ragged[row])]) }
                return try mdpo(PolicyLogProbs(logProbs: one(policy), old: one(old), advantages: [advantages[row]]), step: StepTotals(pairs: 1)).value
            }
            recorder.compare("per_example_loss", alone, golden: try golden.numbers(), tolerances.loss)
        }
    }
}

/// `ppo.json` and its like: from scores to whitened advantages, and the two losses.
struct PPOGolden {
    let rows: PaddedRows
    let tolerances: LossTolerances
    private var file: GoldenFile { rows.file }

    static func fits(_ file: GoldenFile) -> Bool { ["old_values", "new_values", "old_logps", "score"].allSatisfy { file.json[$0] != nil } }

    init(_ file: GoldenFile) throws {
        rows = try PaddedRows(file)
        tolerances = LossTolerances(file.root)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        if let check = file.root.optional("gae_check") {
            context.test("\(label) gae_check") { recorder in
                let (rewards, values) = (try check.member("rewards").numbers(), try check.member("values").numbers())
                let gamma = try check.member("gamma").number()
                for (key, golden) in try check.members() where key.hasPrefix("lam_") {
                    guard let lambda = Double(key.dropFirst(4)) else { continue }
                    let found = Advantages.generalized(rewards: Ragged(rows: [rewards]), values: Ragged(rows: [values]), gamma: gamma, lambda: lambda)
                    recorder.compare(key, found.advantages.values, golden: try golden.numbers(), tolerances.loss)
                }
            }
        }
        if let cases = file.root.optional("adaptive_kl") {
            context.test("\(label) adaptive_kl") { recorder in
                for (i, node) in try cases.elements().enumerated() {
                    var controller = AdaptiveKL(
                        coefficient: try node.member("beta").number(), target: try node.member("target").number(), horizon: try node.member("horizon").number())
                    controller.update(kl: try node.member("kl").number(), samples: try node.member("n").integer())
                    recorder.compare("new_beta[\(i)]", controller.coefficient, golden: try node.member("new_beta").number(), tolerances.loss)
                }
            }
        }
        for node in try file.root.member("cases").elements() {
            context.test("\(label) \(try node.parametersText())") { try compare(node, &$0) }
        }
    }

    private func compare(_ node: GoldenNode, _ recorder: inout CaseRecorder) throws {
        let parameters = try node.member("params")
        let (policy, old, reference) = (try rows.ragged("policy_logps"), try rows.ragged("old_logps"), try rows.ragged("reference_logps"))
        let (oldValues, newValues) = (try rows.ragged("old_values"), try rows.ragged("new_values"))
        let (ended, scores) = (try file.root.member("eos").integers(), try file.root.member("score").numbers())
        guard ended.count == policy.rows, scores.count == policy.rows else {
            throw GoldenError.wrongKind(file: file.path, path: "/score", found: "\(scores.count) scores", expected: "\(policy.rows)")
        }
        guard let estimator = KLEstimator(rawValue: try parameters.member("kl").text()) else {
            return recorder.fail("kl", found: try parameters.member("kl").text(), golden: "k1, k2 or k3")
        }
        func number(_ key: String) throws -> Double { try parameters.member(key).number() }
        func compare(_ key: String, _ found: Ragged) throws { try rows.compare(node, key, found, tolerances.loss, &recorder) }

        let penalty = try node.parameter("missing_eos_penalty") ?? 0
        let plain = Advantages.tokenRewards(
            sampled: old, reference: reference, scores: zip(scores, ended).map { $1 == 0 ? $0 - penalty : $0 }, klCoefficient: try number("kl_coef"),
            estimator: estimator)
        try compare("token_rewards_before_whitening", plain)
        let rewards = try parameters.member("whiten_rewards").bool() ? Advantages.whitened(plain, keepsMean: true) : plain
        try compare("token_rewards", rewards)
        let (advantages, returns) = Advantages.generalized(rewards: rewards, values: oldValues, gamma: try number("gamma"), lambda: try number("lam"))
        try compare("advantages", advantages)
        try compare("returns", returns)
        let whitened = Advantages.whitened(advantages)
        try compare("advantages_whitened", whitened)

        let step = StepTotals(pairs: policy.rows, tokens: policy.values.count)
        let loss = try PPO(clipRange: number("cliprange"))(PolicyLogProbs(logProbs: policy, old: old, advantages: whitened), step: step)
        let value = try ValueLoss(clipRange: number("cliprange_value"))(.init(values: newValues, old: oldValues, returns: returns), step: step)
        let weight = try number("vf_coef")
        for (key, found) in [
            ("policy_loss", loss.value), ("value_loss", value.value), ("loss", loss.value + weight * value.value),
            ("clipfrac", loss.metrics["policy/clipfrac_avg"] ?? .nan), ("value_clipfrac", value.metrics["val/clipfrac_avg"] ?? .nan),
            ("approx_kl", loss.metrics["policy/approxkl_avg"] ?? .nan),
        ] {
            recorder.compare(key, found, golden: try node.member(key).number(), tolerances.loss)
        }
        var ratio = policy
        for t in ratio.values.indices { ratio.values[t] = exp(policy.values[t] - old.values[t]) }
        // Where nothing is, the ratio of zeros is 1.
        let golden = try node.member("ratio").rows()
        for (i, row) in golden.enumerated() { recorder.compare("ratio[\(i)]", Array(ratio[i]), golden: Array(row.prefix(ratio.count(i))), tolerances.loss) }
        try rows.compare(node, "grad_policy_logps", loss.gradient, tolerances.gradient, &recorder)
        var values = value.gradient
        for t in values.values.indices { values.values[t] *= weight }
        try rows.compare(node, "grad_values", values, tolerances.gradient, &recorder)
    }
}

/// `kl.json` and its like: estimators from one token, and the exact divergence of logits.
struct KLGolden {
    let rows: PaddedRows
    let tolerances: LossTolerances

    static func fits(_ file: GoldenFile) -> Bool { ["k1", "k2", "k3", "policy_logps", "reference_logps"].allSatisfy { file.json[$0] != nil } }

    init(_ file: GoldenFile) throws {
        rows = try PaddedRows(file)
        tolerances = LossTolerances(file.root)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        let root = rows.file.root
        let (policy, reference) = (try rows.ragged("policy_logps"), try rows.ragged("reference_logps"))
        for estimator in KLEstimator.allCases {
            context.test("\(label) \(estimator.rawValue)") { recorder in
                var (values, slopes) = (policy, policy)
                for t in policy.values.indices {
                    (values.values[t], slopes.values[t]) = estimator(policy.values[t], reference: reference.values[t])
                }
                try rows.compare(root, estimator.rawValue, values, tolerances.loss, &recorder)
                try rows.compare(try root.member("loss_gradients"), estimator.rawValue, slopes, tolerances.gradient, &recorder)
            }
        }
        guard let exact = root.optional("exact") else { return }
        context.test("\(label) exact") { recorder in
            let logits = try exact.member("policy_logits").rows()
            let reference = try exact.member("reference_logits").rows()
            guard logits.count == reference.count, zip(logits, reference).allSatisfy({ $0.count == $1.count }) else {
                return recorder.fail("logits", found: "\(logits.count) rows", golden: "\(reference.count) of the same lengths")
            }
            let found = zip(logits, reference).map { ExactKL(logits: $0, reference: $1) }
            recorder.compare("kl", found.map(\.value), golden: try exact.member("kl").numbers(), tolerances.loss)
            recorder.compare("entropy_policy", found.map(\.entropy), golden: try exact.member("entropy_policy").numbers(), tolerances.loss)
            let golden = try exact.member("grad_policy_logits").rows()
            recorder.equal("rows of grad_policy_logits", found.count, golden: golden.count)
            for (i, row) in golden.enumerated() where i < found.count { recorder.compare("grad_policy_logits[\(i)]", found[i].gradient, golden: row, tolerances.gradient) }
        }
    }
}

/// `distillation.json` and its like: losses over whole distributions.
struct DistillationGolden {
    let file: GoldenFile
    let inputs: TeacherLogits
    /// Rows of all tokens that count, as `[completion][position]`.
    let places: [(Int, Int)]
    let tolerances: LossTolerances

    static func fits(_ file: GoldenFile) -> Bool { ["student_logits", "teacher_logits", "labels", "mask"].allSatisfy { file.json[$0] != nil } }

    init(_ file: GoldenFile) throws {
        self.file = file
        let mask = try file.root.member("mask").integerRows()
        let labels = try file.root.member("labels").integerRows()
        let places = mask.enumerated().flatMap { b, row in row.indices.filter { row[$0] == 1 }.map { (b, $0) } }
        func logits(_ key: String) throws -> [[Double]] {
            let all = try file.root.member(key).elements().map { try $0.rows() }
            return try places.map { b, t in
                guard all.indices.contains(b), all[b].indices.contains(t) else { throw GoldenError.missing(file: file.path, path: "/\(key)/\(b)/\(t)") }
                return all[b][t]
            }
        }
        let (student, teacher) = (try logits("student_logits"), try logits("teacher_logits"))
        guard zip(student, teacher).allSatisfy({ $0.count == $1.count }), labels.count == mask.count, zip(labels, mask).allSatisfy({ $0.count == $1.count })
        else { throw GoldenError.wrongKind(file: file.path, path: "/labels", found: "shapes that differ", expected: "those of the mask and the logits") }
        inputs = TeacherLogits(student: Ragged(rows: student), teacher: Ragged(rows: teacher), labels: places.map { labels[$0.0][$0.1] })
        self.places = places
        tolerances = LossTolerances(file.root)
    }

    func run(_ label: String, _ context: VerifyContext) throws {
        for node in try file.root.member("cases").elements() {
            let type = try node.member("loss_type").text()
            let name = "\(label) \(type) \(try node.parametersText())"
            guard let objective = try Self.objective(type, node) else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { try compare(node, evaluate(objective), &$0) }
        }
    }

    private static func objective(_ type: String, _ node: GoldenNode) throws -> (any DistributionObjective)? {
        func number(_ key: String) throws -> Double { try node.member("params").member(key).number() }
        switch type {
        case "forward_kl", "reverse_kl", "jsd": return GKD(beta: try number("beta"), temperature: try number("temperature"))
        case "afm_top1": return SoftCrossEntropy(.blend(try number("teacher_weight")))
        case "soft_cross_entropy": return SoftCrossEntropy(.teacher)
        case "hinton": return HintonDistillation(temperature: try number("temperature"), weight: try number("kd_weight"))
        case "topk_renormalised": return SoftCrossEntropy(.teacherTop(try node.member("params").member("k").integer()))
        case "topk_tail_bucket": return TailBucketDistillation(k: try node.member("params").member("k").integer())
        case "cross_entropy_z_loss": return SoftCrossEntropy(.label(smoothing: 0), zCoefficient: try number("z_coefficient"))
        case "cross_entropy_label_smoothing": return SoftCrossEntropy(.label(smoothing: try number("epsilon")))
        default: return nil
        }
    }

    private func evaluate(_ objective: some DistributionObjective) throws -> Loss { try objective(inputs, step: StepTotals(tokens: places.count)) }

    private func compare(_ node: GoldenNode, _ loss: Loss, _ recorder: inout CaseRecorder) throws {
        recorder.compare("loss", loss.value, golden: try node.member("loss").number(), tolerances.loss)
        let golden = try node.member("grad_student_logits").elements().map { try $0.rows() }
        for (b, rows) in golden.enumerated() {
            for (t, row) in rows.enumerated() {
                let place = places.firstIndex { $0 == (b, t) }
                let found = place.map { Array(loss.gradient[$0]) } ?? row.map { _ in 0 }
                recorder.compare("grad_student_logits[\(b)][\(t)]", found, golden: row, tolerances.gradient)
            }
        }
    }
}
