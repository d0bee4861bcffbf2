import Foundation
import Testing

@testable import PreferenceData

@Suite("Preference store, interrupted") struct StoreCrashTests {
    let key = PreferenceStore.ReferenceKey(model: "m", precision: "fp32", kernels: "portable", numerics: 1)

    @Test("a process that is killed leaves whole batches behind") func kill() throws {
        try withTemporaryFolder { folder in
            let (path, copy) = (folder + "/s.sqlite", folder + "/copy.sqlite")
            let store = try PreferenceStore(path: path)
            let batches = (0..<5).map { batch in (0..<40).map { (hash: "\(batch)-\($0)", values: [Double](repeating: Double($0), count: 30)) } }
            for batch in batches { try store.saveReferenceLogProbs(key, batch) }
            let file = try Data(contentsOf: URL(fileURLWithPath: path))
            let log = try Data(contentsOf: URL(fileURLWithPath: path + "-wal"))
            #expect(log.count > 10_000, "the log has \(log.count) bytes, so little that the test tests nothing")

            // What another process finds after the writer died: the log up to where it had come.
            var found: [Int] = []
            for part in 0...24 {
                try? FileManager.default.removeItem(atPath: copy + "-shm")
                try file.write(to: URL(fileURLWithPath: copy))
                try log.prefix(log.count * part / 24).write(to: URL(fileURLWithPath: copy + "-wal"))
                let reopened = try PreferenceStore(path: copy)
                try reopened.check()
                let counts = try batches.map { try reopened.referenceLogProbs(key, tokenHashes: $0.map(\.hash)).count }
                #expect(counts.allSatisfy { $0 == 0 || $0 == 40 }, "part \(part): \(counts)")
                #expect(counts == counts.sorted(by: >), "part \(part): a later batch without an earlier one: \(counts)")
                found.append(counts.reduce(0, +))
            }
            #expect(found.first == 0 && found.last == 200, "\(found)")
        }
    }

    @Test("a damaged file gives an error, never a crash") func damage() throws {
        try withTemporaryFolder { folder in
            let (path, copy) = (folder + "/s.sqlite", folder + "/copy.sqlite")
            do {
                let store = try PreferenceStore(path: path)
                let pairs = (0..<200).map { StoredComparison(prompt: "p\($0)", chosen: "good", rejected: "bad", source: "f:\($0)") }
                _ = try store.add(pairs, added: "2026")
                try store.saveReferenceLogProbs(key, (0..<200).map { ("h\($0)", [1, 2, 3]) })
            }
            let whole = try Data(contentsOf: URL(fileURLWithPath: path))
            #expect(whole.count > 40_000, "\(whole.count) bytes")
            var state: UInt64 = 5
            func random(_ bound: Int) -> Int {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Int(state >> 33) % bound
            }
            var failures = 0
            for round in 0..<300 {
                for suffix in ["-wal", "-shm"] { try? FileManager.default.removeItem(atPath: copy + suffix) }
                var bytes = whole
                if round % 3 == 0 { bytes = bytes.prefix(random(bytes.count)) }
                for _ in 0..<(1 + random(40)) where !bytes.isEmpty { bytes[random(bytes.count)] = UInt8(random(256)) }
                try bytes.write(to: URL(fileURLWithPath: copy))
                do {
                    let store = try PreferenceStore(path: copy)
                    _ = try store.comparisons()
                    _ = try store.runs()
                    _ = try store.referenceLogProbs(key, tokenHashes: ["h1", "h100"])
                    try store.check()
                } catch {
                    #expect(error is StoreError, "round \(round): \(error)")
                    failures += 1
                }
            }
            #expect(failures > 50, "\(failures) of 300 damaged files were noticed")
        }
    }

    @Test("many connections open one new store at once") func opening() async throws {
        let folder = NSTemporaryDirectory() + "align-test-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for round in 0..<20 {
            let path = folder + "/s\(round).sqlite"
            let key = key
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<8 {
                    group.addTask { try PreferenceStore(path: path).saveReferenceLogProbs(key, [("\(writer)", [1])]) }
                }
                try await group.waitForAll()
            }
            let known = try PreferenceStore(path: path).referenceLogProbs(key, tokenHashes: (0..<8).map { "\($0)" })
            #expect(known.count == 8, "round \(round): \(known.count) of 8")
        }
    }
}
