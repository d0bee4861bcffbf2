import Foundation
import Serialization
import Testing

@testable import PreferenceData

@Suite("Labelling screen") struct LabellingScreenTests {
    @Test("columns: wide, combining and emoji", arguments: [("abc", 3), ("日本語", 6), ("e\u{301}", 1), ("👩‍👩‍👧", 2), ("❤️", 2), ("한국", 4), ("🇫🇷", 2), ("①", 1), ("ｱ", 1), ("Ａ", 2)])
    func width(text: String, columns: Int) {
        #expect(DisplayWidth.of(text) == columns, "\(text): \(DisplayWidth.of(text)), expected \(columns)")
    }

    @Test("nothing in a text reaches the terminal as a command") func harmless() {
        let text = "red\u{1B}[31m\u{07}\rover\u{9B}2J\u{202E}txt\u{200B}\u{7F}\tend\r\nnext\u{2028}"
        let lines = HarmlessText.lines(text)
        #expect(lines == ["red␛[31m␇␍over‹U+9B›2J‹U+202E›txt‹U+200B›␡\(String(repeating: " ", count: 4 - DisplayWidth.of("red␛[31m␇␍over‹U+9B›2J‹U+202E›txt‹U+200B›␡") % 4))end", "next‹U+2028›"], "\(lines)")
        let controls = String(String.UnicodeScalarView((0..<0x100).compactMap { Unicode.Scalar($0) }))
        for scalar in HarmlessText.lines(controls).joined().unicodeScalars { #expect(scalar.value >= 0x20 && !(0x7F...0x9F).contains(scalar.value), "U+\(String(scalar.value, radix: 16))") }
    }

    @Test("lines fit, lose nothing and break at spaces where they can") func wrapping() {
        #expect(TextLayout.wrap("the quick brown fox", width: 10) == ["the quick", "brown fox"])
        #expect(TextLayout.wrap("abcdefghijkl mn", width: 5) == ["abcde", "fghij", "kl mn"])
        #expect(TextLayout.wrap("日本語日本語", width: 5) == ["日本", "語日", "本語"])
        #expect(TextLayout.wrap("a\n\n  b", width: 5) == ["a", "", "  b"])
        var random = SplitMix64(seed: 5)
        let alphabet: [Character] = ["a", "b", " ", " ", "日", "e\u{301}", "👍🏽", "\n", "\u{1B}", "\t", "x"]
        for _ in 0..<300 {
            let text = String((0..<Int.random(in: 0...80, using: &random)).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &random)] })
            let width = Int.random(in: 2...30, using: &random)
            let lines = TextLayout.wrap(text, width: width)
            for line in lines { #expect(DisplayWidth.of(line) <= width, "\(DisplayWidth.of(line)) columns of \(width): \(line)") }
            #expect(lines.joined().filter { $0 != " " } == HarmlessText.lines(text).joined().filter { $0 != " " }, "\(text)")
            #expect(DisplayWidth.of(TextLayout.fitted(text.replacing("\n", with: ""), width: width)) == width || text.contains("\u{1B}") || text.contains("\t"))
        }
    }

    private func interface(_ count: Int = 3, completions: Int = 2, guidelines: String? = nil, grades: Bool = false) -> LabelInterface {
        LabelInterface(LabelItems.session(count, completions: completions, grades: grades), guidelines: guidelines)
    }

    private func screen(_ interface: LabelInterface, _ candidates: Candidates?, _ width: Int = 100, _ height: Int = 24) -> LabelScreen {
        LabelScreen(interface, candidates: candidates, progress: LabelProgress(done: 1, wanted: 3, votes: 1, seconds: 30), width: width, height: height)
    }

    @Test("every line fills the width and there are as many as rows, at any size") func sizes() {
        let long = Candidates(prompt: StoredPrompt("日本語の長い文 \u{1B}[2J"), completions: [StoredContent(kind: .text, text: String(repeating: "word ", count: 400)), "short"])
        let item = LabelSession(.init(annotator: "anna", session: "s"), entries: [.init(item: long.item)], votes: [])
        for (width, height) in [(1, 1), (23, 9), (24, 8), (60, 10), (89, 24), (90, 24), (200, 50)] {
            let screen = screen(LabelInterface(item, guidelines: nil), long, width, height)
            #expect(screen.lines.count == height, "\(width)×\(height): \(screen.lines.count) lines")
            for line in screen.lines { #expect(DisplayWidth.of(line.text) == width, "\(width)×\(height): \(DisplayWidth.of(line.text)) columns: \(line.text)") }
            #expect(!screen.lines.contains { $0.text.contains("\u{1B}") })
        }
        let wide = screen(LabelInterface(item, guidelines: nil), long, 120, 24).lines.map(\.text), narrow = screen(LabelInterface(item, guidelines: nil), long, 70, 24).lines.map(\.text)
        #expect(wide.contains { $0.contains("← left") && $0.contains("→ right") } && narrow.contains { $0.contains("← left") && !$0.contains("→ right ") })
    }

    @Test("scrolling reaches the last line and stops there") func scrolling() {
        let text = (0..<300).map { "line \($0)" }.joined(separator: "\n")
        let candidates = Candidates(prompt: StoredPrompt("p"), completions: [StoredContent(kind: .text, text: text), "short"])
        var interface = LabelInterface(LabelSession(.init(annotator: "a", session: "s"), entries: [.init(item: candidates.item)], votes: []), guidelines: nil)
        #expect(!screen(interface, candidates).lines.contains { $0.text.contains("line 299") })
        _ = interface.handle(.end, time: "t")
        let end = screen(interface, candidates)
        #expect(end.lines.contains { $0.text.contains("line 299") })
        interface.scroll = end.maximumScroll
        _ = interface.handle(.down, time: "t")
        #expect(screen(interface, candidates).lines.map(\.text) == end.lines.map(\.text))
        _ = interface.handle(.home, time: "t")
        #expect(interface.scroll == 0)
    }

    @Test("keys: one each, and what they come to") func keys() throws {
        var interface = interface(guidelines: "be kind")
        #expect(interface.mode == .guidelines)
        #expect(screen(interface, nil).lines.contains { $0.text.contains("be kind") })
        #expect(interface.handle(.enter, time: "1") == .none && interface.mode == .judging)
        for (key, outcome) in [(TerminalKey.character("t"), Vote.Outcome.tie), (.character("b"), .bothBad), (.character("s"), .skip)] {
            guard case let .cast(vote) = interface.handle(key, time: "2") else { Issue.record("\(key) cast nothing"); continue }
            #expect(vote.outcome == outcome, "\(key): \(vote.outcome)")
        }
        _ = interface.handle(.character("3"), time: "3")
        for character in "nfine" { _ = interface.handle(.character(character), time: "3") }
        _ = interface.handle(.enter, time: "3")
        guard case let .cast(vote) = interface.handle(.left, time: "4") else { Issue.record("← cast nothing"); return }
        #expect(vote.strength == 3 && vote.note == "fine" && vote.preferred == interface.session.shown[0], "\(vote)")
        // Nothing moves before the vote is on the disk.
        #expect(interface.session.position == 0)
        interface.didCast(vote)
        #expect(interface.session.position == 1 && interface.message.contains("left by 3"), "\(interface.message)")
        guard case let .cast(undo) = interface.handle(.character("u"), time: "5") else { Issue.record("u cast nothing"); return }
        interface.didCast(undo)
        #expect(interface.session.position == 0 && interface.session.draft.note == "fine")
        #expect(interface.handle(.character("e"), time: "6") == .none && interface.mode == .editSide)
        #expect(interface.handle(.right, time: "6") == .edit(completion: 1))
        _ = interface.handle(.character("#"), time: "7")
        _ = interface.handle(.character("3"), time: "7")
        _ = interface.handle(.enter, time: "7")
        #expect(interface.session.position == 2)
        #expect(interface.handle(.character("q"), time: "8") == .quit)
    }

    @Test("strength is asked where it is wanted, grades one after the other, rankings by digits") func questions() throws {
        var settings = LabelSession.Settings(annotator: "a", session: "s")
        settings.asksStrength = true
        var strict = LabelInterface(LabelSession(settings, entries: LabelItems.entries(1), votes: []), guidelines: nil)
        #expect(strict.handle(.right, time: "1") == .none && strict.mode == .strength(.right))
        guard case let .cast(vote) = strict.handle(.character("4"), time: "1") else { Issue.record("4 cast nothing"); return }
        #expect(vote.strength == 4 && vote.preferred == strict.session.shown[1])

        var graded = interface(grades: true)
        #expect(graded.mode == .grading(0) && graded.gradeCount == 8)
        for value in 1...8 { _ = graded.handle(.character(Character("\((value - 1) % 5 + 1)")), time: "2") }
        #expect(graded.mode == .judging && graded.session.draft.grades.values.map(\.count) == [4, 4], "\(graded.session.draft.grades)")

        var ranking = interface(1, completions: 3)
        for character in "31=2" { #expect(ranking.handle(.character(character), time: "3") == .none) }
        #expect(ranking.tiers == [[2], [0, 1]] && ranking.rankingText.hasPrefix("3 > 1 = 2"), "\(ranking.tiers)")
        _ = ranking.handle(.backspace, time: "3")
        _ = ranking.handle(.character("2"), time: "3")
        guard case let .cast(ranked) = ranking.handle(.enter, time: "3") else { Issue.record("Enter cast nothing"); return }
        #expect(ranked.ranking?.map(\.count) == [1, 1, 1], "\(ranked)")
    }

    @Test("keys come in pieces, and an escape alone is a key") func decoding() {
        var decoder = KeyDecoder()
        #expect(decoder.feed(Array("a\u{1B}[A\u{1B}[6~\u{1B}OC\r\u{7F}é日".utf8)) == [.character("a"), .up, .pageDown, .right, .enter, .backspace, .character("é"), .character("日")])
        #expect(decoder.feed([0x1B]) == [] && decoder.isWaiting)
        #expect(decoder.flush() == [.escape] && !decoder.isWaiting)
        #expect(decoder.feed([0x1B, 0x5B]) == [] && decoder.feed([0x44]) == [.left])
        #expect(decoder.feed([0xE6, 0x97]) == [] && decoder.feed([0xA5]) == [.character("日")])
        var random = SplitMix64(seed: 8)
        for _ in 0..<2000 { _ = decoder.feed([UInt8.random(in: 0...255, using: &random)]) }
    }

    @Test("progress by hand: 12 of 50 at 12 votes in two minutes") func progress() {
        let progress = LabelProgress(done: 12, wanted: 50, votes: 12, seconds: 120)
        #expect(progress.text == "12 of 50   24 %   6.0 a minute, 6m20s left", "\(progress.text)")
        #expect(progress.bar(width: 10) == "━━────────")
        #expect(LabelProgress(done: 0, wanted: 0, votes: 0, seconds: 0).text == "0 of 0   100 %")
    }

    @Test("votes come to tables; none, one annotator and equal votes say why there is no figure") func tables() throws {
        let none = AgreementReport([])
        #expect(none.alpha.value == nil && none.alpha.reason != nil && none.annotators.isEmpty, "\(none)")
        func votes(_ annotator: String, _ choices: [Vote.Outcome]) -> [Vote] {
            zip(LabelItems.candidates(choices.count), choices).map { candidates, choice in
                var vote = Vote(item: candidates.item, annotator: annotator, time: "2026", outcome: choice)
                vote.shownFirst = candidates.item.first
                return vote
            }
        }
        let anna = votes("anna", [.first, .second, .first, .tie, .first, .second])
        let alone = AgreementReport(anna)
        #expect(alone.alpha.value == nil && alone.annotators[0].reliability == nil && alone.annotators[0].votes == 6, "\(alone)")
        let ben = votes("ben", [.first, .second, .second, .tie, .first, .second])
        let both = AgreementReport(anna + ben, gold: [anna[2].item.id: .second], resamples: 50)
        #expect(both.overlapping == 6 && both.pairs.count == 1 && abs((both.pairs[0].observed ?? 0) - 5 / 6.0) < 1e-12, "\(both)")
        // p_e = (3·2 + 2·3 + 1·1)/36 = 13/36, κ = (5/6 − 13/36)/(1 − 13/36) = 17/23.
        #expect(abs((both.pairs[0].kappa.value ?? 0) - 17 / 23.0) < 1e-12, "\(both.pairs[0].kappa)")
        #expect(both.annotators.map(\.goldRight) == [0, 1] && both.annotators.map(\.gold) == [1, 1])
        let texts = [none.text, alone.text, both.text, none.json.text(), alone.json.text(), both.json.text()]
        for text in texts { #expect(!text.lowercased().contains("nan") && !text.contains("inf"), "\(text)") }
        let items = LabelItems.candidates(6).map(\.item)
        var authors: [String: String] = [:]
        for item in items { (authors[item.first], authors[item.second]) = ("A", "B") }
        let ratings = RatingReport(anna, authors: authors, resamples: 50)
        // A: 3 wins, 2 losses, a tie: 3.5 of 6.
        #expect(ratings.models == ["A", "B"] && ratings.ratings?.players.first?.winRate == 3.5 / 6, "\(ratings)")
        #expect(RatingReport([], authors: authors).reason != nil && RatingReport(anna, authors: [:]).leftOut == 6)
        for text in [ratings.text, RatingReport([], authors: [:]).text] { #expect(!text.lowercased().contains("nan"), "\(text)") }
    }
}
