import Foundation
import Testing

@testable import PreferenceData

/// A path in a folder of its own, which is removed afterwards.
func withTemporaryFolder<R>(_ body: (String) throws -> R) throws -> R {
    let folder = NSTemporaryDirectory() + "align-test-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try body(folder)
}

@Suite("Preference store") struct StoreTests {
    let key = PreferenceStore.ReferenceKey(model: "m", precision: "fp32", kernels: "portable", numerics: 1)
    let pair = StoredComparison(prompt: "p", chosen: "good", rejected: "bad", margin: 0.5, source: "a.jsonl:1")

    @Test("what was written is there after reopening, bit for bit") func reopening() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/deep/er/align.sqlite"
            let values: [(hash: String, values: [Double])] = (0..<10_000).map { ("h\($0)", [-Double($0) / 7, .leastNonzeroMagnitude, -0.0]) }
            do { try PreferenceStore(path: path).saveReferenceLogProbs(key, values) }
            let store = try PreferenceStore(path: path)
            let known = try store.referenceLogProbs(key, tokenHashes: values.map(\.hash) + ["unknown"])
            #expect(known.count == 10_000, "\(known.count) of 10000")
            for (hash, expected) in values {
                #expect(known[hash]?.map(\.bitPattern) == expected.map(\.bitPattern), "\(hash): \(known[hash] ?? []), stored \(expected)")
            }
            for other in [("other", "fp32", "portable", 1), ("m", "bf16", "portable", 1), ("m", "fp32", "avx2", 1), ("m", "fp32", "portable", 2)] {
                let key = PreferenceStore.ReferenceKey(model: other.0, precision: other.1, kernels: other.2, numerics: other.3)
                #expect(try store.referenceLogProbs(key, tokenHashes: ["h1"]).isEmpty, "\(other)")
            }
            try store.check()
        }
    }

    @Test("importing twice changes nothing, and a pair knows its runs") func comparisons() throws {
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/s.sqlite")
            let first = try store.add([pair, pair], added: "2026-01-01T00:00:00Z")
            let second = try store.add([pair], added: "2026-01-02T00:00:00Z")
            #expect(first.new == 1 && second.new == 0 && first.ids[0] == second.ids[0], "\(first), \(second)")
            #expect(try store.comparisons() == [pair])
            let parent = RunRecord(id: "r0", stage: "sft", settings: "{}", directory: "d", dataHash: "", modelHash: "", started: "2026")
            var run = RunRecord(id: "r1", stage: "dpo", settings: "{}", directory: "d", dataHash: "x", modelHash: "y", started: "2027", parents: ["r0"])
            try store.begin(parent)
            try store.begin(run, comparisons: first.ids)
            try store.finish(run: "r1", status: "finished", at: "2028")
            run.status = "finished"
            run.finished = "2028"
            #expect(try store.runs() == [parent, run])
            #expect(try store.runs(trainedOn: pair.id) == ["r1"])
        }
    }

    @Test("ids tell where one text ends and the next begins") func ids() {
        let a = StoredComparison(prompt: "ab", chosen: "c", rejected: "d", source: "")
        let b = StoredComparison(prompt: "a", chosen: "bc", rejected: "d", source: "")
        #expect(a.id != b.id, "\(a.id) twice")
        let messages = StoredPrompt(.init(kind: .messages, text: "[]")), text = StoredPrompt("[]")
        #expect(messages.id != text.id && StoredPrompt("[]", tools: "[]").id != text.id, "\(text.id) again")
        #expect(a.id.prefix(16) == a.prompt.id.prefix(16) && a.prompt.completionID("c").prefix(16) == a.prompt.id.prefix(16), "\(a.id)")
    }

    @Test("other files are refused by name") func refusals() throws {
        try withTemporaryFolder { folder in
            let text = folder + "/text"
            try Data("this is a text, and long enough to be looked at as a database header would be, or so one hopes; it goes on".utf8).write(to: URL(fileURLWithPath: text))
            #expect(throws: StoreError.notADatabase(path: text)) { try PreferenceStore(path: text) }
            #expect(throws: StoreError.cannotOpen(path: folder, reason: "it is a folder")) { try PreferenceStore(path: folder) }

            let path = folder + "/s.sqlite"
            _ = try PreferenceStore(path: path)
            func patch(_ offset: UInt64, _ bytes: [UInt8], _ name: String) throws -> String {
                let copy = folder + "/" + name
                var data = try Data(contentsOf: URL(fileURLWithPath: path))
                data.replaceSubrange(Int(offset)..<Int(offset) + bytes.count, with: bytes)
                try data.write(to: URL(fileURLWithPath: copy))
                return copy
            }
            // The header's user version (60) and application id (68), big-endian.
            let newer = try patch(60, [0, 0, 0, 99], "newer")
            #expect(throws: StoreError.newer(path: newer, found: 99, known: 3)) { try PreferenceStore(path: newer) }
            let foreign = try patch(68, [1, 2, 3, 4], "foreign")
            #expect(throws: StoreError.foreign(path: foreign)) { try PreferenceStore(path: foreign) }
        }
    }

    @Test("two connections that write at once lose nothing") func concurrency() async throws {
        let folder = NSTemporaryDirectory() + "align-test-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/s.sqlite"
        let key = key
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<2 {
                group.addTask {
                    let store = try PreferenceStore(path: path)
                    for i in 0..<50 { try store.saveReferenceLogProbs(key, [("\(writer)-\(i)", [Double(i)])]) }
                }
            }
            try await group.waitForAll()
        }
        let hashes = (0..<2).flatMap { writer in (0..<50).map { "\(writer)-\($0)" } }
        let known = try PreferenceStore(path: path).referenceLogProbs(key, tokenHashes: hashes)
        #expect(known.count == 100, "\(known.count) of 100")
    }
}
