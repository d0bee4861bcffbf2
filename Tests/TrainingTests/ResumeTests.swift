import Foundation
import Serialization
import Synchronization
import Testing

@testable import Training

@Suite("Resumed runs") struct ResumeTests {
    let workshop: Workshop
    init() throws { workshop = try Workshop() }

    func settings(_ change: (inout PreferenceSettings) -> Void = { _ in }) throws -> PreferenceSettings {
        var settings = PreferenceSettings()
        settings.pairs = [try workshop.pairs(13)]
        settings.training.model = "seed:3"
        (settings.training.batchSize, settings.training.learningRate, settings.training.epochs) = (2, 0.05, 3)
        (settings.training.saveSteps, settings.training.evalSplit, settings.training.evalSteps) = (4, 0.2, 3)
        settings.training.weightDecay = 0.1
        change(&settings)
        return settings
    }

    func run(_ settings: PreferenceSettings, _ name: String, resumes: Bool = false, isCancelled: @escaping @Sendable () -> Bool = { false })
        async throws -> StageOutcome
    {
        var context = try workshop.context(TableModels(), run: name, resumes: resumes)
        context.isCancelled = isCancelled
        return try await PreferenceOptimization(settings).run(in: context)
    }

    func expectSame(_ a: String, _ b: String) throws {
        #expect(try workshop.metrics(a) == workshop.metrics(b))
        #expect(try TableModels.bytes(workshop.path + "/\(a)/model") == TableModels.bytes(workshop.path + "/\(b)/model"))
    }

    @Test("a run cancelled anywhere and resumed ends like one that was not", arguments: [1, 4, 8, 11, 14, 17, 20, 23, 27])
    func cancelled(polls: Int) async throws {
        let whole = try await run(settings(), "whole")
        let left = Mutex(polls)
        let first = try await run(settings(), "parts") { left.withLock { $0 -= 1; return $0 < 0 } }
        #expect(first.status == .interrupted && first.modelPath == nil)
        #expect(try RunDirectory.record(at: workshop.path + "/parts")["status"]?.string == "interrupted")
        let second = try await run(settings(), "parts", resumes: true)
        #expect(second.status == .finished && second.after == whole.after && second.before == whole.before)
        #expect(second.training == whole.training, "\(second.training) and \(whole.training)")
        try expectSame("whole", "parts")
    }

    @Test("so does one whose loss couples the step or remembers earlier ones", arguments: ["aot", "kto", "bco", "moving"], [3, 9, 16, 22])
    func cancelledCoupled(loss: String, polls: Int) async throws {
        func coupled() throws -> PreferenceSettings {
            try settings {
                if loss == "moving" {
                    ($0.movesReference, $0.referenceInterval, $0.referenceMixture, $0.training.saveSteps) = (true, 2, 0.4, 3)
                } else {
                    $0.loss = loss
                }
                ($0.training.batchSize, $0.training.accumulationSteps) = (3, 2)
                $0.training.epochs = ["aot", "moving"].contains(loss) ? 5 : 3
            }
        }
        _ = try await run(coupled(), "whole")
        let left = Mutex(polls)
        let first = try await run(coupled(), "parts") { left.withLock { $0 -= 1; return $0 < 0 } }
        #expect(first.status == .interrupted)
        _ = try await run(coupled(), "parts", resumes: true)
        try expectSame("whole", "parts")
    }

    @Test("a run cancelled in its last evaluation knows its last step's metrics") func cancelledAtTheEnd() async throws {
        let polls = Mutex(0)
        let whole = try await run(settings(), "whole") { polls.withLock { $0 += 1 }; return false }
        let last = polls.withLock { $0 }, left = Mutex(last - 1)
        let first = try await run(settings(), "parts") { left.withLock { $0 -= 1; return $0 < 0 } }
        #expect(first.status == .interrupted && first.steps == whole.steps, "stopped after \(first.steps) of \(whole.steps) steps")
        let second = try await run(settings(), "parts", resumes: true)
        #expect(second.training == whole.training && whole.training["loss"] != nil, "\(second.training) and \(whole.training)")
        try expectSame("whole", "parts")
    }

    @Test("a killed run is cut back to its checkpoint", arguments: [4, 8, 12]) func killed(step: Int) async throws {
        _ = try await run(settings { $0.training.saveTotalLimit = 9 }, "whole")
        let path = workshop.path + "/parts"
        try FileManager.default.copyItem(atPath: workshop.path + "/whole", toPath: path)
        // As kill -9 leaves it: later checkpoints never came to be, metrics ran ahead and the last line is torn, temporary folders lie about.
        try FileManager.default.removeItem(atPath: path + "/model")
        for later in [4, 8, 12] where later > step { try FileManager.default.removeItem(atPath: path + "/checkpoints/step-\(later)") }
        for leftover in ["step-\(step + 4).partial", "best.partial"] {
            try FileManager.default.createDirectory(atPath: path + "/checkpoints/\(leftover)", withIntermediateDirectories: true)
        }
        let metrics = try String(contentsOfFile: path + "/metrics.jsonl", encoding: .utf8)
        try metrics.dropLast(20).write(toFile: path + "/metrics.jsonl", atomically: false, encoding: .utf8)
        var record = try RunDirectory.record(at: path)
        (record["status"], record["outcome"]) = ("running", nil)
        try JSON.object(record).text().write(toFile: path + "/run.json", atomically: false, encoding: .utf8)

        _ = try await run(settings { $0.training.saveTotalLimit = 9 }, "parts", resumes: true)
        try expectSame("whole", "parts")
        let left = try FileManager.default.contentsOfDirectory(atPath: path + "/checkpoints").filter { $0.hasSuffix(".partial") }
        #expect(left.isEmpty, "\(left)")
        #expect(try TableModels.bytes(path + "/checkpoints/best") == TableModels.bytes(workshop.path + "/whole/checkpoints/best"))
    }

    @Test("an existing run is left alone without --resume") func existing() async throws {
        _ = try await run(settings(), "a")
        await #expect(throws: RunError.exists(path: workshop.path + "/a")) { try await run(settings(), "a") }
        // A folder with other things in it is not filled either.
        try FileManager.default.createDirectory(atPath: workshop.path + "/thesis", withIntermediateDirectories: true)
        try Data("x".utf8).write(to: URL(fileURLWithPath: workshop.path + "/thesis/chapter1.txt"))
        await #expect(throws: RunError.exists(path: workshop.path + "/thesis")) { try await run(settings(), "thesis") }
    }

    @Test("one process at a time writes to a run") func busy() throws {
        let file = workshop.path + "/metrics.jsonl"
        let first = try DurableFile(appendingTo: file, cutAt: 0)
        #expect(throws: RunError.busy(path: file)) { try DurableFile(appendingTo: file, cutAt: 0) }
        first.close()
        _ = try DurableFile(appendingTo: file, cutAt: 0)
    }

    @Test("changed settings and changed data are refused by name") func changed() async throws {
        _ = try await run(settings(), "a")
        let other = try settings {
            $0.beta = 0.2
            $0.training.batchSize = 3
        }
        await #expect(throws: RunError.changedSettings(path: workshop.path + "/a", fields: ["beta", "batch-size"])) {
            try await run(other, "a", resumes: true)
        }
        let pairs = try settings().pairs[0]
        let lines = try String(contentsOfFile: pairs, encoding: .utf8)
        try lines.replacingOccurrences(of: "[", with: "[1, ").write(toFile: pairs, atomically: false, encoding: .utf8)
        var same = PreferenceSettings()
        same.pairs = [pairs]
        try same.apply(RunDirectory.record(at: workshop.path + "/a")["settings"]?.object ?? JSONObject())
        do {
            _ = try await run(same, "a", resumes: true)
            Issue.record("changed data was accepted")
        } catch let error as RunError {
            guard case let .changedSettings(_, fields) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(fields == ["data", "held-out"])
        }
    }

    @Test("a finished run is finished") func finished() async throws {
        let first = try await run(settings(), "a")
        let before = try workshop.metrics("a")
        let again = try await run(settings(), "a", resumes: true)
        #expect(again.after == first.after && again.steps == first.steps && again.status == .finished)
        #expect(try workshop.metrics("a") == before)
    }

    @Test("as many checkpoints are kept as asked for, the newest") func limit() async throws {
        _ = try await run(settings { ($0.training.saveSteps, $0.training.saveTotalLimit) = (2, 3) }, "a")
        let names = try FileManager.default.contentsOfDirectory(atPath: workshop.path + "/a/checkpoints").filter { $0.hasPrefix("step-") }
        let steps = names.compactMap { Int($0.dropFirst(5)) }.sorted()
        #expect(steps.count == 3 && steps.last! - steps.first! == 4, "\(steps)")
    }

    @Test("a damaged checkpoint is named") func damaged() async throws {
        _ = try await run(settings(), "a")
        let path = workshop.path + "/a"
        try FileManager.default.removeItem(atPath: path + "/model")
        let file = path + "/checkpoints/step-12/training/optimizer.safetensors"
        let bytes = try Data(contentsOf: URL(fileURLWithPath: file))
        try bytes.dropLast(7).write(to: URL(fileURLWithPath: file))
        await #expect(throws: RunError.self) { try await run(settings(), "a", resumes: true) }
    }
}
