import Foundation
import Models
import Serialization
import Testing

@testable import Training

@Suite("Online methods on a bandit") struct OnlineBanditTests {
    let workshop: Workshop
    let models = TableModels()
    init() throws { workshop = try Workshop() }

    private func learned<Method: OnlineMethod>(
        _: Method.Type, samples: Int = 256, steps: Int = 150, beta: Double, rate: Double = 0.1, _ change: (inout Method.Settings) -> Void = { _ in }
    ) async throws -> [Double] {
        var settings = Bandit.settings(Method.Settings(), try workshop.prompts([Bandit.prompt]), samples: samples, steps: steps, beta: beta, rate: rate)
        change(&settings)
        let context = try workshop.online(models, run: Method.name + "-\(beta)", rewards: ["arm": { Bandit.rewards[Int($0[0])] }])
        let outcome = try await OnlineStage<Method>(settings).run(in: context)
        return try Bandit.distribution(try #require(outcome.modelPath))
    }

    private var reference: [Double] { TablePolicy(vocabulary: 11, seed: 3).logSoftmax(Bandit.prompt) }

    @Test("RLOO reaches softmax(r/β + log π_ref)", arguments: [0.2, 0.5]) func rloo(beta: Double) async throws {
        let found = try await learned(RLOOMethod.self, beta: beta) { $0.clipRange = 10 }
        let expected = Bandit.optimum(reference, beta: beta)
        #expect(Bandit.distance(found, expected) < 0.03, "found \(found), expected \(expected)")
        #expect(Bandit.distance(reference.map(exp), expected) > 0.15, "the start is \(Bandit.distance(reference.map(exp), expected)) away: nothing to learn")
    }

    @Test("mirror descent with several inner passes reaches the same") func mirror() async throws {
        let found = try await learned(MirrorDescentMethod.self, beta: 0.3) {
            $0.gamma = 0.5
            $0.online.innerEpochs = 3
        }
        let expected = Bandit.optimum(reference, beta: 0.3)
        #expect(Bandit.distance(found, expected) < 0.03, "found \(found), expected \(expected)")
    }

    @Test("REINFORCE reaches the same") func reinforce() async throws {
        let found = try await learned(ReinforceMethod.self, beta: 0.3)
        let expected = Bandit.optimum(reference, beta: 0.3)
        #expect(Bandit.distance(found, expected) < 0.03, "found \(found), expected \(expected)")
    }

    @Test("one exact mirror step is π_k·e^(A/γ)/Z", arguments: MDPO.Divergence.allCases.filter { $0 != .previous }) func exactStep(divergence: MDPO.Divergence) async throws {
        // Many samples, many inner passes: the inner problem is solved, and its solution known.
        let gamma = 0.5
        let found = try await learned(MirrorDescentMethod.self, samples: 4096, steps: 1, beta: 0, rate: 0.05) {
            $0.gamma = gamma
            $0.divergence = divergence
            $0.online.innerEpochs = 300
        }
        let expected = Bandit.optimum(reference, beta: gamma)  // of advantages: a constant shift of rewards changes nothing
        #expect(Bandit.distance(found, expected) < 0.04, "found \(found), expected \(expected)")
    }

    @Test("GRPO without a KL, and rejection sampling, go to the best arm") func best() async throws {
        let grouped = try await learned(GRPOMethod.self, samples: 64, beta: 0)
        #expect(grouped[2] > 0.9, "the best arm has \(grouped[2]) of GRPO's policy")
        let kept = try await learned(RejectionSamplingMethod.self, samples: 16, beta: 0)
        #expect(kept[2] > 0.9, "the best arm has \(kept[2]) of rejection sampling's policy")
    }

    @Test("online DPO prefers what scores better") func onlineDPO() async throws {
        let found = try await learned(OnlineDPOMethod.self, samples: 8, beta: 0.3)
        let before = zip(reference, Bandit.rewards).reduce(0) { $0 + exp($1.0) * $1.1 }
        let after = zip(found, Bandit.rewards).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(after > before + 0.3, "expected reward \(before) before, \(after) after")
    }

    @Test("the first ratio of a step is exactly 1, and decoding's log-probs are those of training") func firstRatio() async throws {
        _ = try await learned(MirrorDescentMethod.self, samples: 8, steps: 5, beta: 0.1) { $0.online.innerEpochs = 2 }
        for line in try workshop.metrics("mdpo-0.1") {
            #expect(line["val/first_ratio_error"]?.double == 0, "ratio differs from 1 by \(line["val/first_ratio_error"]?.double ?? .nan)")
            #expect(abs(line["sampling/sampling_logp_difference/max"]?.double ?? 1) < 1e-12, "\(line)")
        }
    }

    @Test("rso accepts in proportion to e^(r/T)") func acceptance() throws {
        var settings = RejectionSamplingSettings()
        (settings.selection, settings.acceptanceTemperature, settings.keeps) = (.rso, 0.5, 1)
        let scores = [0.0, 0.5, 1.0]
        // The first candidate that is accepted, over many seeds: its law is known for candidates in a fixed order.
        var counts = [0, 0, 0]
        let trials = 20_000
        for seed in 0..<trials {
            settings.training.seed = seed
            let experience = Experience(
                prompts: [[1]], samples: scores.enumerated().map { .init(group: 0, tokens: [Int32($0.offset)], score: $0.element, isWhole: true) },
                old: Ragged(rows: [[0], [0], [0]]), reference: nil, beta: 0)
            counts[RejectionSamplingMethod(settings).weigh(experience).trained[0]] += 1
        }
        let accept = scores.map { exp(($0 - 1) / 0.5) }
        let expected = [accept[0], (1 - accept[0]) * accept[1], (1 - accept[0]) * (1 - accept[1]) * accept[2]]
        for (count, share) in zip(counts, expected) {
            let found = Double(count) / Double(trials)
            #expect(abs(found - share) < 3.5 * (share * (1 - share) / Double(trials)).squareRoot(), "found \(found), expected \(share)")
        }
    }
}
