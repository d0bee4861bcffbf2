import Foundation
import PreferenceData
import Serialization
import Synchronization
import Tensors
import Testing
import Training

@testable import align

/// What `--resume` and `--out` do with what is there, and what a second run on the same pairs is spared.
@Suite("Runs begun again") struct KilledResumeTests {
    let place: KilledFolder
    init() throws { place = try KilledFolder() }

    private func dpo(_ words: [String]) throws -> Child.Result { try Child(["dpo"] + words).wait() }

    private func bytes(_ name: String) -> Data? { FileManager.default.contents(atPath: "\(place.path)/\(name)") }

    @Test("a finished run is told again and left as it was") func finished() throws {
        let first = try dpo(place.words("a") + ["--json"])
        #expect(first.code == 0, "exit \(first.code): \(first.err)")
        let files = ["metrics.jsonl", "model/model.safetensors", "run.json", "checkpoints/step-8/training/state.json"].map { "a/" + $0 }
        let before = files.map(bytes)
        #expect(before.allSatisfy { $0 != nil }, "\(before)")
        let again = try dpo(["--resume", "--out", place.path + "/a", "--store", place.path + "/a.sqlite", "--sample-tokens", "0", "--json"])
        #expect(again.code == 0 && again.out == first.out, "exit \(again.code): \(again.out) and \(first.out)")
        #expect(files.map(bytes) == before)
        #expect(!again.err.contains("reference ") && !again.err.contains("dpo "), "\(again.err)")
    }

    @Test("a run that ended before the store heard of it is closed there by --resume, and once only") func ledger() throws {
        #expect(try dpo(place.words("a", ["--max-steps", "2"])).code == 0)
        let store = try PreferenceStore(path: place.path + "/a.sqlite")
        var run = try #require(store.runs().first)
        #expect(run.status == "finished" && run.finished != nil, "\(run)")
        (run.status, run.finished) = ("running", nil)
        try store.begin(run)
        #expect(try store.runs().map(\.status) == ["running"])
        #expect(try dpo(["--resume"] + place.words("a", ["--max-steps", "2"])).code == 0)
        #expect(try store.runs().map(\.status) == ["finished"])
        try store.finish(run: run.id, status: "failed", at: "later")
        #expect(try store.runs().map(\.status) == ["finished"])
    }

    @Test("a directory that is taken: exit 64, and nothing in it changes") func taken() throws {
        #expect(try dpo(place.words("a")).code == 0)
        let before = [bytes("a/metrics.jsonl"), bytes("a/run.json"), bytes("a/model/model.safetensors")]
        let second = try dpo(place.words("a"))
        #expect(second.code == 64 && second.err.contains("--resume") && second.err.contains("\(place.path)/a"), "exit \(second.code): \(second.err)")
        #expect(second.err.split(separator: "\n").count == 1, "it is refused before anything is done: \(second.err)")
        #expect([bytes("a/metrics.jsonl"), bytes("a/run.json"), bytes("a/model/model.safetensors")] == before)
        // So is a folder with other things in it.
        try FileManager.default.createDirectory(atPath: place.path + "/b", withIntermediateDirectories: true)
        try Data("x".utf8).write(to: URL(fileURLWithPath: place.path + "/b/thesis.txt"))
        let other = try dpo(place.words("b"))
        #expect(other.code == 64, "exit \(other.code): \(other.err)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.path + "/b") == ["thesis.txt"])
    }

    @Test("changed data, weights or settings are refused by name: exit 64") func changed() throws {
        #expect(try dpo(place.words("a", ["--max-steps", "5"])).code == 0)
        let resume = ["--resume", "--out", place.path + "/a", "--store", place.path + "/a.sqlite", "--sample-tokens", "0"]
        let setting = try dpo(resume + ["--beta", "0.3"])
        #expect(setting.code == 64 && setting.err.contains("beta"), "exit \(setting.code): \(setting.err)")

        let lines = try String(contentsOfFile: place.pairs, encoding: .utf8)
        try lines.replacingOccurrences(of: "sky", with: "sea").write(toFile: place.pairs, atomically: true, encoding: .utf8)
        let data = try dpo(resume)
        #expect(data.code == 64 && data.err.contains("data"), "exit \(data.code): \(data.err)")
        try lines.write(toFile: place.pairs, atomically: true, encoding: .utf8)
        #expect(try dpo(resume).code == 0)

        let file = place.folder.model + "/model.safetensors"
        var weights = try Data(contentsOf: URL(fileURLWithPath: file))
        weights[weights.count - 3] ^= 1
        try weights.write(to: URL(fileURLWithPath: file))
        let model = try dpo(resume)
        #expect(model.code == 64 && model.err.contains("model"), "exit \(model.code): \(model.err)")
    }

    @Test("--resume where there is no run begins one") func nothing() throws {
        let begun = try dpo(["--resume"] + place.words("new", ["--max-steps", "2"]))
        #expect(begun.code == 0, "exit \(begun.code): \(begun.err)")
        #expect(try place.record("new")["status"]?.string == "finished")
    }

    /// Reference passes of a run through the stage, with the store in `store`.
    private func passes(_ run: String, _ more: [String] = []) async throws -> Int {
        let invocation = try DPOCommand.parse(place.words(run, more, store: "shared")).invocation
        var context = invocation.context(on: try Compute(threads: 2), model: place.folder.model)
        context.referenceCache = try PreferenceStore(path: invocation.store)
        let scores = Mutex(0), evaluating = Mutex(0), open = context.openModel
        context.openModel = { path, settings in
            try open(path, settings).watched(onPass: { pass in if pass == .scores { scores.withLock { $0 += 1 } } })
        }
        context.report = { event in if case .evaluating = event { evaluating.withLock { $0 += 1 } } }
        _ = try await PreferenceOptimization(invocation.settings).run(in: context)
        return scores.withLock { $0 } - evaluating.withLock { $0 }
    }

    @Test("a second run on the same pairs never asks for the reference; another seed, beta or loss changes nothing in that") func second() async throws {
        let first = try await passes("a")
        #expect(first == 7, "\(first) reference passes, 14 pairs in twos take 7")
        for (run, more) in [("b", []), ("c", ["--beta", "0.5", "--seed", "4"]), ("d", ["--loss", "ipo", "--batch-size", "3"])] {
            let later = try await passes(run, more)
            #expect(later == 0, "run \(run): \(later) reference passes, 0 were expected")
        }
        let differences = try place.differences("a", "b")
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
        // Another precision is another reference.
        let other = try await passes("e", ["--precision", Compute(threads: 1).defaultPrecision == .fp32 ? "bf16" : "fp32"])
        #expect(other == 7, "\(other) reference passes in another precision, 7 were expected")
    }
}
