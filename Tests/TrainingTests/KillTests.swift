import Foundation
import Serialization
import Synchronization
import Testing

@testable import Training

/// `kill -9` in a child process, then `--resume` here.
@Suite("Killed runs", .serialized) struct KillTests {
    static func settings(_ pairs: String) -> PreferenceSettings {
        var settings = PreferenceSettings()
        settings.pairs = [pairs]
        settings.training.model = "seed:3"
        (settings.training.batchSize, settings.training.learningRate, settings.training.epochs) = (2, 0.05, 3)
        (settings.training.saveSteps, settings.training.evalSplit, settings.training.evalSteps) = (3, 0.2, 4)
        return settings
    }

    /// Runs in the child: dies at the given forward pass, or in the middle of the given save.
    static func runAndDie(pairs: String, run: String, forward: Int, save: Int) async throws {
        let passes = Mutex(0), saves = Mutex(0)
        let models = TableModels(
            onForward: { _ in if passes.withLock({ $0 += 1; return $0 }) == forward { kill(getpid(), SIGKILL) } },
            onSave: { if saves.withLock({ $0 += 1; return $0 }) == save { kill(getpid(), SIGKILL) } }
        )
        let context = try StageContext(runPath: run, resumes: true, compute: .init(), openModel: { path, _ in models.source(path) })
        _ = try await PreferenceOptimization(settings(pairs)).run(in: context)
    }

    /// 5 reference passes and more, evaluations at steps 4, 8, …, checkpoints at 3, 6, …; saves: checkpoints, best weights, the result.
    @Test("a killed run resumes as if it had not been", arguments: [(2, 0), (8, 0), (13, 0), (19, 0), (27, 0), (0, 1), (0, 2), (0, 3), (0, 5)])
    func killed(forward: Int, save: Int) async throws {
        let workshop = try Workshop()
        let pairs = try workshop.pairs(13)
        let run = workshop.path + "/parts"
        await #expect(processExitsWith: .signal(SIGKILL)) { [pairs = pairs as String, run = run as String, forward = forward as Int, save = save as Int] in
            try await KillTests.runAndDie(pairs: pairs, run: run, forward: forward, save: save)
        }
        let resumed = try await PreferenceOptimization(Self.settings(pairs)).run(in: workshop.context(TableModels(), run: "parts", resumes: true))
        let whole = try await PreferenceOptimization(Self.settings(pairs)).run(in: workshop.context(TableModels(), run: "whole"))
        #expect(resumed.status == .finished && resumed.after == whole.after)
        #expect(try workshop.metrics("parts") == workshop.metrics("whole"))
        #expect(try TableModels.bytes(run + "/model") == TableModels.bytes(workshop.path + "/whole/model"))
        #expect(try TableModels.bytes(run + "/checkpoints/best") == TableModels.bytes(workshop.path + "/whole/checkpoints/best"))
    }
}
