import Evaluations
import Foundation
import Serialization
import Tensors
import Testing
import Training

@testable import align

/// The world's whole way at a size of seconds: documents, start model, samples, pairs, reward model.
@Suite("Studies") struct StudyTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/align-study-" + UUID().uuidString

    private func workshop(_ name: String) throws -> StudyWorkshop {
        let plan = try StudyPlan(file: try write(#"{"variant": "base", "size": "XS", "documents": 640, "start_steps": 90, "reward_epochs": 2, "pool": {"prompts": 4, "samples": 16}}"#))
        return try StudyWorkshop(WorldPlan(plan), seed: 3, out: "\(folder)/\(name)", study: "test", compute: Compute(threads: 1))
    }

    private func write(_ text: String) throws -> String {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let path = folder + "/plan-\(UUID().uuidString).json"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    @Test("a small world is made, learns, and is the same a second time") func world() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = try workshop("a")
        let start = try first.transformer(try await first.start(.xs))
        let entropy = try first.crossEntropy(start, documents: 100)
        #expect(entropy.start < 4 && entropy.start > entropy.writers, "\(entropy): uniform would be \(log(64.0))")
        #expect(entropy.writers > 1.5 && entropy.writers < 3, "the writers' own is \(entropy.writers)")

        let proxy = StudyWorkshop.Proxy(pairs: 0..<128, noise: 0.25, size: .xs)
        let model = try await first.rewardModel(proxy)
        let ranking = try await first.ranking(by: model)
        #expect(ranking.map(\.count) == [16, 16, 16, 16], "\(ranking.map(\.count))")
        let law = try await first.law().law
        #expect(law.samples == 16 && law.sizes == [1, 2, 4, 8, 16], "\(law.sizes)")

        let second = try workshop("b")
        let again = try await second.ranking(by: try await second.rewardModel(proxy))
        #expect(again == ranking, "the same seed gave \(again[0][0]) and \(ranking[0][0])")
    }

    @Test("every study's plan is carried, and can be read") func plans() throws {
        for study in Studies.all {
            let plan = try #require(StudyPlan(named: study.name), "no plan of \(study.name)")
            let arms = try study.init(plan).arms(), seeds = try plan.numbers("seeds")
            #expect(!arms.isEmpty, "\(study.name) has no arms")
            #expect(seeds.count >= 5, "\(study.name) reports \(seeds)")
        }
        #expect(StudyPlan(named: "nothing") == nil)
    }

    @Test("seeds are ranges or lists") func seeds() {
        #expect(StudySuite.seeds("1...5") == [1, 2, 3, 4, 5])
        #expect(StudySuite.seeds("7,2") == [2, 7])
        for bad in ["", "5...1", "a", "1,,2", "-1", "1...99999999"] { #expect(StudySuite.seeds(bad) == nil, "\(bad)") }
    }
}
