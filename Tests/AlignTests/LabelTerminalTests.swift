import Foundation
import PreferenceData
import Serialization
import Testing

@testable import align

/// A folder with numbered pairs to label, a store, and an editor that adds three words.
private final class LabelFolder {
    let folder: TinyFolder
    let pairs: String, store: String, editor: String

    init(_ count: Int) throws {
        folder = try TinyFolder()
        let rows = (0..<count).map { row -> String in
            let object: JSON = ["prompt": .string("question \(row)?"), "chosen": .string("good \(row)"), "rejected": .string("poor \(row)")]
            return object.text() + "\n"
        }
        pairs = try folder.write("pairs.jsonl", rows.joined())
        store = folder.path + "/labels.sqlite"
        editor = try folder.write("editor.sh", "printf ', said better' >> \"$1\"\n")
    }

    func words(_ annotator: String, _ more: [String] = []) -> [String] {
        ["label", "--pairs", pairs, "--store", store, "--annotator", annotator] + more
    }

    func terminal(_ more: [String] = [], columns: UInt16 = 100, rows: UInt16 = 30) throws -> PseudoTerminal {
        try PseudoTerminal(words("anna", more), columns: columns, rows: rows, environment: ["VISUAL": "/bin/sh " + editor, "EDITOR": "false"])
    }

    /// What stands in the store: by prompt's text, the outcome, with the preferred completion's text where there is one.
    func standing(by annotator: String) throws -> [String: String] {
        let store = try PreferenceStore(path: store)
        var result: [String: String] = [:]
        for vote in try store.standingVotes(by: annotator) {
            let candidates = try store.candidates(of: vote.item)
            let preferred = vote.preferred.flatMap { id in vote.item.completions.firstIndex(of: id) }.map { candidates.completions[$0].text }
            result[candidates.prompt.content.text] = preferred ?? vote.outcome.rawValue
        }
        return result
    }
}

/// A person who reads the screen and presses keys.
private final class Labeller {
    let folder: LabelFolder
    var terminal: PseudoTerminal
    /// What the person has answered, by the question on the screen.
    private(set) var answers: [String: String] = [:]
    private var history: [String] = []

    init(_ folder: LabelFolder) throws {
        self.folder = folder
        terminal = try folder.terminal()
    }

    var done: Int { answers.count }

    /// The picture in which so many are done.
    @discardableResult
    func settled(_ what: String) throws -> [String] {
        try terminal.wait("\(what): \(done) done") { $0.first?.contains(" \(done) of 50 ") == true && $0.first?.contains("item ") == true }
    }

    private func question(_ screen: [String]) throws -> String {
        try #require(screen.lazy.compactMap { $0.firstMatch(of: #/question \d+\?/#) }.first.map { String($0.0) }, "\(screen)")
    }

    /// Left and right, wherever they stand on the screen.
    private func sides(_ screen: [String]) throws -> [String] {
        let found = screen.flatMap { line in line.matches(of: #/(good|poor) \d+/#).map { String($0.0) } }
        try #require(found.count == 2, "\(screen)")
        return found
    }

    func answer(_ key: String) throws {
        let screen = try settled("before \(key)"), question = try question(screen), sides = try sides(screen)
        switch key {
        case "a", "\u{1B}[D": answers[question] = sides[0]
        case "d", "\u{1B}[C": answers[question] = sides[1]
        case "t": answers[question] = "tie"
        case "b": answers[question] = "both_bad"
        default: answers[question] = "skip"
        }
        history.append(question)
        terminal.send(key)
    }

    func undo() throws {
        try settled("before undo")
        answers[history.removeLast()] = nil
        terminal.send("u")
    }

    /// Answers that went unseen, as the program ended: the store says whether they count.
    func forget(unless standing: [String: String]) {
        for (question, answer) in answers where standing[question] != answer {
            answers[question] = nil
            history.removeAll { $0 == question }
        }
    }

    func restart() throws { terminal = try folder.terminal() }
}

@Suite("Labelling at a terminal", .serialized) struct LabelTerminalTests {
    @Test("fifty pairs with undo, resize, Ctrl-C and kill -9: every answered vote is kept, and no other") func session() throws {
        let folder = try LabelFolder(50), person = try Labeller(folder)
        let keys = ["a", "d", "\u{1B}[D", "t", "\u{1B}[C", "b", "a", "s", "d", "a"]
        func label(until count: Int) throws { while person.done < count { try person.answer(keys[(person.done * 7) % 10]) } }

        try label(until: 8)
        for _ in 0..<3 { try person.undo() }
        try label(until: 12)
        // Narrow, the two stand one above the other, and the picture has as many rows as the window.
        person.terminal.resize(columns: 64, rows: 20)
        let narrow = try person.terminal.wait("the narrow picture") { $0.count == 20 && $0.contains { $0.hasPrefix(" → right") } }
        #expect(narrow.allSatisfy { $0.filter { $0 != "\r" }.count <= 64 }, "\(narrow)")
        try label(until: 16)
        person.terminal.resize(columns: 120, rows: 40)
        _ = try person.terminal.wait("the wide picture") { $0.count == 40 && $0.contains { $0.contains("← left") && $0.contains("→ right") } }
        try label(until: 20)

        _ = try person.settled("before Ctrl-C")
        person.terminal.send("\u{03}")
        #expect(try person.terminal.wait() == 75, "\(person.terminal.err)")
        #expect(person.terminal.text.contains("\u{1B}[?1049l") && person.terminal.text.contains("20 of 50 items done"), "\(person.terminal.text.suffix(400))")
        #expect(try folder.standing(by: "anna") == person.answers)

        try person.restart()
        try label(until: 30)
        try person.undo()  // also across sittings this is the newest vote
        try label(until: 35)
        _ = try person.settled("before kill -9")
        kill(person.terminal.processID, SIGKILL)
        #expect(try person.terminal.wait() == -SIGKILL)
        let kept = try folder.standing(by: "anna")
        #expect(kept == person.answers, "\(kept.count) kept, \(person.answers.count) answered")

        // Killed in the middle of a vote: it is in the store or not, and the next sitting shows which.
        try person.restart()
        for _ in 0..<3 {
            try person.answer("a")
            kill(person.terminal.processID, SIGKILL)
            _ = try person.terminal.wait()
            let standing = try folder.standing(by: "anna")
            #expect(standing.count == person.done || standing.count == person.done - 1)
            person.forget(unless: standing)
            #expect(standing == person.answers)
            try person.restart()
            try person.settled("after kill -9 in a vote")
        }
        try label(until: 50)
        _ = try person.terminal.wait("the end") { $0.contains { $0.contains("Every item has your vote") } }
        person.terminal.send("q")
        #expect(try person.terminal.wait() == 0, "\(person.terminal.err)")

        let standing = try folder.standing(by: "anna"), store = try PreferenceStore(path: folder.store)
        #expect(standing == person.answers && standing.count == 50)
        let votes = try store.votes(by: "anna")
        #expect(votes.count { $0.outcome == .withdrawal } == 4 && votes.count == 58, "\(votes.count) votes; 50 that stand, 4 taken back and their withdrawals are 58")
        try store.check()
    }

    @Test("notes, strengths, edits, guidelines, help and going back, at the terminal") func features() throws {
        let folder = try LabelFolder(3)
        let guide = try folder.folder.write("guide.txt", "Prefer what is true.\u{1B}[31m")
        let terminal = try folder.terminal(["--guidelines", guide])
        let first = try terminal.wait("the guidelines") { $0.contains { $0.contains("Prefer what is true.␛[31m") } }
        #expect(first.count == 30)
        terminal.send(" ")
        terminal.send("x")
        _ = try terminal.wait("the first item") { $0.contains { $0.contains("question 0?") } }
        terminal.send("?")
        _ = try terminal.wait("help") { $0.contains { $0.contains("Which completion is better?") } }
        terminal.send("x")
        _ = try terminal.wait("the item again") { $0.contains { $0.contains("question 0?") } }
        terminal.send("3")
        _ = try terminal.wait("the strength") { $0.contains { $0.contains("strength 3") } }
        terminal.send("nclose é日")
        _ = try terminal.wait("the note as typed") { $0.contains { $0.contains("note: close é日▏") } }
        terminal.send("\r")
        _ = try terminal.wait("the note") { $0.contains { $0.contains("note: close é日") && !$0.contains("▏") } }
        terminal.send("e")
        _ = try terminal.wait("the question which") { $0.contains { $0.contains("which one is the better") } }
        terminal.send("\u{1B}[D")
        _ = try terminal.wait("the second item") { $0.contains { $0.contains("question 1?") } }
        // Ctrl-Z stops it with the terminal as it was; continued, it draws again.
        terminal.send("\u{1A}")
        var status: Int32 = 0
        #expect(waitpid(terminal.processID, &status, WUNTRACED) == terminal.processID && status & 0xFF == 0x7F, "status \(status)")
        kill(terminal.processID, SIGCONT)
        terminal.resize(columns: 110, rows: 31)
        _ = try terminal.wait("the picture after Ctrl-Z") { $0.count == 31 }
        terminal.send("b")
        _ = try terminal.wait("the third item") { $0.contains { $0.contains("question 2?") } }
        terminal.send("p")
        _ = try terminal.wait("the second item again") { $0.contains { $0.contains("your vote: both bad") } }
        terminal.send("q")
        #expect(try terminal.wait() == 0, "\(terminal.err)")

        let store = try PreferenceStore(path: folder.store), votes = try store.standingVotes(by: "anna")
        let edited = try #require(votes.first { $0.edited != nil })
        #expect(edited.strength == 3 && edited.note == "close é日" && edited.preferred == edited.shownFirst, "\(edited)")
        let authors = try store.authors()
        #expect(edited.edited.flatMap { authors[$0] } == "human:anna")
        #expect(votes.contains { $0.outcome == .bothBad } && votes.count == 2)
        // The edit is better than both, and training sees it.
        var chosen: [String] = []
        try store.preferences(in: .all) { chosen += $0.map(\.comparison.chosen.text) }
        #expect(chosen.count { $0.hasSuffix(", said better") } == 2 && chosen.count == 3, "\(chosen)")
    }

    @Test("without a terminal: answers are lines, and what they come to is trained on") func lines() throws {
        let folder = try LabelFolder(14)
        let result = try Child(folder.words("ben", ["--json"]), input: "left\nright 4\nnonsense\nundo\nleft 2\ntie\nnote hm\nright\n" + String(repeating: "left\n", count: 10)).wait()
        #expect(result.code == 0, "\(result.err)")
        let summary = try JSON.parse(result.out)
        #expect(summary["done"]?.int == 14 && summary["votes"]?.int == 14 && summary["outcomes"]?["tie"]?.int == 1, "\(result.out)")
        #expect(result.err.contains("not understood: \"nonsense\"") && result.err.contains("COMPLETION 1, LEFT"), "\(result.err)")
        let again = try Child(folder.words("ben"), input: "").wait()
        #expect(again.code == 0 && again.out.contains("14 of 14 items done"), "\(again.out)")
        let trained = try Child([
            "dpo", "--store", folder.store, "--model", folder.folder.model, "--out", folder.folder.path + "/run", "--max-steps", "2", "--batch-size", "4",
            "--sample-tokens", "0", "--threads", "1",
        ]).wait()
        #expect(trained.code == 0, "\(trained.err)")
        let store = try PreferenceStore(path: folder.store), settled = try store.comparisons().filter { $0.origin == .votes }
        #expect(settled.count == 13, "\(settled.count) preferences, 13 votes were decided")
        for comparison in settled { #expect(try store.runs(trainedOn: comparison.id).count == 1, "\(comparison.prompt.content.text) was not trained on") }
    }

    @Test("two who label and one who trains at the same time lose nothing") func together() throws {
        let folder = try LabelFolder(60)
        // The pairs are there before all begin, so that all of them work on one queue.
        _ = try Child(folder.words("nobody"), input: "quit\n").wait()
        let answers = String(repeating: "left\nright 2\ntie\n", count: 20)
        let training = try KilledFolder()
        let dpo = try Child(["dpo"] + training.words("run", ["--store", folder.store]))
        let people = try ["anna", "ben"].map { try Child(folder.words($0, ["--overlap", "2", "--order", "random", "--json"]), input: answers) }
        for (name, person) in zip(["anna", "ben"], people) {
            let result = try person.wait()
            #expect(result.code == 0, "\(result.err)")
            let summary = try JSON.parse(result.out)
            print("\(name): longest wait for a vote \((summary["longest_write_seconds"]?.double ?? 0) * 1000) ms")
            #expect(summary["done"]?.int == 60 && summary["votes"]?.int == 60, "\(result.out)")
        }
        let trained = try dpo.wait()
        #expect(trained.code == 0, "\(trained.err)")
        let store = try PreferenceStore(path: folder.store)
        try store.check()
        #expect(try store.votes().count == 120 && store.standingVotes(by: "anna").count == 60 && store.standingVotes(by: "ben").count == 60)
        let perItem = Dictionary(grouping: try store.standingVotes(), by: \.item.id).values.map(\.count)
        #expect(perItem.allSatisfy { $0 == 2 }, "\(perItem)")
        #expect(try store.runs().map(\.status) == ["finished"])
    }

    @Test("completions are sampled on the spot, and who said what is kept") func sampled() throws {
        let folder = try TinyFolder(), store = folder.path + "/s.sqlite"
        let prompts = try folder.write("prompts.jsonl", "{\"prompt\": \"one\"}\n{\"prompt\": \"two\"}\n")
        let words = ["label", "--prompts", prompts, "--model", folder.model, "--store", store, "--annotator", "anna", "--max-new-tokens", "12", "--threads", "1", "--plain"]
        let result = try Child(words, input: "left\nquit\n").wait()
        #expect(result.code == 0 && result.out.contains("1 of 2 items done"), "\(result.out)\(result.err)")
        // The second time they are there already.
        let again = try Child(words, input: "tie\n").wait()
        #expect(again.code == 0 && again.out.contains("2 of 2 items done") && !again.err.contains("sampled  "), "\(again.out)\(again.err)")
        let opened = try PreferenceStore(path: store), votes = try opened.standingVotes(), authors = try opened.authors()
        #expect(votes.count == 2 && authors.count == 4 && Set(authors.values).count == 1, "\(authors)")
        let generation = try #require(try opened.generations(of: votes[0].item.first).first)
        #expect(generation.tokens?.isEmpty == false && generation.tokens?.count == generation.logProbs?.count && generation.sampling?.contains("temperature") == true)
    }

    @Test("gold items are mixed in, and the summary says how many were as known") func gold() throws {
        let folder = try LabelFolder(9)
        let gold = try folder.folder.write("gold.jsonl", "{\"prompt\": \"known\", \"chosen\": \"yes\", \"rejected\": \"no\"}\n")
        let result = try Child(folder.words("ben", ["--gold", gold, "--json"]), input: String(repeating: "left\n", count: 10)).wait()
        let summary = try JSON.parse(result.out)
        #expect(summary["gold"]?["of"]?.int == 1 && summary["done"]?.int == 10, "\(result.out)\(result.err)")
        var chosen: [String] = []
        try PreferenceStore(path: folder.store).preferences(in: .all) { chosen += $0.map(\.comparison.prompt.content.text) }
        #expect(chosen.count == 9 && !chosen.contains("known"), "\(chosen)")
    }

    private static let mistakes: [([String], Int32)] = [
        (["label", "--overlap", "0"], 64), (["label", "--store", "/nowhere/else/x.sqlite"], 66), (["label", "--pairs", "/nowhere.jsonl"], 66),
        (["label", "--model", "x"], 64), (["label", "--order", "best"], 64), (["label", "--prompts", "p", "--pairs", "q"], 64),
    ]

    @Test("mistakes have their exit codes", arguments: mistakes) func exitCodes(words: [String], code: Int32) throws {
        let folder = try TinyFolder()
        let result = try Child(words + (words.contains("--store") ? [] : ["--store", folder.path + "/s.sqlite"]) + ["--annotator", "anna"]).wait()
        #expect(result.code == code, "\(words): exit \(result.code), \(result.err)")
    }
}
