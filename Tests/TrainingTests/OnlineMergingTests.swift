import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Testing

@testable import Training

@Suite("Online merging optimizer") struct OnlineMergingTests {
    private static let count = 40_000

    /// Weights after `steps` updates of drawn gradients, from weights that are all 1.
    private func weights(
        _ tensors: [(count: Int, decays: Bool)] = [(count, true)], alpha: Double, keep: Double, task: Double = 2, steps: Int = 1, rate: Double = 0.01,
        seed: UInt64 = 3, threads: Int = 2, merges: Bool = true
    ) throws -> [Float] {
        let policy = Buffers(tensors)
        let compute = try Compute(threads: threads)
        let optimizer = AdamW(policy, settings: .init(), compute: compute)
        let vector = FloatBuffer(count: policy.weights.count)
        for i in 0..<policy.weights.count { (policy.weights.base[i], vector.base[i]) = (1, Float(task)) }
        if merges { optimizer.merging = OnlineMerging(task: vector, alpha: alpha, keep: keep, seed: seed) }
        for step in 0..<steps {
            var stream = RandomStream(seed: 8, stream: 1, index: UInt64(step))
            for i in 0..<policy.weights.count { policy.gradients.base[i] = Float(stream.uniform() + 0.1) }
            optimizer.update(policy, learningRate: rate, gradientNorm: optimizer.gradientNorm(of: policy))
        }
        return (0..<policy.weights.count).map { policy.weights.base[$0] }
    }

    @Test("with α = 0 and p = 1 it is Adam, to the bit") func adam() throws {
        let plain = try weights(alpha: 0, keep: 1, steps: 5, merges: false)
        #expect(try weights(alpha: 0, keep: 1, steps: 5) == plain)
        #expect(plain.allSatisfy { $0 < 1 }, "Adam did not move")
    }

    @Test("by hand: 1 + (1 − α)·Δθ + α·τ") func byHand() throws {
        // Adam's first step is −rate·g/(|g| + ε): −0.01 for a positive gradient. 1 − 0.75·0.01 + 0.25·2 = 1.4925.
        for found in try weights([(3, true)], alpha: 0.25, keep: 1) { #expect(abs(found - 1.4925) < 1e-5, "\(found)") }
        for found in try weights([(3, true)], alpha: 0.25, keep: 1, rate: 0) { #expect(found == 1.5, "\(found)") }
        for found in try weights([(3, true)], alpha: 0.25, keep: 1, task: 0) { #expect(abs(found - 0.9925) < 1e-6, "\(found)") }
    }

    @Test("either side keeps its share of entries, independently, and others every step", arguments: [0.1, 0.5]) func masks(keep: Double) throws {
        let found = try weights(alpha: 0.5, keep: keep, task: 8)
        // Of an entry: 1 or 5 by τ (0.5·8), less 0.005 by Δθ (0.5·0.01).
        let (n, sides) = (Double(Self.count), found.map { (task: $0 > 3, update: abs($0.rounded() - $0) > 1e-3) })
        for (name, share, expected) in [
            ("τ", Double(sides.count { $0.task }) / n, keep), ("Δθ", Double(sides.count { $0.update }) / n, keep),
            ("both", Double(sides.count { $0.task && $0.update }) / n, keep * keep),
        ] {
            #expect(abs(share - expected) < 4 * (expected * (1 - expected) / n).squareRoot(), "\(name): \(share) kept, \(expected) expected")
        }
        #expect(try weights(alpha: 0.5, keep: keep, task: 8, seed: 4) != found)
        let twice = try weights(alpha: 0.5, keep: keep, task: 8, steps: 2)
        let kept = Double(zip(found, twice).count { $0 > 3 && $1 - $0 > 3 }) / n
        #expect(abs(kept - keep * keep) < 4 * (keep * keep * (1 - keep * keep) / n).squareRoot(), "τ kept twice in \(kept), expected \(keep * keep)")
    }

    @Test("neither threads nor how the weights are cut change a bit") func pieces() throws {
        let one = try weights(alpha: 0.5, keep: 0.3, steps: 3, threads: 1)
        #expect(try weights(alpha: 0.5, keep: 0.3, steps: 3, threads: 2) == one)
        let cut = try weights([(1000, true), (7, true), (Self.count - 1007, true)], alpha: 0.5, keep: 0.3, steps: 3, threads: 1)
        #expect(cut == one)
    }

    @Test("an online DPO run with it goes on bit for bit, and is another run than one without") func stage() async throws {
        let workshop = try Workshop()
        var settings = Bandit.settings(OnlineDPOSettings(), try workshop.prompts([1, 2, 3, 4]), samples: 4, steps: 8, beta: 0.3, rate: 0.05)
        settings.training.batchSize = 2
        settings.training.saveSteps = 2
        settings.training.merging.base = "seed:5"
        (settings.training.merging.alpha, settings.training.merging.keep) = (1e-2, 0.5)
        func run(_ settings: OnlineDPOSettings, _ name: String, resumes: Bool = false, limit: Int = .max) async throws -> StageOutcome {
            let passes = Mutex(0)
            var context = try workshop.online(TableModels(), run: name, resumes: resumes, rewards: ["arm": { Bandit.rewards[Int($0[0])] }])
            context.isCancelled = { passes.withLock { $0 += 1; return $0 > limit } }
            return try await OnlineStage<OnlineDPOMethod>(settings).run(in: context)
        }
        let whole = try await run(settings, "whole")
        let cut = try await run(settings, "cut", limit: 40)
        #expect(cut.status == .interrupted && cut.steps > 0, "\(cut.status) after \(cut.steps)")
        let resumed = try await run(settings, "cut", resumes: true)
        #expect(try TableModels.bytes(#require(whole.modelPath)) == TableModels.bytes(#require(resumed.modelPath)))
        let record = try RunDirectory.record(at: whole.runPath)
        #expect(record["inputs"]?["merging-base"]?.string == "seed:5", "\(record["inputs"]?.text() ?? "")")
        settings.training.merging = MergingSettings()
        let plain = try await run(settings, "plain")
        #expect(try TableModels.bytes(#require(plain.modelPath)) != TableModels.bytes(#require(whole.modelPath)))
    }

    @Test("what cannot be is refused by name") func refused() throws {
        var settings = TrainingSettings(learningRate: 1)
        settings.merging.alpha = 0.1
        #expect(throws: SettingError.self) { try settings.validate() }
        settings.merging.base = "base"
        try settings.validate()
        settings.adapter.isOn = true
        #expect(throws: SettingError.self) { try settings.validate() }
        let (large, small) = (TablePolicy(vocabulary: 11, seed: 1), TablePolicy(vocabulary: 5, seed: 1))
        #expect(throws: TrainingError.otherParameters(model: "small", tensor: "table.weight", found: "[5, 5]", expected: "[11, 11]")) {
            try OnlineMerging.task(reference: large, base: small, path: "small")
        }
        let task = try OnlineMerging.task(reference: large, base: TablePolicy(vocabulary: 11, seed: 2), path: "base")
        #expect(task.base[7] == large.weights.base[7] - TablePolicy(vocabulary: 11, seed: 2).weights.base[7])
    }
}
