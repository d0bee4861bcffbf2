import Foundation
import Models
import Serialization
import Synchronization
import Testing

@testable import Training

@Suite("Rounds of rejection sampling") struct RejectionRoundsTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    private func settings(_ change: (inout RejectionSamplingSettings) -> Void = { _ in }) throws -> RejectionSamplingSettings {
        var settings = Bandit.settings(RejectionSamplingSettings(), try workshop.prompts([1, 2, 3, 4, 5, 6]), samples: 3, steps: 12, beta: 0, rate: 0.02)
        settings.online.maxNewTokens = 2
        settings.online.innerEpochs = 2
        settings.online.loggedCompletions = 100
        settings.training.batchSize = 3
        settings.training.saveSteps = 3
        settings.keepsEarlier = true
        change(&settings)
        return settings
    }

    private func run(_ settings: RejectionSamplingSettings, _ name: String, resumes: Bool = false, limit: Int = .max) async throws -> StageOutcome {
        let passes = Mutex(0)
        var context = try workshop.online(TableModels(), run: name, resumes: resumes, rewards: ["arm": { $0.reduce(0) { $0 + Bandit.rewards[Int($1)] } }])
        context.isCancelled = { passes.withLock { $0 += 1; return $0 > limit } }
        return try await OnlineStage<RejectionSamplingMethod>(settings).run(in: context)
    }

    private func completions(_ name: String) throws -> [JSON] {
        try String(contentsOfFile: workshop.path + "/\(name)/completions.jsonl", encoding: .utf8).split(separator: "\n").map { try JSON.parse(String($0)) }
    }

    @Test("what is kept of a prompt only gets better, and is beaten by nothing that was sampled before") func best() async throws {
        _ = try await run(settings(), "kept")
        let lines = try completions("kept")
        // A prompt comes back every second step. Among its candidates is always the best that was ever sampled for it.
        for prompt in 1...6 {
            var top = -Double.infinity
            var rounds = 0
            for step in 1...12 {
                let rewards = lines.filter { $0["step"]?.int == step && $0["prompt"]?.array?.first?.int == prompt }.compactMap { $0["reward"]?.double }
                guard !rewards.isEmpty else { continue }
                rounds += 1
                #expect((rewards.max() ?? -1) >= top, "prompt \(prompt), step \(step): the best is \(rewards.max() ?? -1), earlier \(top)")
                top = max(top, rewards.max() ?? top)
            }
            #expect(rounds == 6, "\(rounds) rounds of prompt \(prompt)")
        }
        let kept = try workshop.metrics("kept").compactMap { $0["reward/kept"]?.double }
        let first = kept.prefix(2).reduce(0, +) / 2, last = kept.suffix(2).reduce(0, +) / 2
        #expect(last > first, "kept rewards \(first) at first, \(last) at last")
        #expect(lines.count > 36 * 3, "\(lines.count) candidates of \(12 * 3 * 3) new ones: none competed again")
    }

    @Test("a run that was stopped and resumed has the same rivals: its bytes are those of one that was not") func resumed() async throws {
        let whole = try await run(settings(), "whole")
        let cut = try await run(settings(), "cut", limit: 75)
        #expect(cut.status == .interrupted && cut.steps > 3, "\(cut.status) after \(cut.steps)")
        let resumed = try await run(settings(), "cut", resumes: true)
        #expect(try TableModels.bytes(#require(whole.modelPath)) == TableModels.bytes(#require(resumed.modelPath)))
        #expect(try completions("whole") == completions("cut"))
        // Without its pool a checkpoint is not one to go on from.
        let again = try await run(settings(), "broken", limit: 75)
        let folder = again.runPath + "/checkpoints/step-\(again.steps)"
        try Data("{}\n".utf8).write(to: URL(fileURLWithPath: folder + "/training/pool.jsonl"))
        await #expect(throws: RunError.damaged(
            file: folder + "/training/pool.jsonl", field: "line 1", found: "no completion", expected: "prompt, sample, tokens, text, score and value")) {
            try await run(settings(), "broken", resumes: true)
        }
    }

    @Test("RAFT keeps the best of the whole step, wherever they are") func batch() throws {
        var settings = RejectionSamplingSettings()
        (settings.selection, settings.keeps) = (.batch, 1)
        let scores = [0.1, 0.9, 0.8, 0.2, 0.3, 0.25]
        let experience = Experience(
            prompts: [[1], [2]], samples: scores.enumerated().map { .init(group: $0.offset / 3, tokens: [Int32($0.offset)], score: $0.element, isWhole: true) },
            old: Ragged(rows: scores.map { _ in [0] }), reference: nil, beta: 0)
        #expect(RejectionSamplingMethod(settings).weigh(experience).trained == [1, 2])
        settings.selection = .best
        let weighing = RejectionSamplingMethod(settings).weigh(experience)
        #expect(weighing.trained == [1, 4])
        #expect(weighing.pairs == [.init(chosen: 1, rejected: 0), .init(chosen: 4, rejected: 3)], "\(weighing.pairs)")
    }
}
