import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Testing

@testable import Training

@Suite("PPO") struct PPOTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    private static let rewards: [String: @Sendable ([Int32]) -> Double] = [
        "arm": { $0.reduce(0) { $0 + Bandit.rewards[Int($1)] } }, "other": { -Double($0.count) },
    ]
    private var start: TablePolicy { TablePolicy(vocabulary: 11, seed: 3) }

    /// As a folder of its own would hold it.
    private var startBytes: Data {
        let policy = start
        return withExtendedLifetime(policy) { Data(bytes: policy.weights.base, count: 4 * policy.weights.count) }
    }

    private func bandit(samples: Int = 256, steps: Int = 150, beta: Double, rate: Double = 0.1) throws -> PPOSettings {
        var settings = Bandit.settings(PPOSettings(), try workshop.prompts([Bandit.prompt]), samples: samples, steps: steps, beta: beta, rate: rate)
        settings.value.coefficient = 1
        return settings
    }

    private func run(_ settings: PPOSettings, _ name: String, resumes: Bool = false, isCancelled: @escaping @Sendable () -> Bool = { false }) async throws -> StageOutcome {
        var context = try workshop.online(TableModels(), run: name, resumes: resumes, rewards: Self.rewards)
        context.isCancelled = isCancelled
        return try await OnlineStage<PPOMethod>(settings).run(in: context)
    }

    @Test("it reaches softmax(r/β + log π_ref)", arguments: [true, false], KLEstimator.allCases) func bandit(whitens: Bool, estimator: KLEstimator) async throws {
        var settings = try bandit(beta: 0.3)
        (settings.whitensAdvantages, settings.estimator) = (whitens, estimator)
        settings.training.learningRate = whitens ? 0.05 : 0.1
        let outcome = try await run(settings, "bandit")
        let found = try Bandit.distribution(try #require(outcome.modelPath))
        let reference = start.logSoftmax(Bandit.prompt)
        let expected = Bandit.optimum(reference, beta: 0.3)
        // k2 and k3 in the reward have other optima than the closed form, if near it: where log π/π_ref is small, k2 and k3 are small too.
        if estimator == .k1 {
            #expect(Bandit.distance(found, expected) < 0.03, "found \(found), expected \(expected)")
        } else {
            let gain = zip(found, Bandit.rewards).reduce(0) { $0 + $1.0 * $1.1 } - zip(reference, Bandit.rewards).reduce(0) { $0 + exp($1.0) * $1.1 }
            #expect(gain > 0.2, "the expected reward rose by \(gain)")
        }
        #expect(Bandit.distance(reference.map(exp), expected) > 0.15, "nothing to learn")
    }

    @Test("the value model learns the expected reward while the policy waits") func value() async throws {
        var settings = try bandit(samples: 512, steps: 60, beta: 0, rate: 0.05)
        settings.value.warmupSteps = 60
        settings.value.clipRange = 10
        let outcome = try await run(settings, "value")
        #expect(try TableModels.bytes(#require(outcome.modelPath)) == startBytes, "the policy moved")
        let model = TablePolicy(vocabulary: 11, outputs: 1, seed: 0)
        try TableModels.read(model, outcome.runPath + "/value-model")
        var tree = SegmentTree()
        tree.addReadout(segment: tree.append([Int32(Bandit.prompt)]))
        let found = try model.scores(of: tree).readouts[0]
        let expected = zip(start.logSoftmax(Bandit.prompt), Bandit.rewards).reduce(0) { $0 + exp($1.0) * $1.1 }
        #expect(abs(found - expected) < 0.05, "V = \(found), the expected reward is \(expected)")
        let before = TablePolicy(vocabulary: 11, outputs: 1, seed: 3)
        let initial = try before.scores(of: tree).readouts[0]
        #expect(abs(initial - expected) > 0.2, "V began at \(initial)")
    }

    @Test("advantages and returns are those worked by hand") func byHand() {
        // δ = (0.2, 0.1, 0.5); A₂ = 0.5, A₁ = 0.1 + 0.95·0.5, A₀ = 0.2 + 0.95·0.575
        var experience = Experience(
            prompts: [[1]], samples: [.init(group: 0, tokens: [1, 2, 3], score: 1, isWhole: true)], old: Ragged(rows: [[-1, -2, -1]]),
            reference: Ragged(rows: [[-1, -2, -1]]), beta: 0.4)
        experience.values = Ragged(rows: [[0.2, 0.4, 0.5]])
        var settings = PPOSettings()
        settings.whitensAdvantages = false
        let weighing = PPOMethod(settings).weigh(experience)
        for (found, expected) in zip(weighing.advantages.values, [0.74625, 0.575, 0.5]) { #expect(abs(found - expected) < 1e-12, "\(found), \(expected)") }
        for (found, expected) in zip(weighing.returns?.values ?? [], [0.94625, 0.975, 1.0]) { #expect(abs(found - expected) < 1e-12, "\(found), \(expected)") }
        settings.whitensAdvantages = true
        let whitened = PPOMethod(settings).weigh(experience)
        #expect(abs(mean(whitened.advantages.values)) < 1e-12 && abs(deviation(whitened.advantages.values) - 1) < 1e-5, "\(whitened.advantages.values)")
        #expect(whitened.returns == weighing.returns, "whitening moved the returns")
        // A reference half as sure of the middle token: −β·log 2 there, and A₁, A₀ follow.
        experience.reference = Ragged(rows: [[-1, -2 - log(2.0), -1]])
        settings.whitensAdvantages = false
        let pulled = PPOMethod(settings).weigh(experience)
        #expect(abs(pulled.advantages.values[1] - (0.575 - 0.4 * log(2.0))) < 1e-12, "\(pulled.advantages.values)")
    }

    /// Both networks a little away from where the step began, so that ratios, clipping and values are at work.
    @Test("∂L/∂θ and ∂L/∂φ of a whole mini-batch agree with finite differences", arguments: [1, 2, 3] as [UInt64]) func finiteDifferences(seed: UInt64) throws {
        let policy = TablePolicy(vocabulary: 7, seed: seed), value = TablePolicy(vocabulary: 7, outputs: 1, seed: seed + 10)
        let samples: [Experience.Sample] = [
            .init(group: 0, tokens: [1, 4, 2], score: 0.7, isWhole: true), .init(group: 0, tokens: [3], score: -0.4, isWhole: true),
            .init(group: 1, tokens: [6, 5, 5, 1], score: 0.2, isWhole: false),
        ]
        let layout = Ragged(rows: samples.map { $0.tokens.map { _ in 0.0 } })
        var experience = Experience(prompts: [[2, 0], [5]], samples: samples, old: layout, reference: layout, beta: 0.2)
        let all = Array(samples.indices)
        let logProbTree = experience.tree(all, reads: .logProbs(temperature: 1)), valueTree = experience.tree(all, reads: .values)
        experience.old = try policy.scores(of: logProbTree).logProbs
        experience.reference = Ragged(values: experience.old.values.map { $0 * 1.1 }, offsets: layout.offsets)
        experience.values = Ragged(values: try value.scores(of: valueTree).readouts, offsets: layout.offsets)
        var stream = RandomStream(seed: seed, stream: 1, index: 1)
        for i in 0..<policy.weights.count { policy.weights.base[i] += Float(0.4 * stream.normal()) }
        for i in 0..<value.weights.count { value.weights.base[i] += Float(0.2 * stream.normal()) }

        var settings = PPOSettings()
        (settings.value.coefficient, settings.value.clipRange) = (0.3, 0.15)
        let method = PPOMethod(settings)
        let weighing = method.weigh(experience)
        let step = StepTotals(pairs: 3, tokens: 8)
        let critic = Critic(settings.value, model: value, optimizer: AdamW(value, settings: .init(), compute: try Compute())) { _ in }
        var metrics = Metrics()
        try policy.backward(method.loss(policy.logProbs(of: logProbTree).logProbs, of: all, in: experience, weighing, step: step).scoreGradient)
        _ = try critic.accumulate(all, experience, weighing, step: step, into: &metrics)
        #expect(metrics["val/clipfrac_avg"] ?? 0 > 0 && (metrics["val/clipfrac_avg"] ?? 1) < 1, "values are clipped in \(metrics["val/clipfrac_avg"] ?? -1)")

        func loss() throws -> Double {
            let policyLoss = try method.loss(policy.scores(of: logProbTree).logProbs, of: all, in: experience, weighing, step: step)
            #expect(policyLoss.metrics["policy/clipfrac_avg"] ?? 0 > 0, "no ratio is clipped")
            var unused = Metrics()
            let kept = (0..<value.gradients.count).map { value.gradients.base[$0] }
            let valueLoss = try critic.accumulate(all, experience, weighing, step: step, into: &unused)
            for i in kept.indices { value.gradients.base[i] = kept[i] }
            return policyLoss.value + 0.3 * valueLoss
        }
        for (name, model) in [("policy", policy), ("value", value)] {
            var largest = 0.0
            for i in 0..<model.weights.count {
                let saved = model.weights.base[i]
                let (up, down) = (saved + 1e-3, saved - 1e-3)
                model.weights.base[i] = up
                let above = try loss()
                model.weights.base[i] = down
                let below = try loss()
                model.weights.base[i] = saved
                let numeric = (above - below) / (Double(up) - Double(down))
                let analytic = Double(model.gradients.base[i])
                largest = max(largest, abs(analytic))
                #expect(abs(numeric - analytic) < 2e-4, "\(name) \(i): analytic \(analytic), numeric \(numeric)")
            }
            #expect(largest > 1e-2, "\(name) has a gradient of at most \(largest)")
        }
    }

    @Test("the first ratio of every step is exactly 1, and metrics have TRL's names") func metrics() async throws {
        var settings = try bandit(samples: 16, steps: 4, beta: 0.1)
        settings.online.maxNewTokens = 3
        settings.online.miniBatches = 1
        _ = try await run(settings, "metrics")
        let lines = try workshop.metrics("metrics")
        for line in lines {
            #expect(line["val/first_ratio_error"]?.double == 0, "ratio differs from 1 by \(line["val/first_ratio_error"]?.double ?? .nan)")
            for name in [
                "objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores", "policy/approxkl_avg",
                "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg", "val/clipfrac_avg", "val/ratio", "val/ratio_var", "val/num_eos_tokens", "episode",
            ] { #expect(line[name]?.double != nil, "\(name) is missing") }
            let sum = (line["objective/scores"]?.double ?? 0) + (line["objective/non_score_reward"]?.double ?? 0)
            #expect(abs(sum - (line["objective/rlhf_reward"]?.double ?? 99)) < 1e-12, "\(sum), \(line["objective/rlhf_reward"]?.double ?? .nan)")
            let total = (line["loss/policy_avg"]?.double ?? 0) + (line["loss/value_avg"]?.double ?? 0)
            #expect(abs(total - (line["loss"]?.double ?? 99)) < 1e-12, "\(total), \(line["loss"]?.double ?? .nan)")
        }
        #expect(lines.map { $0["episode"]?.double } == [16, 32, 48, 64], "\(lines.map { $0["episode"]?.double })")
    }

    @Test("a run that was stopped and resumed ends with the same bytes, those of the value model too") func resumed() async throws {
        var settings = Bandit.settings(PPOSettings(), try workshop.prompts([1, 2, 3, 4, 5, 6, 7]), samples: 2, steps: 12, beta: 0.1, rate: 0.02)
        settings.value.learningRate = 0.05
        settings.value.warmupSteps = 2
        settings.online.maxNewTokens = 4
        settings.online.targetKL = 0.5
        settings.online.horizon = 50
        settings.online.rollbackKL = 0.004
        settings.online.innerEpochs = 2
        settings.online.miniBatches = 2
        settings.training.batchSize = 2
        settings.training.saveSteps = 3
        let whole = try await run(settings, "whole")
        let passes = Mutex(0)
        let cut = try await run(settings, "cut", isCancelled: { passes.withLock { $0 += 1; return $0 > 36 } })
        #expect(cut.status == .interrupted && cut.steps > 3 && cut.steps < 12, "\(cut.status) after \(cut.steps)")
        let resumed = try await run(settings, "cut", resumes: true)
        #expect(resumed.status == .finished, "\(resumed.status)")
        #expect(try TableModels.bytes(#require(whole.modelPath)) == TableModels.bytes(#require(resumed.modelPath)))
        #expect(try TableModels.bytes(whole.runPath + "/value-model") == TableModels.bytes(resumed.runPath + "/value-model"))
        let (a, b) = (try workshop.metrics("whole"), try workshop.metrics("cut"))
        #expect(a == b, "\(a.count) lines and \(b.count)")
        let undone = a.compactMap { $0["policy/rolled_back"]?.double }
        #expect(undone.contains(0) && undone.contains(1), "steps taken back: \(undone) of \(a.compactMap { $0["policy/step_kl"]?.double })")
    }

    @Test("a step that moved too far is taken back, moments included") func rollback() async throws {
        var settings = try bandit(samples: 16, steps: 3, beta: 0, rate: 5)
        settings.online.rollbackKL = 0.01
        let outcome = try await run(settings, "back")
        #expect(try TableModels.bytes(#require(outcome.modelPath)) == startBytes, "the policy moved")
        for line in try workshop.metrics("back") {
            #expect(line["policy/rolled_back"]?.double == 1 && (line["policy/step_kl"]?.double ?? 0) > 0.01, "\(line["policy/step_kl"]?.double ?? .nan)")
        }
    }

    @Test("passes end once the policy has moved far enough") func earlyStop() async throws {
        var settings = try bandit(samples: 16, steps: 1, beta: 0, rate: 0.5)
        settings.online.innerEpochs = 50
        settings.online.maxInnerKL = 0.05
        func passes(_ name: String) async throws -> Int {
            let models = TableModels()
            _ = try await OnlineStage<PPOMethod>(settings).run(in: workshop.online(models, run: name, rewards: Self.rewards))
            return models.counts.withLock { $0.forwardPasses }
        }
        let stopped = try await passes("stopped")
        settings.online.maxInnerKL = 0
        let whole = try await passes("whole")
        #expect(stopped < whole / 2, "\(stopped) forward passes, \(whole) without a limit")
    }

    @Test("what cannot be is refused by name") func refused() async throws {
        var settings = try bandit(beta: 0)
        settings.estimator = .k3
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.estimator = .k1
        settings.value.model = "small"
        var context = try workshop.online(TableModels(), run: "refused", rewards: Self.rewards)
        context.openModel = { path, _ in path == "small" ? TableModels(vocabulary: 5).source("seed:1") : TableModels().source(path) }
        await #expect(throws: TrainingError.otherVocabulary(model: "seed:1", found: 5, expected: 11)) {
            try await OnlineStage<PPOMethod>(settings).run(in: context)
        }
    }
}
