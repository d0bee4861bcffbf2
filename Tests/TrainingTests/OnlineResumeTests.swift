import Foundation
import Models
import Serialization
import Synchronization
import Testing

@testable import Training

@Suite("Online runs go on") struct OnlineResumeTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    private func settings() throws -> RLOOSettings {
        var settings = Bandit.settings(RLOOSettings(), try workshop.prompts([1, 2, 3, 4, 5, 6, 7]), samples: 3, steps: 12, beta: 0.1, rate: 0.02)
        settings.online.maxNewTokens = 4
        settings.online.heldOutReward = "other"
        settings.online.targetKL = 0.5
        settings.online.horizon = 50
        settings.training.batchSize = 2
        settings.online.innerEpochs = 2
        settings.online.miniBatches = 2
        settings.training.saveSteps = 3
        settings.training.evalSplit = 0.3
        settings.training.evalSteps = 4
        return settings
    }

    private static let rewards: [String: @Sendable ([Int32]) -> Double] = [
        "arm": { $0.reduce(0) { $0 + Bandit.rewards[Int($1)] } }, "other": { -Double($0.count) },
    ]

    @Test("a run that was stopped and resumed ends with the same bytes as one that was not") func resumed() async throws {
        let settings = try settings()
        let whole = try await OnlineStage<RLOOMethod>(settings).run(in: workshop.online(TableModels(), run: "whole", rewards: Self.rewards))
        let passes = Mutex(0)
        var context = try workshop.online(TableModels(), run: "cut", rewards: Self.rewards)
        context.isCancelled = { passes.withLock { $0 += 1; return $0 > 60 } }
        let cut = try await OnlineStage<RLOOMethod>(settings).run(in: context)
        #expect(cut.status == .interrupted, "\(cut.status)")
        let resumed = try await OnlineStage<RLOOMethod>(settings).run(in: workshop.online(TableModels(), run: "cut", resumes: true, rewards: Self.rewards))
        #expect(resumed.status == .finished, "\(resumed.status)")
        #expect(try TableModels.bytes(#require(whole.modelPath)) == TableModels.bytes(#require(resumed.modelPath)))
        let (a, b) = (try workshop.metrics("whole"), try workshop.metrics("cut"))
        #expect(a == b, "\(a.count) lines and \(b.count)")
        func completions(_ run: String) throws -> String { try String(contentsOfFile: workshop.path + "/\(run)/completions.jsonl", encoding: .utf8) }
        #expect(try completions("whole") == completions("cut"))
        #expect(a.contains { ($0["objective/kl_coef"]?.double ?? 0.1) != 0.1 }, "beta never moved")
    }

    @Test("the watch stops when the reward rises and the held-out one falls") func watch() async throws {
        var settings = try settings()
        settings.online.heldOutReward = "opposite"
        settings.online.watchPatience = 2
        settings.training.evalSteps = 2
        settings.training.maxSteps = 200
        settings.training.learningRate = 0.2
        var rewards = Self.rewards
        rewards["opposite"] = { -$0.reduce(0) { $0 + Bandit.rewards[Int($1)] } }
        let stopped = try await OnlineStage<RLOOMethod>(settings).run(in: workshop.online(TableModels(), run: "watched", rewards: rewards))
        #expect(stopped.status == .stoppedEarly, "\(stopped.status) after \(stopped.steps) steps")
        rewards["opposite"] = rewards["arm"]
        settings.training.maxSteps = 20
        let other = try await OnlineStage<RLOOMethod>(settings).run(in: workshop.online(TableModels(), run: "unwatched", rewards: rewards))
        #expect(other.status == .finished, "\(other.status) after \(other.steps) steps")
    }

    @Test("what cannot be is refused by name") func refused() throws {
        var settings = try settings()
        settings.online.samples = 1
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.online.samples = 3
        settings.online.watchPatience = 1
        settings.online.heldOutReward = nil
        #expect(throws: SettingError.self) { try settings.validate() }
    }
}
