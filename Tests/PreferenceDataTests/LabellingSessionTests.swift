import Foundation
import Serialization
import Testing

@testable import PreferenceData

/// Items of numbered prompts, with texts to tell them by.
enum LabelItems {
    static func candidates(_ count: Int, completions: Int = 2) -> [Candidates] {
        (0..<count).map { number in
            Candidates(prompt: StoredPrompt("question \(number)"), completions: (0..<completions).map { "answer \($0) to \(number)" })
        }
    }
    static func entries(_ count: Int, completions: Int = 2) -> [LabelSession.Entry] { candidates(count, completions: completions).map { .init(item: $0.item) } }
    static func session(_ count: Int, completions: Int = 2, annotator: String = "anna", grades: Bool = false, votes: [Vote] = []) -> LabelSession {
        var settings = LabelSession.Settings(annotator: annotator, session: "s")
        settings.grades = grades ? LabelGrade.allCases : []
        return LabelSession(settings, entries: entries(count, completions: completions), votes: votes)
    }
}

extension LabelSession {
    /// Applies and records; a clock that ticks with every vote.
    @discardableResult
    mutating func act(_ action: LabelAction) throws -> Vote? {
        let vote = try apply(action, time: "2026-01-01T00:00:\(10 + votes.count)Z")
        if let vote { record(vote) }
        return vote
    }
}

@Suite("Labelling session") struct LabellingSessionTests {
    @Test("a vote names what was chosen, not the side, and keeps which side it was on") func sides() throws {
        var session = LabelItems.session(200), lefts = 0
        for number in 0..<200 {
            let entry = try #require(session.entry), shown = session.shown
            #expect(shown.sorted() == entry.item.completions)
            if shown[0] == entry.item.first { lefts += 1 }
            let vote = try #require(try session.act(.choose(number % 2 == 0 ? .left : .right)))
            #expect(vote.preferred == shown[number % 2] && vote.shownFirst == shown[0] && vote.session == "s", "\(vote)")
        }
        #expect(session.entry == nil && session.done == 200)
        // Both orders occur, about as often: 100 ± 4 deviations.
        #expect((72...128).contains(lefts), "\(lefts) of 200 in the order of ids")
        let (again, other) = (LabelItems.session(50), LabelItems.session(50, annotator: "ben"))
        #expect(again.shown == LabelItems.session(50).shown)
        var a = again, b = other, different = 0
        for _ in 0..<49 { if a.shown != b.shown { different += 1 }; try a.act(.forward); try b.act(.forward) }
        #expect((10...39).contains(different), "\(different) of 49 are shown the other way round to another annotator")
    }

    @Test("undo takes back the last vote, shows its item and what was said, and only then asks again") func undo() throws {
        var session = LabelItems.session(3)
        try session.act(.strength(3))
        try session.act(.note("close"))
        let first = try #require(try session.act(.choose(.left)))
        #expect(first.strength == 3 && first.note == "close" && session.position == 1 && session.draft == LabelSession.Draft())
        let second = try #require(try session.act(.choose(.tie)))
        let undo = try #require(try session.act(.undo))
        #expect(undo.withdraws == second.id && undo.outcome == .withdrawal && session.position == 1 && session.done == 1)
        try session.act(.undo)
        #expect(session.position == 0 && session.draft.strength == 3 && session.draft.note == "close" && session.done == 0)
        #expect(throws: LabelRefusal.nothingToUndo) { try session.act(.undo) }
        try session.act(.choose(.right))
        #expect(session.own[first.item.id]?.preferred == session.own[first.item.id]?.item.completions.first { $0 != first.preferred }, "\(session.own)")
    }

    @Test("a vote may be changed: the newer one stands, and undoing it brings the older back") func revote() throws {
        var session = LabelItems.session(2)
        let first = try #require(try session.act(.choose(.left)))
        try session.act(.back)
        let second = try #require(try session.act(.choose(.bothBad)))
        #expect(Vote.standing([first, second]) == [second] && session.done == 1 && session.position == 1)
        try session.act(.undo)
        #expect(session.own[first.item.id] == first && session.position == 0)
    }

    @Test("a new sitting goes on where the last one stopped, and undoes its votes") func resume() throws {
        var session = LabelItems.session(5), votes: [Vote] = []
        for choice in [Vote.Choice.left, .skip, .right] { votes.append(try #require(try session.act(.choose(choice)))) }
        votes.append(try #require(try session.act(.undo)))
        var next = LabelItems.session(5, votes: votes)
        #expect(next.position == 2 && next.done == 2 && next.shown == session.shown)
        #expect(try next.act(.undo)?.withdraws == votes[1].id)
        #expect(next.position == 1)
    }

    @Test("what cannot be is refused, and nothing changes") func refusals() throws {
        var session = LabelItems.session(2)
        #expect(throws: LabelRefusal.badStrength(5)) { try session.act(.strength(5)) }
        #expect(throws: LabelRefusal.badGrade(0)) { try session.act(.grade(completion: 0, criterion: .conciseness, value: 0)) }
        #expect(throws: LabelRefusal.noCompletion(number: 3, count: 2)) { try session.act(.grade(completion: 2, criterion: .conciseness, value: 1)) }
        #expect(throws: LabelRefusal.noItem(number: 3, count: 2)) { try session.act(.goTo(3)) }
        #expect(throws: LabelRefusal.noItem(number: 0, count: 2)) { try session.act(.back) }
        #expect(throws: LabelRefusal.isPair) { try session.act(.rank([[0], [1]])) }
        var ranking = LabelItems.session(1, completions: 4)
        #expect(throws: LabelRefusal.needsRanking(count: 4)) { try ranking.act(.choose(.left)) }
        #expect(throws: LabelRefusal.incompleteRanking(missing: [1, 3])) { try ranking.act(.rank([[0], [2]])) }
        #expect(session.done == 0 && session.position == 0 && ranking.done == 0)
        try session.act(.goTo(2))
        try session.act(.forward)
        #expect(throws: LabelRefusal.nothingHere) { try session.act(.choose(.left)) }
    }

    @Test("a ranking keeps tiers of ids in the order given") func ranking() throws {
        var session = LabelItems.session(1, completions: 4)
        let shown = session.shown
        let vote = try #require(try session.act(.rank([[2], [0, 3], [1]])))
        #expect(vote.outcome == .ranking && vote.ranking == [[shown[2]], [shown[0], shown[3]], [shown[1]]] && vote.fault == nil, "\(vote)")
    }

    @Test("grades are kept by completion, and come back with the item") func grades() throws {
        var session = LabelItems.session(2, grades: true)
        let shown = session.shown
        try session.act(.grade(completion: 1, criterion: .truthfulness, value: 4))
        try session.act(.grade(completion: 1, criterion: .conciseness, value: 2))
        let vote = try #require(try session.act(.choose(.right)))
        let grades = try JSON.parse(try #require(vote.grades))
        #expect(grades == .object(JSONObject([(shown[1], ["conciseness": 2, "truthfulness": 4])])), "\(grades.text())")
        try session.act(.back)
        #expect(session.draft.grades == [shown[1]: [.truthfulness: 4, .conciseness: 2]])
    }

    @Test("gold items are mixed in at their rate, and measure the annotator") func gold() throws {
        let items = LabelItems.candidates(90).map(\.item)
        let gold = (0..<20).map { LabelSession.Entry(item: Candidates(prompt: StoredPrompt("gold \($0)"), completions: ["yes", "no"]).item, gold: .first) }
        let mixed = LabelQueue.mixed(items, gold: gold, goldRate: 0.1, seed: 3)
        #expect(mixed.count { $0.gold != nil } == 10 && mixed.filter { $0.gold == nil }.map(\.item) == items, "\(mixed.count)")
        for block in 0..<10 { #expect(mixed[block * 10..<block * 10 + 10].count { $0.gold != nil } == 1, "block \(block)") }
        #expect(LabelQueue.mixed(items, gold: gold, goldRate: 0, seed: 3).count == 90)
        var session = LabelSession(.init(annotator: "anna", session: "s"), entries: Array(gold.prefix(4)), votes: [])
        for number in 0..<4 {
            let isLeft = session.shown[0] == session.entry?.item.first
            try session.act(.choose(number == 3 ? .skip : (number == 2) == isLeft ? .right : .left))
        }
        #expect(session.goldAccuracy.right == 2 && session.goldAccuracy.of == 3, "\(session.goldAccuracy)")
    }

    @Test("orders: everyone's own, the same tomorrow; active asks first where rewards differ") func orders() throws {
        let items = LabelItems.candidates(60).map(\.item)
        let shuffled = LabelQueue.shuffled(items, annotator: "anna", seed: 1)
        #expect(shuffled == LabelQueue.shuffled(items.reversed(), annotator: "anna", seed: 1) && shuffled != items && Set(shuffled) == Set(items))
        #expect(shuffled != LabelQueue.shuffled(items, annotator: "ben", seed: 1))
        #expect(try LabelQueue.active(items, scores: [:], seed: 1) == nil)
        // One reward: the smaller the margin, the earlier, but for a tenth of random places.
        var scores: [String: Double] = [:]
        for (number, item) in items.prefix(50).enumerated() { (scores[item.first], scores[item.second]) = (Double(number), 0) }
        let active = try #require(try LabelQueue.active(items, scores: ["model:a": scores], seed: 1))
        #expect(active.suffix(10) == items.suffix(10))
        let early = active.prefix(20).compactMap { items.firstIndex(of: $0) }
        #expect(early.filter { $0 < 20 }.count >= 15, "\(early)")
        // Two that contradict each other come before two that are both sure.
        let pair = Array(items.prefix(2))
        let a = [pair[0].first: 3.0, pair[0].second: 0, pair[1].first: 3, pair[1].second: 0], b = [pair[0].first: 3.0, pair[0].second: 0, pair[1].first: 0, pair[1].second: 3]
        var contrary = 0
        for seed in 0..<20 { if try LabelQueue.active(pair, scores: ["a": a, "b": b], seed: UInt64(seed))?.first == pair[1] { contrary += 1 } }
        #expect(contrary >= 17, "\(contrary) of 20")
    }

    @Test("an item that others finish is left out and does not count") func overtaken() throws {
        var session = LabelItems.session(3)
        session.overtake()
        #expect(session.position == 1 && session.wanted == 2)
        try session.act(.choose(.left))
        try session.act(.choose(.left))
        #expect(session.entry == nil && session.done == 2)
    }

    @Test("lines say what keys say") func lines() {
        let table: [(String, LabelLine)] = [
            ("left", .action(.choose(.left))), ("  R ", .action(.choose(.right))), ("left 3", .graded(3, .left)), ("tie", .action(.choose(.tie))),
            ("bad", .action(.choose(.bothBad))), ("skip", .action(.choose(.skip))), ("rank 2 1=3", .action(.rank([[1], [0, 2]]))),
            ("rank 2 > 1 = 3", .action(.rank([[1], [0, 2]]))), ("grade 2 Truthfulness 5", .action(.grade(completion: 1, criterion: .truthfulness, value: 5))),
            ("edit 1 a better\\nanswer", .edit(completion: 0, text: "a better\nanswer")), ("note too  long", .action(.note("too  long"))), ("go 12", .action(.goTo(12))),
            ("", .show), ("quit", .quit), ("left right", .unknown("left right")), ("rank x", .unknown("rank x")), ("left x", .unknown("left x")),
        ]
        for (line, expected) in table { #expect(LabelLine.parse(line) == expected, "\(line): \(LabelLine.parse(line)), expected \(expected)") }
    }
}
