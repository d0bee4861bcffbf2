import Foundation
import Models
import Serialization
import Tensors
import Training

/// `optim/`: AdamW step by step, gradient clipping, learning-rate schedules.
struct OptimPart: VerifyPart {
    static let folder = "optim"
    /// Relative, in float32; what an update leaves of two nearly equal numbers is judged by their size.
    static let tolerance = 1e-6

    func run(_ folder: String, _ context: VerifyContext) {
        for name in entries(of: folder) where name.hasSuffix(".json") {
            let path = "\(folder)/\(name)"
            context.guarded("optim/\(name)") {
                let file = try GoldenFile(path)
                if file.json["initial"] != nil || file.json["grads"] != nil {
                    try optimizers(file, context)
                } else if file.json["cases"]?.array?.contains(where: { $0["lr"] != nil }) ?? false {
                    try schedules(file, context)
                } else {
                    return UncoveredPart.report(path, as: "optim/\(name.dropLast(5))", context)
                }
                context.remember(uncompared: file.uncompared(), of: "optim/\(name)")
            }
        }
    }

    // MARK: Optimizers

    private func optimizers(_ file: GoldenFile, _ context: VerifyContext) throws {
        let initial = try file.root.member("initial").numbers()
        let gradients = try file.root.member("grads").rows()
        guard !initial.isEmpty, gradients.allSatisfy({ $0.count == initial.count }) else {
            throw GoldenError.wrongKind(file: file.path, path: "/grads", found: "rows of another length", expected: "\(initial.count) numbers each")
        }
        let tolerance = file.root.tolerance(default: Self.tolerance)
        for (index, node) in try file.root.member("cases").elements().enumerated() {
            let kind = try node.member("optimizer").text()
            let extras = (node.json["max_grad_norm"] == nil ? "" : " clipped") + (node.json["lr_per_step"] == nil ? "" : " scheduled")
            let name = "optim/\(kind) \(index)\(extras)"
            guard kind == "adamw" else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { try adamW(node, initial: initial, gradients: gradients, tolerance: tolerance, context.compute, &$0) }
        }
        if let clipping = file.root.optional("clipping") { try clip(clipping, tolerance: tolerance, context) }
    }

    private func adamW(
        _ node: GoldenNode, initial: [Double], gradients: [[Double]], tolerance: Double, _ compute: Compute, _ recorder: inout CaseRecorder
    ) throws {
        let parameters = try node.member("params")
        var settings = AdamW.Settings()
        settings.beta1 = try parameters.member("beta1").number()
        settings.beta2 = try parameters.member("beta2").number()
        settings.epsilon = try parameters.member("eps").number()
        settings.weightDecay = try parameters.member("weight_decay").number()
        settings.maxGradientNorm = try node.optional("max_grad_norm")?.number() ?? 0
        let rates = try node.optional("lr_per_step")?.numbers()
        let rate = try rates == nil ? parameters.member("lr").number() : 0
        let norms = try node.optional("grad_norms_before_clipping")?.numbers()

        let policy = VectorPolicy([initial.count])
        policy.weights.base.update(from: initial.map { Float($0) }, count: initial.count)
        let optimizer = AdamW(policy, settings: settings, compute: compute)
        let golden = try node.member("parameters_after_step").rows()
        recorder.equal("steps", gradients.count, golden: golden.count)
        // What float32 adds up it rounds: a parameter's scale is where it began and the way it went.
        var scale = initial.map(abs)
        for step in 0..<min(gradients.count, golden.count) {
            guard golden[step].count == initial.count else {
                let place = node.path + "/parameters_after_step/\(step)"
                throw GoldenError.wrongKind(file: node.file.path, path: place, found: "\(golden[step].count) numbers", expected: "\(initial.count)")
            }
            for i in initial.indices { scale[i] += abs(golden[step][i] - (step > 0 ? golden[step - 1][i] : initial[i])) }
            policy.gradients.base.update(from: gradients[step].map { Float($0) }, count: initial.count)
            let norm = optimizer.gradientNorm(of: policy)
            if let norms {
                guard norms.count == golden.count else {
                    throw GoldenError.wrongKind(file: node.file.path, path: node.path, found: "\(norms.count) norms", expected: "\(golden.count)")
                }
                recorder.compare("norm before clipping in step \(step)", norm, golden: norms[step], .relative(tolerance))
            }
            optimizer.update(policy, learningRate: rates.map { $0.indices.contains(step) ? $0[step] : .nan } ?? rate, gradientNorm: norm)
            for i in initial.indices {
                let limit = scaled(tolerance, golden[step][i], scale[i])
                recorder.compare("parameter \(i) after step \(step)", Double(policy.weights.base[i]), golden: golden[step][i], limit)
            }
        }
        let state = try node.member("final_state")
        // A moment is a sum of gradients: what cancels in it is judged by the largest of them.
        for (key, buffer, power) in [("exp_avg", optimizer.firstMoment, 1.0), ("exp_avg_sq", optimizer.secondMoment, 2.0)] {
            let values = try state.member(key).numbers()
            recorder.equal("numbers in \(key)", values.count, golden: initial.count)
            for i in 0..<min(values.count, initial.count) {
                let largest = power == 1 ? (gradients.map { abs($0[i]) }.max() ?? 0) * (1 - settings.beta1) : 0
                recorder.compare("\(key)[\(i)]", Double(buffer.base[i]), golden: values[i], scaled(tolerance, values[i], largest))
            }
        }
    }

    /// Relative to the golden or to what it was computed from, whichever is larger, as float32 must be.
    private func scaled(_ tolerance: Double, _ golden: Double, _ source: Double) -> Tolerance { .absolute(tolerance * max(abs(golden), abs(source), 1e-30)) }

    private func clip(_ node: GoldenNode, tolerance: Double, _ context: VerifyContext) throws {
        let tensors = try node.member("tensors").elements().map { try $0.flattened() }
        guard !tensors.isEmpty, tensors.allSatisfy({ !$0.isEmpty }) else {
            throw GoldenError.wrongKind(file: node.file.path, path: node.path + "/tensors", found: "empty ones", expected: "numbers")
        }
        for golden in try node.member("cases").elements() {
            let limit = try golden.member("max_norm").number()
            context.test("optim/clipping to \(short(limit))") { recorder in
                let policy = VectorPolicy(tensors.map(\.count))
                let flat = tensors.flatMap { $0 }
                policy.gradients.base.update(from: flat.map { Float($0) }, count: flat.count)
                var settings = AdamW.Settings()
                settings.maxGradientNorm = limit
                settings.beta1 = 0  // the first moment is then the clipped gradient itself
                let optimizer = AdamW(policy, settings: settings, compute: context.compute)
                let norm = optimizer.gradientNorm(of: policy)
                recorder.compare("total_norm", norm, golden: try golden.member("total_norm").number(), .relative(tolerance))
                optimizer.update(policy, learningRate: 0, gradientNorm: norm)
                let clipped = (0..<flat.count).map { Double(optimizer.firstMoment.base[$0]) }
                recorder.compare("clipped", clipped, golden: try golden.member("clipped").flattened(), .relative(tolerance))
            }
        }
    }

    // MARK: Schedules

    private static let kinds: [String: LearningRateSchedule.Kind] = [
        "constant": .constant, "constant_with_warmup": .constant, "linear": .linear, "cosine": .cosine, "cosine_with_min": .cosine,
        "inverse_sqrt": .inverseSquareRoot, "wsd": .wsd,
    ]

    private func schedules(_ file: GoldenFile, _ context: VerifyContext) throws {
        let tolerance = file.root.tolerance(default: Self.tolerance)
        for node in try file.root.member("cases").elements() {
            let word = try node.member("name").text()
            let parameters = try node.member("params")
            let shape = parameters.json["decay_type"]?.string
            let name = "optim/schedule \(word)" + (shape.map { " \($0)" } ?? "") + (parameters.json["warmup"]?.int == 0 ? " without warm-up" : "")
            guard let kind = Self.kinds[word], shape.map({ LearningRateSchedule.Decay(rawValue: $0) != nil }) ?? true else {
                node.markRead()
                context.report(.notYet(name))
                continue
            }
            context.test(name) { recorder in
                let schedule = LearningRateSchedule(
                    kind, peak: try parameters.member("peak").number(), warmupSteps: try parameters.optional("warmup")?.integer() ?? 0,
                    totalSteps: try parameters.optional("total")?.integer() ?? 0, minimumRatio: try parameters.optional("min_ratio")?.number() ?? 0,
                    decaySteps: try parameters.optional("decay")?.integer() ?? 0,
                    decay: shape.flatMap { LearningRateSchedule.Decay(rawValue: $0) } ?? .linear,
                    timescale: try parameters.optional("timescale")?.integer())
                let golden = try node.member("lr").numbers()
                for (step, rate) in golden.enumerated() {
                    // A cosine's end is 0 but for rounding.
                    let limit = Tolerance.absolute(tolerance * max(abs(rate), 1e-9 * abs(schedule.peak)))
                    recorder.compare("rate of step \(step)", schedule.rate(at: step), golden: rate, limit)
                }
            }
        }
    }
}

/// A policy that is nothing but its parameters.
final class VectorPolicy: TrainablePolicy {
    let parameters: [ParameterInfo]
    let weights: FloatBuffer, gradients: FloatBuffer

    init(_ counts: [Int]) {
        var offset = 0
        parameters = counts.enumerated().map { index, count in
            defer { offset += count }
            return ParameterInfo(name: "p\(index)", shape: [count], offset: offset, count: count, decays: true)
        }
        (weights, gradients) = (FloatBuffer(count: offset), FloatBuffer(count: offset))
    }

    func logProbs(of batch: SegmentTree) -> TokenScores { TokenScores(logProbs: Ragged(), entropies: [], isArgmax: []) }
    func scores(of batch: SegmentTree) -> TokenScores { logProbs(of: batch) }
    func backward(_ gradient: ScoreGradient) {}
    func weightsChanged() {}
}
