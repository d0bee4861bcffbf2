import Checkpoints
import Foundation
import PreferenceData
import Serialization
import Synchronization
import Tensors
import Testing
import Training

@testable import align

/// `kill -9` of a run in a child process, then `align dpo --resume`: the files are those of a run that was never stopped.
@Suite("Killed runs of a transformer", .serialized) struct KilledRunTests {
    /// Where a run is killed.
    enum Moment: String, CaseIterable, Codable, Sendable {
        /// At a pass of the reference, in a commit of its log-probs, and in the middle of a write to the store's log.
        case reference, commit, storeWrite
        /// At a training pass, forward or backward, and at a pass over the held-out rows.
        case forward, backward, evaluation
        /// In the middle of a checkpoint's weights and of its moments, of the best weights, and of the result.
        case checkpointWeights, checkpointMoments, best, model
        /// When a checkpoint has just been written.
        case saved

        /// Of what is counted, which one it is: a seeded draw. Files die after so many bytes.
        var count: Int {
            var random = RandomStream(seed: 20, stream: 1, index: UInt64(Self.allCases.firstIndex(of: self) ?? 0))
            // 14 pairs in 7 passes, a commit each; 12 steps, of 5 or 6 pairs of passes an epoch; 2 checkpoints; 100 kB of weights.
            let range: ClosedRange<Int> =
                switch self {
                case .reference: 2...7
                case .commit: 3...8  // the first is of the run's record
                case .storeWrite: 1...14
                case .forward, .backward: 1...12
                case .evaluation: 8...16  // after the 7 of the reference
                case .checkpointWeights, .best, .model: 1000...60_000
                case .checkpointMoments: 120_000...160_000
                case .saved: 1...2
                }
            return Int.random(in: range, using: &random)
        }
    }

    /// Runs in the child, put together as `align dpo` does, and dies.
    static func runAndDie(_ words: [String], _ moment: Moment) async throws {
        let invocation = try DPOCommand.parse(words).invocation
        let compute = try Compute(threads: invocation.threads)
        var context = invocation.context(on: compute, model: try ModelChoice.resolve(invocation.training.model))
        let count = moment.count
        Death.watchStores()
        let store = try PreferenceStore(path: invocation.store)
        (context.referenceCache, context.ledger) = (store, store)
        Death.arm(commit: moment == .commit ? count : 0, write: moment == .storeWrite ? count : 0)

        let passes = Mutex<[WatchedPolicy.Pass: Int]>([:]), saves = Mutex(0)
        let dying: WatchedPolicy.Pass? =
            switch moment {
            case .reference, .evaluation: .scores
            case .forward: .forward
            case .backward: .backward
            default: nil
            }
        let open = context.openModel
        context.openModel = { path, settings in
            try open(path, settings).watched(onPass: { pass in
                if passes.withLock({ $0[pass, default: 0] += 1; return $0[pass] }) == count, pass == dying { Death.now() }
            }, onSave: { folder in
                switch moment {
                case .checkpointWeights, .checkpointMoments: if folder.hasPrefix("step-8") { Death.inFile(after: count) }
                case .best: if folder.hasPrefix("best") { Death.inFile(after: count) }
                case .model: if folder.hasPrefix("model") { Death.inFile(after: count) }
                default: break
                }
            })
        }
        context.report = { event in
            if case .checkpoint = event, moment == .saved, saves.withLock({ $0 += 1; return $0 }) == count { Death.now() }
        }
        _ = try await PreferenceOptimization(invocation.settings).run(in: context)
    }

    @Test("a killed run resumes as if it had not been", arguments: Moment.allCases) func killed(moment: Moment) async throws {
        let place = try KilledFolder()
        let words = place.words("parts")
        print("to be killed: \(moment.rawValue) \(moment.count)")
        await #expect(processExitsWith: .signal(SIGKILL)) { [words = words as [String], moment = moment as Moment] in
            try await KilledRunTests.runAndDie(words, moment)
        }
        let store = place.path + "/parts.sqlite"
        try PreferenceStore(path: store).check()
        let resumed = try Child(["dpo", "--resume", "--out", place.path + "/parts", "--store", store, "--sample-tokens", "0", "--threads", "2"]).wait()
        #expect(resumed.code == 0, "exit \(resumed.code): \(resumed.err)")
        if moment == .reference || moment == .commit {  // passes of two pairs: those before the last are kept, and nothing of that one
            let kept = moment == .reference ? moment.count - 1 : moment.count - 2
            #expect(resumed.err.contains("(\(2 * kept) pairs were known)"), "\(moment.rawValue) \(moment.count): \(resumed.err)")
        }
        let whole = try Child(["dpo"] + place.words("whole")).wait()
        #expect(whole.code == 0, "exit \(whole.code): \(whole.err)")
        let differences = try place.differences("parts", "whole")
        #expect(differences.isEmpty, "\(moment.rawValue) \(moment.count): \(differences.joined(separator: "\n"))")
        let lines = try place.metrics("whole").count
        #expect(lines == 12 + 5, "\(lines) lines, 12 steps and 5 evaluations were expected")
        let runs = try PreferenceStore(path: store).runs()
        #expect(runs.map(\.status) == ["finished"], "\(runs)")
        let left = FileManager.default.enumerator(atPath: place.path + "/parts")?.compactMap { $0 as? String }.filter { $0.contains(".partial") } ?? []
        #expect(left.isEmpty, "\(left)")
    }
}
