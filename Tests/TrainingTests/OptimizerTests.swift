import Models
import Serialization
import Tensors
import Testing

@testable import Training

@Suite("Schedule goldens", .tags(.golden)) struct ScheduleGoldenTests {
    @Test("every rate is transformers'") func rates() throws {
        guard let json = try sharedGolden("optim/schedules.json") else { return }
        var count = 0
        for item in json["cases"]?.array ?? [] {
            let parameters = item["params"] ?? .null
            let name = item["name"]?.string ?? ""
            let kinds: [String: LearningRateSchedule.Kind] = [
                "constant": .constant, "constant_with_warmup": .constant, "linear": .linear, "cosine": .cosine, "cosine_with_min": .cosine,
                "inverse_sqrt": .inverseSquareRoot, "wsd": .wsd,
            ]
            let kind = try #require(kinds[name])
            let schedule = LearningRateSchedule(
                kind, peak: parameters["peak"]?.double ?? 0, warmupSteps: parameters["warmup"]?.int ?? 0,
                totalSteps: parameters["total"]?.int ?? 0, minimumRatio: parameters["min_ratio"]?.double ?? 0,
                decaySteps: parameters["decay"]?.int ?? 0,
                decay: parameters["decay_type"]?.string.flatMap { LearningRateSchedule.Decay(rawValue: $0) } ?? .linear,
                timescale: parameters["timescale"]?.int
            )
            for (step, expected) in (item["lr"]?.doubles ?? []).enumerated() {
                let rate = schedule.rate(at: step)
                #expect(abs(rate - expected) <= 1e-12 * 1e-3 + 1e-10 * abs(expected), "\(name) step \(step): \(rate), golden \(expected)")
            }
            count += 1
        }
        #expect(count == 10)
    }

    @Test("WSD is continuous at its phase boundaries and ends at its minimum") func wsd() {
        for decay in LearningRateSchedule.Decay.allCases {
            let schedule = LearningRateSchedule(.wsd, peak: 1, warmupSteps: 10, totalSteps: 100, minimumRatio: 0.2, decaySteps: 20, decay: decay)
            #expect(schedule.rate(at: 10) == 1 && schedule.rate(at: 79) == 1 && schedule.rate(at: 80) == 1)
            #expect(abs(schedule.rate(at: 100) - 0.2) < 1e-12)
            #expect((80..<100).allSatisfy { schedule.rate(at: $0 + 1) <= schedule.rate(at: $0) })
        }
    }
}

/// A policy that is nothing but its buffers.
final class Buffers: TrainablePolicy {
    let parameters: [ParameterInfo], weights: FloatBuffer, gradients: FloatBuffer
    private(set) var changes = 0
    init(_ tensors: [(count: Int, decays: Bool)]) {
        var offset = 0
        parameters = tensors.enumerated().map { index, tensor in
            defer { offset += tensor.count }
            return ParameterInfo(name: "p\(index)", shape: [tensor.count], offset: offset, count: tensor.count, decays: tensor.decays)
        }
        weights = FloatBuffer(count: offset)
        gradients = FloatBuffer(count: offset)
    }
    func logProbs(of batch: SegmentTree) throws -> TokenScores { TokenScores(logProbs: Ragged(), entropies: [], isArgmax: []) }
    func scores(of batch: SegmentTree) throws -> TokenScores { try logProbs(of: batch) }
    func backward(_ gradient: ScoreGradient) throws {}
    func weightsChanged() { changes += 1 }
}

@Suite("AdamW", .tags(.golden)) struct AdamWTests {
    let compute: Compute
    init() throws { compute = try Compute() }

    @Test("parameters and moments follow PyTorch's") func golden() throws {
        guard let json = try sharedGolden("optim/optimizers.json") else { return }
        let initial = json["initial"]!.doubles
        let gradients = json["grads"]!.rows
        var count = 0
        for item in json["cases"]?.array ?? [] where item["optimizer"]?.string == "adamw" {
            let parameters = item["params"] ?? .null
            var settings = AdamW.Settings()
            settings.beta1 = parameters["beta1"]?.double ?? 0
            settings.beta2 = parameters["beta2"]?.double ?? 0
            settings.epsilon = parameters["eps"]?.double ?? 0
            settings.weightDecay = parameters["weight_decay"]?.double ?? 0
            settings.maxGradientNorm = item["max_grad_norm"]?.double ?? 0
            let (rates, norms) = (item["lr_per_step"]?.doubles, item["grad_norms_before_clipping"]?.doubles)
            let policy = Buffers([(initial.count, true)])
            for (i, value) in initial.enumerated() { policy.weights.base[i] = Float(value) }
            let optimizer = AdamW(policy, settings: settings, compute: compute)
            for (step, gradient) in gradients.enumerated() {
                guard let rate = parameters["lr"]?.double ?? rates?[step] else { continue }
                for (i, value) in gradient.enumerated() { policy.gradients.base[i] = Float(value) }
                let norm = optimizer.gradientNorm(of: policy)
                if let norms { #expect(relativeError(norm, norms[step]) < 1e-6, "‖g‖ \(norm), golden \(norms[step])") }
                optimizer.update(policy, learningRate: rate, gradientNorm: norm)
                for (i, expected) in (item["parameters_after_step"]?.rows[step] ?? []).enumerated() {
                    let value = Double(policy.weights.base[i])
                    #expect(abs(value - expected) <= 1e-6 * max(1, abs(expected)), "case \(count) step \(step) [\(i)]: \(value), golden \(expected)")
                }
                count += 1
            }
        }
        #expect(count == 50, "\(count) steps")
    }

    @Test("clipping scales by c/(‖g‖ + 1e-6)") func clipping() throws {
        let policy = Buffers([(2, true), (1, false)])
        (policy.gradients.base[0], policy.gradients.base[1], policy.gradients.base[2]) = (3, 4, 12)
        var settings = AdamW.Settings()
        (settings.beta1, settings.beta2, settings.epsilon) = (0, 0, 1)  // θ ← −η·g/(|g| + 1)
        settings.maxGradientNorm = 1
        let optimizer = AdamW(policy, settings: settings, compute: compute)
        let norm = optimizer.gradientNorm(of: policy)
        #expect(norm == 13)  // √(9 + 16 + 144)
        optimizer.update(policy, learningRate: 1, gradientNorm: norm)
        let g = 3 / (13 + 1e-6)
        #expect(abs(Double(policy.weights.base[0]) + g / (g + 1)) < 1e-6, "\(policy.weights.base[0])")
        #expect(policy.changes == 1)
    }

    @Test("decay touches matrices and leaves norms alone") func decay() {
        let policy = Buffers([(1, true), (1, false), (1, true)])
        for i in 0..<3 { policy.weights.base[i] = 2 }
        var settings = AdamW.Settings()
        settings.weightDecay = 0.1
        let optimizer = AdamW(policy, settings: settings, compute: compute)
        optimizer.update(policy, learningRate: 0.5, gradientNorm: 0)
        #expect([0, 1, 2].map { policy.weights.base[$0] } == [1.9, 2, 1.9])  // 2·(1 − 0.5·0.1)
        policy.gradients.base[1] = 7
        optimizer.clearGradients(of: policy)
        #expect(policy.gradients.base[1] == 0)
    }
}
