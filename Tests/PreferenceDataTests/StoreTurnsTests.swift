import Foundation
import Serialization
import Testing

@testable import PreferenceData

/// What long work does to those who label meanwhile, and what a stopped or repeated import leaves behind.
@Suite("Turns and places") struct StoreTurnsTests {
    static func rows(_ range: Range<Int>) -> String {
        range.map { #"{"prompt": "Question \#($0)", "chosen": "good answer \#($0)", "rejected": "bad answer number \#($0)"}"# }.joined(separator: "\n") + "\n"
    }

    func withStore(_ body: (PreferenceStore, String) throws -> Void) throws {
        try withTemporaryFolder { folder in try body(try PreferenceStore(path: folder + "/s.sqlite"), folder) }
    }

    func largest(_ path: String, _ work: (PreferenceStore) throws -> Void) throws -> Int {
        let store = try PreferenceStore(path: path)
        try work(store)
        return try store.withDatabase { database throws(StoreError) in database.largestTransaction }
    }

    @Test("imports, merges and settled votes change at most 2100 rows a transaction") func turns() throws {
        try withTemporaryFolder { folder in
            let file = try TemporaryFile(Self.rows(0..<6000))
            // A row comes to a prompt, two completions and a comparison.
            let imported = try largest(folder + "/a.sqlite") { _ = try $0.importFile(file.path, at: "2026") }
            #expect(imported > 32 && imported <= 4 * 2100, "\(imported) rows in one transaction of an import")
            let voted = try PreferenceStore(path: folder + "/a.sqlite")
            let items = try voted.comparisons().map { LabelItem(prompt: $0.prompt.id, completions: [$0.chosen, $0.rejected].map($0.prompt.completionID)) }
            for start in stride(from: 0, to: items.count, by: 500) {
                try voted.append(items[start..<start + 500].map { Vote(item: $0, annotator: "ann", time: "2026-01-01T00:00:00.000Z", outcome: .second) })
            }
            try voted.append(Vote(withdrawing: try voted.votes()[0], time: "2026-01-01T00:00:01.000Z"))
            let settled = try largest(folder + "/a.sqlite") { store in
                var count = 0
                try store.preferences { count += $0.count }
                #expect(count == 6000, "\(count) preferences, 5999 of votes that stand and 1 of the file, whose vote was withdrawn")
            }
            #expect(settled > 32 && settled <= 2100, "\(settled) rows in one transaction of settling")
            let merged = try largest(folder + "/b.sqlite") { store in
                let new = try store.merge(folder + "/a.sqlite")
                #expect(new.first { $0.table == "vote" }?.new == 6001 && new.first { $0.table == "completion" }?.new == 12000, "\(new)")
                #expect(try store.merge(folder + "/a.sqlite").allSatisfy { $0.new == 0 })
                #expect(try store.votes().map(\.id) == voted.votes().map(\.id))
            }
            #expect(merged > 64 && merged <= 2100, "\(merged) rows in one transaction of a merge")
        }
    }

    @Test("a bad row anywhere in a file of many batches keeps all of it out, and every problem is told", arguments: [OnBadRow.stop, .skip])
    func stop(_ onBadRow: OnBadRow) throws {
        try withStore { store, _ in
            let file = try TemporaryFile(Self.rows(0..<60) + "{\"prompt\": 3}\n" + Self.rows(60..<90) + "no row\n")
            var reader = RowReader()
            reader.batch = 10
            if onBadRow == .skip {
                let report = try store.importFile(file.path, with: reader, onBadRow: .skip, at: "2026")
                #expect(report.counts.newRows == 90 && report.badRows.map(\.line) == [61, 92], "\(report)")
                return
            }
            #expect { try store.importFile(file.path, with: reader, onBadRow: .stop, at: "2026") } throws: { error in
                guard case let .badRows(rows, 2)? = error as? RecordError else { return false }
                return rows.map(\.line) == [61, 92]
            }
            let taken = try store.withDatabase { database throws(StoreError) in try database.integer("SELECT count(*) FROM prompt") }
            #expect(taken == 0, "of a refused file \(taken) prompts were taken")
        }
    }

    @Test("of two annotators who ask for an item's last place, in two connections, one gets it") func places() throws {
        try withStore { store, folder in
            let other = try PreferenceStore(path: folder + "/s.sqlite")
            let candidates = Candidates(prompt: StoredPrompt("p"), completions: ["a", "b"])
            let item = try store.enqueue([candidates], source: StoredSource(named: "q"), added: "2026").items[0]
            let now = Date(timeIntervalSince1970: 1_800_000_000)
            func ask(_ store: PreferenceStore, _ who: String, _ session: String, after seconds: Double = 0, overlap: Int = 1) throws -> Bool {
                try store.reserve(item, by: who, session: session, votesWanted: overlap, now: now + seconds)
            }
            #expect(try ask(store, "ann", "1"))
            #expect(try !ask(other, "bob", "2"), "both have the only place")
            #expect(try ask(other, "ann", "3"), "an annotator's own screen is in nobody's way")
            #expect(try ask(other, "bob", "2", overlap: 2))
            #expect(try !ask(other, "cem", "4", overlap: 2))
            try other.release(session: "2")
            #expect(try ask(other, "cem", "4", overlap: 2))
            // Killed processes let go of nothing; their time runs out.
            #expect(try !ask(other, "bob", "2", after: 599))
            #expect(try ask(other, "bob", "2", after: 601))
            try other.release(session: "2")
            try store.append(Vote(item: item, annotator: "ann", time: "2026-01-01T00:00:00.000Z", outcome: .skip))
            #expect(try ask(other, "bob", "2", after: 601), "a skip takes no place")
            try store.append(Vote(item: item, annotator: "ann", time: "2026-01-01T00:00:01.000Z", outcome: .first))
            #expect(try !ask(other, "bob", "2", after: 601))
        }
    }

    @Test("many who ask at once get no more places than there are") func race() async throws {
        let folder = NSTemporaryDirectory() + "align-test-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/s.sqlite"
        let item = try PreferenceStore(path: path).enqueue(
            [Candidates(prompt: StoredPrompt("p"), completions: ["a", "b"])], source: StoredSource(named: "q"), added: "2026").items[0]
        let places = try await withThrowingTaskGroup(of: Bool.self) { group in
            for who in 0..<8 {
                group.addTask { try PreferenceStore(path: path).reserve(item, by: "\(who)", session: "s\(who)", votesWanted: 3) }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(places == 3, "\(places) of 8 got one of 3 places")
    }

    @Test("judgments that name nobody are one vote each, the same ones when imported again") func unnamed() throws {
        try withStore { store, folder in
            func judgment(_ prompt: String, _ label: Int, _ who: String = "") -> String {
                let name = who.isEmpty ? "" : #", "annotator": "\#(who)""#
                return #"{"input": "\#(prompt)", "output_1": "A \#(prompt)", "output_2": "B \#(prompt)", "label": \#(label)\#(name)}"#
            }
            let lines = [judgment("p", 1), judgment("p", 1), judgment("q", 2), judgment("p", 2), judgment("p", 1, "ann"), judgment("p", 2, "ann")]
            let path = folder + "/mt.jsonl"
            try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
            let report = try store.importFile(path, at: "2026")
            #expect(report.counts.new == [.votes: 6], "\(report.counts)")
            // Three unnamed ones on p, one on q, and of the two by ann one.
            #expect(try store.standingVotes().map(\.annotator).sorted() == ["ann", "mt", "mt", "mt/2", "mt/3"])
            let verdict = try #require(try store.verdicts().first { $0.votes > 1 })
            #expect(verdict.votes == 4 && max(verdict.first, verdict.second) >= 2, "\(verdict)")
            #expect(try store.importFile(path, at: "2027").counts.newRows == 0)
            try (lines + [judgment("p", 1)]).joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
            #expect(try store.importFile(path, at: "2027").counts.new == [.votes: 1])
            #expect(try store.annotators().map(\.id) == ["ann", "mt", "mt/2", "mt/3", "mt/4"])
        }
    }
}
