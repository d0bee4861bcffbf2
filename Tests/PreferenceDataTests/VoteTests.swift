import Foundation
import Testing

@testable import PreferenceData

@Suite("Votes") struct VoteTests {
    let source = StoredSource(named: "queue")
    let candidates = Candidates(prompt: StoredPrompt("p"), completions: ["a", "b"])

    func time(_ second: Int) -> String { "2026-01-01T00:00:\(second < 10 ? "0" : "")\(second).000Z" }

    func withStore(_ body: (PreferenceStore) throws -> Void) throws {
        try withTemporaryFolder { folder in try body(try PreferenceStore(path: folder + "/s.sqlite")) }
    }

    @Test("a vote comes back as it was, and says the same whichever side was left") func roundTrip() throws {
        try withStore { store in
            let item = try store.enqueue([candidates], source: source, added: "2026").items[0]
            var vote = Vote(prompt: item.prompt, left: item.second, right: item.first, choice: .left, annotator: "ann", time: PreferenceStore.now())
            (vote.strength, vote.note, vote.session, vote.grades) = (3, "é \"why\"", "s1", #"{"first": {"helpful": 2}}"#)
            vote.edited = try store.add(completion: "b, better", of: candidates.prompt)
            #expect(vote.outcome == .second && vote.shownFirst == item.second && vote.preferred == item.second)
            #expect(try store.append(vote) == vote.id)
            try store.append(vote)
            #expect(try store.votes() == [vote], "appended twice, kept once")
            #expect(try store.annotators().map(\.id) == ["ann"])
            #expect(vote.time.count == 24 && vote.time.hasSuffix("Z"), "\(vote.time)")
            #expect(try store.candidates(of: item).completions.map(candidates.prompt.completionID) == item.completions)
            var other = vote
            (other.note, other.session) = (nil, "é \"why\"")
            #expect(other.id != vote.id, "\(vote.id) for two votes")
        }
    }

    @Test("withdrawn votes do not stand, withdrawn withdrawals do, and later votes replace earlier ones") func standing() throws {
        try withStore { store in
            let item = try store.enqueue([candidates], source: source, added: "2026").items[0]
            let first = Vote(item: item, annotator: "ann", time: time(1), outcome: .first)
            let second = Vote(item: item, annotator: "ann", time: time(2), outcome: .second)
            let other = Vote(item: item, annotator: "bob", time: time(3), outcome: .tie)
            let undo = Vote(withdrawing: second, time: time(2)), redo = Vote(withdrawing: undo, time: time(5))
            try store.append([first, second, other])
            #expect(try store.standingVotes() == [second, other])
            try store.append(undo)
            #expect(try store.standingVotes() == [first, other], "the earlier vote stands again")
            try store.append(redo)
            #expect(try store.standingVotes() == [second, other])
            #expect(try store.votes().count == 5)
            #expect(throws: StoreError.self) { try store.append(Vote(withdrawing: Vote(item: item, annotator: "ann", time: time(9), outcome: .tie), time: time(10))) }
        }
    }

    @Test("items are asked for until they have their votes, the most urgent first") func queue() throws {
        try withStore { store in
            let low = try store.enqueue([candidates], source: source, added: "2026").items[0]
            let high = try store.enqueue([Candidates(prompt: StoredPrompt("q"), completions: ["c", "d"])], source: source, priority: 2, added: "2026").items[0]
            #expect(try store.itemsToLabel(by: "ann") == [high, low])
            try store.append(Vote(item: high, annotator: "ann", time: time(1), outcome: .first))
            #expect(try store.itemsToLabel(by: "ann") == [low] && store.itemsToLabel(by: "bob") == [low])
            #expect(try store.itemsToLabel(by: "bob", votesWanted: 2) == [high, low])
            let skip = Vote(item: low, annotator: "ann", time: time(2), outcome: .skip)
            try store.append(skip)
            #expect(try store.itemsToLabel(by: "ann", votesWanted: 2).isEmpty && store.itemsToLabel(by: "bob") == [low], "a skip counts for its annotator alone")
            try store.append(Vote(withdrawing: skip, time: time(3)))
            #expect(try store.itemsToLabel(by: "ann", limit: 1) == [low])
            #expect(try store.items(source: "other").isEmpty)
        }
    }

    @Test("votes that contradict themselves are refused by name") func faults() throws {
        try withStore { store in
            let item = try store.enqueue([candidates], source: source, added: "2026").items[0]
            let plain = Vote(item: item, annotator: "ann", time: time(1), outcome: .first)
            var strong = plain, foreign = plain, ranked = plain, incomplete = plain
            strong.strength = 5
            foreign.shownFirst = "x"
            ranked.ranking = [[item.first], [item.second]]
            (incomplete.outcome, incomplete.ranking) = (.ranking, [[item.first]])
            let unknown = Vote(item: LabelItem(prompt: item.prompt, completions: ["x", "y"]), annotator: "ann", time: time(1), outcome: .first)
            for vote in [strong, foreign, ranked, incomplete, unknown] {
                #expect { try store.append(vote) } throws: { if case StoreError.badVote? = $0 as? StoreError { true } else { false } }
            }
            #expect(try store.votes().isEmpty)
            try store.append(plain)
            // Not even SQL takes a vote back.
            for sql in ["DELETE FROM vote", "UPDATE vote SET outcome = 'tie'"] {
                #expect(throws: StoreError.self) { try store.withDatabase { database throws(StoreError) in try database.script(sql) } }
            }
            #expect(try store.votes() == [plain])
        }
    }

    @Test("a majority prefers, a tie does not, a ranking votes on all its pairs") func verdicts() throws {
        try withStore { store in
            let three = Candidates(prompt: StoredPrompt("r"), completions: ["x", "y", "z"])
            let items = try store.enqueue([candidates, three], source: source, added: "2026").items
            func vote(_ who: String, _ outcome: Vote.Outcome, _ strength: Int? = nil) throws {
                var vote = Vote(item: items[0], annotator: who, time: time(1), outcome: outcome)
                vote.strength = strength
                try store.append(vote)
            }
            try vote("a", .first, 4)
            try vote("b", .second, 1)
            #expect(try store.verdicts().first?.preferred == nil, "one against one")
            try vote("c", .first, 3)
            let verdict = try #require(try store.verdicts().first)
            // (4 − 1 + 3) / 3 = 2
            #expect(verdict.preferred == items[0].first && verdict.agreement == 2.0 / 3 && verdict.pairs.first?.margin == 2, "\(verdict)")
            try vote("d", .bothBad)
            #expect(try store.verdicts().first?.preferred == nil, "two of four are no majority")

            let ids = three.completions.map(three.prompt.completionID)
            var ranking = Vote(item: items[1], annotator: "a", time: time(2), outcome: .ranking)
            ranking.ranking = [[ids[2]], [ids[0], ids[1]]]
            try store.append(ranking)
            let preferred = try store.verdicts().filter { $0.item.prompt == three.prompt.id }.map(\.preferred)
            #expect(preferred.compactMap(\.self) == [ids[2], ids[2]] && preferred.count == 3, "\(preferred)")
            #expect(try store.votes(on: items[1].id) == [ranking])
        }
    }

    @Test("today's preferences: votes overrule files, other splits and gold stay out, a run keeps what it began with") func preferences() throws {
        try withStore { store in
            let imported = (0..<5).map { StoredComparison(prompt: "p\($0)", chosen: "good", rejected: "bad", source: "f.jsonl") }
            _ = try store.add(imported, added: "2026")
            func today(_ split: SplitChoice = .trainable) throws -> [StoredComparison] {
                var rows: [StoredComparison] = []
                try store.preferences(in: split, batch: 2) { rows += $0.map(\.comparison) }
                return rows.sorted { $0.prompt.content.text < $1.prompt.content.text }
            }
            #expect(try today() == imported)
            let item = LabelItem(prompt: imported[0].prompt.id, completions: [imported[0].prompt.completionID("good"), imported[0].prompt.completionID("bad")])
            let vote = Vote(prompt: item.prompt, left: imported[0].prompt.completionID("bad"), right: imported[0].prompt.completionID("good"), choice: .left, annotator: "ann", time: time(1))
            try store.append(vote)
            #expect(try today().map(\.chosen.text) == ["bad", "good", "good", "good", "good"])
            #expect(try today().first?.origin == .votes)

            var began: [String] = []
            try store.preferences { began += $0.map(\.id) }
            let run = RunRecord(id: "r", stage: "dpo", settings: "{}", directory: "d", dataHash: "", modelHash: "", started: "2026")
            try store.begin(run, comparisons: began)
            try store.append(Vote(withdrawing: vote, time: time(2)))
            #expect(try today() == imported, "without the vote the file counts again")
            var kept: [String] = []
            try store.preferences(ofRun: "r", batch: 2) { kept += $0.map(\.id) }
            #expect(kept == began && began == began.sorted(), "\(kept.count) of \(began.count)")

            try store.assign(split: "test", to: [imported[1].prompt.id])
            try store.assign(split: "train", to: [imported[2].prompt.id])
            #expect(try today().count == 4 && today(.all).count == 5 && today(.named("test")) == [imported[1]])
        }
    }
}
