import Foundation
import Synchronization
import Testing

@testable import PreferenceData

@Suite("Store: splits, pairs, merging, duplicates") struct StoreWorkTests {
    func rows(_ count: Int) -> String {
        (0..<count).map { #"{"prompt": "Question \#($0)", "chosen": "good answer \#($0)", "rejected": "bad answer number \#($0)"}"# }.joined(separator: "\n")
    }

    func withStore(_ text: String, _ body: (PreferenceStore, String) throws -> Void) throws {
        let file = try TemporaryFile(text)
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/s.sqlite")
            _ = try store.importFile(file.path, at: "2026-01-01T00:00:00Z")
            try body(store, folder)
        }
    }

    func assignments(_ store: PreferenceStore) throws -> [String: String] {
        var result: [String: String] = [:]
        try store.scanPrompts { _, prompt, split throws(StoreError) in result[prompt.content.text] = split }
        return result
    }

    @Test("splits have their shares, follow from the seed alone, and share no question") func splits() throws {
        let shares = [SplitShare(name: "train", share: 0.8), SplitShare(name: "test", share: 0.2)]
        // Prompts 0 to 9 come a second time, differing in case and blanks.
        let twins = (0..<10).map { #"{"prompt": " QUESTION  \#($0)", "chosen": "good", "rejected": "bad"}"# }.joined(separator: "\n")
        try withStore(rows(190) + "\n" + twins) { store, folder in
            let counts = try store.split(shares, seed: 3)
            #expect(counts == ["train": 160, "test": 40], "\(counts)")
            let first = try assignments(store)
            for i in 0..<10 { #expect(first["Question \(i)"] == first[" QUESTION  \(i)"], "question \(i)") }
            let none = try store.problems()
            #expect(none.count == 0, "\(none.named)")

            try withStore(twins + "\n" + rows(190)) { other, _ in
                _ = try other.split(shares, seed: 3)
                #expect(try assignments(other) == first, "another order of rows, another split")
                _ = try other.split(shares, seed: 4, again: true)
                #expect(try assignments(other) != first, "another seed, the same split")
            }
            // What is imported later joins the split of its question, and nothing moves.
            let more = try TemporaryFile(#"{"prompt": "question 0", "chosen": "good", "rejected": "bad"}"#)
            _ = try store.importFile(more.path, at: "2026")
            _ = try store.split(shares, seed: 9)
            let later = try assignments(store)
            #expect(first.allSatisfy { later[$0.key] == $0.value } && later["question 0"] == first["Question 0"])

            try store.assign(split: first["Question 1"] == "test" ? "train" : "test", to: [StoredPrompt(" QUESTION  1").id])
            let problems = try store.problems()
            #expect(problems.count == 1 && problems.named[0].reason.contains("the same question"), "\(problems)")
        }
    }

    @Test("the best goes against the worst, and what teaches nothing is dropped by name") func pairs() {
        func scored(_ id: String, _ score: Double, _ text: String, cut: Bool = false) -> ScoredCompletion { ScoredCompletion(id: id, text: text, score: score, isTruncated: cut) }
        let four = [scored("a", 1, "one thing"), scored("b", 3, "another matter"), scored("c", 2, "middling"), scored("d", 9, "cut off", cut: true)]
        var building = PairBuilding()
        #expect(building.pair(of: four, prompt: "p") == .pair(chosen: four[1], rejected: four[0]))
        building.minGap = 2.5
        #expect(building.pair(of: four, prompt: "p") == .dropped(.gap))
        building.minGap = 0
        building.maxLengthDifference = 4  // 14 characters against 9
        #expect(building.pair(of: four, prompt: "p") == .dropped(.length))
        building.maxLengthDifference = 5
        #expect(building.pair(of: four, prompt: "p") == .pair(chosen: four[1], rejected: four[0]))
        #expect(building.pair(of: [four[0], four[3]], prompt: "p") == .dropped(.tooFew))
        #expect(building.pair(of: [scored("a", 1, "x"), scored("b", 1, "y")], prompt: "p") == .dropped(.gap), "equal scores prefer nothing")
        // One of eleven characters changed: 1/11 < 0.1.
        #expect(building.pair(of: [scored("a", 1, "hello world"), scored("b", 2, "hello_world")], prompt: "p") == .dropped(.nearDuplicate))
        #expect(abs(PairBuilding.distance("kitten", "sitting") - 3.0 / 7) < 1e-12, "\(PairBuilding.distance("kitten", "sitting"))")
        building.rejected = .lowerHalf
        let many = (0..<10).map { scored("\($0)", Double($0), String(repeating: "word\($0) ", count: 3)) }
        var drawn: Set<String> = []
        for prompt in 0..<200 {
            guard case let .pair(chosen, rejected) = building.pair(of: many, prompt: "\(prompt)") else { continue }
            #expect(chosen.id == "9")
            drawn.insert(rejected.id)
        }
        #expect(drawn == ["0", "1", "2", "3", "4"], "\(drawn.sorted())")
    }

    @Test("pairs of the store's scores become comparisons that training takes") func storedPairs() throws {
        let text = (0..<5).map { #"{"prompt": "Q\#($0)", "completions": ["bad \#($0)", "the good answer \#($0)"], "scores": [0, \#($0)]}"# }.joined(separator: "\n")
        try withStore(text) { store, _ in
            #expect(try store.rewards().map(\.name) == ["score"] && store.rewards()[0].scores == 10)
            let report = try store.buildPairs(PairBuilding(), reward: "score", at: "2026")
            #expect(report.prompts == 5 && report.new == 4 && report.dropped == [.gap: 1], "\(report)")
            #expect(try store.buildPairs(PairBuilding(), reward: "score", at: "2026").new == 0)
            var margins: [Double] = []
            try store.preferences { rows in
                #expect(rows.allSatisfy { $0.comparison.chosen.text.hasPrefix("the good") && $0.comparison.origin == .scores })
                margins += rows.compactMap(\.comparison.margin)
            }
            #expect(margins.sorted() == [1, 2, 3, 4], "\(margins)")
        }
    }

    @Test("merging takes what is new, twice without harm, and refuses what is no store") func merge() throws {
        try withStore(rows(30)) { store, folder in
            try withStore(rows(50)) { other, otherFolder in
                let item = LabelItem(prompt: StoredPrompt("Question 40").id, completions: ["good answer 40", "bad answer number 40"].map { StoredPrompt("Question 40").completionID(.init(kind: .text, text: $0)) })
                let vote = Vote(item: item, annotator: "ann", time: "2026-01-01T00:00:00.000Z", outcome: .tie)
                try other.append(vote)
                try other.assign(split: "test", to: [item.prompt])
                let new = try store.merge(otherFolder + "/s.sqlite")
                #expect(new.first { $0.table == "comparison" }?.new == 20 && new.first { $0.table == "vote" }?.new == 1, "\(new)")
                #expect(try store.merge(otherFolder + "/s.sqlite").allSatisfy { $0.new == 0 })
                #expect(try store.votes() == [vote] && store.comparisons().count == 50 && store.splits() == ["test": 1])
                #expect(try store.problems().count == 0)
            }
            let text = folder + "/text"
            try Data(repeating: 0x20, count: 2000).write(to: URL(fileURLWithPath: text))
            #expect(throws: StoreError.notAStore(path: text)) { try store.merge(text) }
            #expect(throws: StoreError.cannotOpen(path: folder + "/none", reason: "there is no such file")) { try store.merge(folder + "/none") }
            #expect(!FileManager.default.fileExists(atPath: folder + "/none"))
            #expect(try store.comparisons().count == 50)
        }
    }

    @Test("near-duplicates go, what a run trained on stays, contradictions are counted") func duplicates() throws {
        let text = [
            #"{"prompt": "What is it?", "chosen": "A thing.", "rejected": "No idea"}"#, #"{"prompt": "what is  it", "chosen": "a thing", "rejected": "No idea!"}"#,
            #"{"prompt": "Other", "chosen": "x", "rejected": "y"}"#, #"{"prompt": "Other", "chosen": "y", "rejected": "x"}"#,
        ].joined(separator: "\n")
        try withStore(text) { store, _ in
            #expect(try store.statistics().contradictions == 1)
            let dry = try store.removeDuplicates(contradictions: true, isDryRun: true)
            #expect(dry.comparisons == 4 && dry.nearDuplicates == 1 && dry.contradictions == 2 && dry.removed == 0, "\(dry)")
            #expect(try store.removeDuplicates(contradictions: false, isDryRun: false).removed == 1)
            let run = RunRecord(id: "r", stage: "dpo", settings: "{}", directory: "d", dataHash: "", modelHash: "", started: "2026")
            try store.begin(run, comparisons: try store.comparisons().filter { $0.chosen.text == "x" }.map(\.id))
            let last = try store.removeDuplicates(contradictions: true, isDryRun: false)
            #expect(last.removed == 1 && last.kept == 1, "\(last)")
            #expect(try store.comparisons().count == 2)
            try store.check()
        }
    }

    @Test("statistics count what is there") func statistics() throws {
        let labels = "\n" + #"{"prompt": "L", "completion": "yes", "label": true}"# + "\n" + #"{"text": "once upon a time"}"#
        try withStore(rows(10) + labels) { store, _ in
            let s = try store.statistics()
            let counts = Dictionary(uniqueKeysWithValues: s.counts.map { ($0.name, $0.count) })
            #expect(counts["comparisons"] == 10 && counts["prompts"] == 12 && counts["completions"] == 22 && counts["examples"] == 1, "\(counts)")
            #expect(s.longerWins == 0 && s.shorterChosen == 10 && s.goodLabels == 1 && s.badLabels == 0)
            // "good answer 7" has 13 characters, "bad answer number 7" 19, "once upon a time" 16.
            #expect(s.lengths.map(\.name) == ["prompts", "chosen", "rejected", "examples"], "\(s.lengths)")
            #expect(s.lengths[1].lengths.mean == 13 && s.lengths[2].lengths.median == 19 && s.lengths[3].lengths.maximum == 16, "\(s.lengths)")
        }
    }

    @Test("a content that was changed behind the store's back is found") func tampering() throws {
        try withStore(rows(5)) { store, _ in
            try store.withDatabase { database throws(StoreError) in
                try database.script("UPDATE completion SET content = 'else' WHERE content = 'good answer 3'; PRAGMA foreign_keys = OFF; DELETE FROM prompt WHERE content = 'Question 4'")
            }
            let problems = try store.problems()
            #expect(problems.named.contains { $0.place.hasPrefix("completion ") } && problems.named.contains { $0.reason.contains("names a row of prompt") }, "\(problems)")
        }
    }

    @Test("a store of the first version is copied, then brought to today's; its runs and log-probs stay") func migration() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/s.sqlite"
            let first = try #require(PreferenceStore.migration(1))
            let old = try Database(path: path)
            try old.script(first)
            try old.script("PRAGMA application_id = \(PreferenceStore.applicationID); PRAGMA user_version = 1")
            try old.script("INSERT INTO run VALUES ('r', 'dpo', '{}', 'd', 'x', 'y', 'finished', '2026', '2027')")
            let store = try PreferenceStore(path: path)
            #expect(try store.runs().map(\.id) == ["r"])
            #expect(FileManager.default.fileExists(atPath: path + ".v1"))
            let copy = try Database(path: path + ".v1")
            #expect(try copy.integer("PRAGMA user_version") == 1 && copy.integer("SELECT count(*) FROM run") == 1)
        }
    }

    @Test("votes get in while a large file is taken in, and nothing of either is lost") func together() throws {
        let file = try TemporaryFile(rows(30_000))
        try withTemporaryFolder { folder in
            let path = folder + "/s.sqlite"
            let labeller = try PreferenceStore(path: path)
            let item = try labeller.enqueue([Candidates(prompt: StoredPrompt("p"), completions: ["a", "b"])], source: StoredSource(named: "q"), added: "2026").items[0]
            let done = Atomic<Bool>(false), during = Atomic<Int>(0)
            let rows = file.path
            DispatchQueue.concurrentPerform(iterations: 2) { number in
                if number == 0 {
                    #expect(throws: Never.self) { _ = try PreferenceStore(path: path).importFile(rows, at: "2026") }
                    done.store(true, ordering: .sequentiallyConsistent)
                } else {
                    for second in 0..<2000 where !done.load(ordering: .sequentiallyConsistent) {
                        let vote = Vote(item: item, annotator: "ann", time: "2026-01-01T00:00:00.\(second)Z", outcome: .first)
                        #expect(throws: Never.self) { try labeller.append(vote) }
                        during.add(1, ordering: .sequentiallyConsistent)
                    }
                }
            }
            let cast = during.load(ordering: .sequentiallyConsistent)
            let (kept, votes) = (try labeller.comparisons().count, try labeller.votes().count)
            #expect(kept == 30_000 && votes == cast && cast > 0, "\(kept) comparisons, \(votes) of \(cast) votes")
            try labeller.check()
        }
    }

    @Test("an import that is killed leaves whole rows, and importing again adds the rest") func killedImport() async throws {
        let file = try TemporaryFile(rows(20_000))
        let folder = NSTemporaryDirectory() + "align-test-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/s.sqlite"
        _ = try PreferenceStore(path: path)
        setenv("ALIGN_TEST_FILE", file.path, 1)
        setenv("ALIGN_TEST_STORE", path, 1)
        await #expect(processExitsWith: .signal(SIGKILL)) {
            let environment = ProcessInfo.processInfo.environment
            let store = try PreferenceStore(path: try #require(environment["ALIGN_TEST_STORE"]))
            let file = try #require(environment["ALIGN_TEST_FILE"])
            Thread.detachNewThread {
                // As soon as a part of the rows is there.
                while !hasRows(store.path) { usleep(1000) }
                kill(getpid(), SIGKILL)
            }
            _ = try store.importFile(file, at: "2026")
            try await Task.sleep(for: .seconds(60))
        }
        let store = try PreferenceStore(path: path)
        try store.check()
        let half = try store.comparisons().count
        let problems = try store.problems()
        #expect(half > 0 && problems.count == 0, "\(half) rows after the kill, \(problems.named.prefix(3))")
        let report = try store.importFile(file.path, at: "2026")
        #expect(report.counts.known[.comparisons, default: 0] == half && report.counts.newRows == 20_000 - half, "\(report.counts) after \(half)")
        print("killed after \(half) of 20000 rows")
    }
}

/// Whether another connection sees comparisons.
private func hasRows(_ path: String) -> Bool {
    guard let store = try? PreferenceStore(path: path), let rows = try? store.comparisons() else { return false }
    return !rows.isEmpty
}
