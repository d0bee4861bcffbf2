import PreferenceData
import Serialization
import Testing

@testable import Training

/// One token per ASCII character, but "th" is token 200; 1 begins and 2 ends a sequence.
struct LetterTokenizer: TextTokenizer {
    var begins = true
    var ends = false
    var bosID: Int32? { 1 }
    var eosID: Int32? { 2 }
    func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
        var ids: [Int32] = addSpecialTokens && begins ? [1] : []
        var rest = Array(text.utf8)[...]
        while let byte = rest.first {
            if rest.starts(with: Array("th".utf8)) {
                ids.append(200)
                rest = rest.dropFirst(2)
            } else {
                ids.append(Int32(byte))
                rest = rest.dropFirst()
            }
        }
        return ids + (addSpecialTokens && ends ? [2] : [])
    }
    func decode(_ ids: [Int32], skipSpecialTokens: Bool) -> String {
        ids.map { $0 == 200 ? "th" : $0 == 1 ? "<s>" : $0 == 2 ? "</s>" : String(UnicodeScalar(UInt8($0))) }.joined()
    }
}

@Suite("Rows of records") struct RowEncoderTests {
    func encoder(_ tokenizer: LetterTokenizer? = LetterTokenizer(), maxLength: Int = 100) -> RowEncoder {
        RowEncoder(tokenizer: tokenizer, template: nil, variables: [:], model: "model", vocabularySize: 256, maxLength: maxLength)
    }
    func pair(_ prompt: String, _ chosen: String, _ rejected: String) -> PreferencePair {
        PreferencePair(
            prompt: .text(prompt), chosen: .text(chosen), rejected: .text(rejected), margin: nil, origin: RowOrigin(file: "f", line: 7), shape: .a)
    }
    func ids(_ text: String) -> [Int32] { LetterTokenizer(begins: false).encode(text, addSpecialTokens: false) }

    @Test("raw text: prompt with its begin token, completions with their end token", arguments: [false, true]) func raw(ends: Bool) throws {
        let encoded = try encoder(LetterTokenizer(ends: ends)).encode(pair("say ", "a", "bc"))
        #expect(encoded.row == PairRow(prompt: [1] + ids("say "), chosen: ids("a") + [2], rejected: ids("bc") + [2], origin: "f:7"))
        #expect(!encoded.isMerged && !encoded.isTruncated && encoded.dropped == nil)
    }

    @Test("a token across the boundary goes to the completion, on both sides") func merge() throws {
        // "t" + "his" makes "th", "is": the prompt gives its last token up for both completions.
        let encoded = try encoder().encode(pair("at", "his", "a"))
        #expect(encoded.row?.prompt == [1] + ids("a"))
        #expect(encoded.row?.chosen == [200] + ids("is") + [2] && encoded.row?.rejected == ids("ta") + [2])
        #expect(encoded.isMerged)
    }

    @Test("completions are cut at the end, prompts never") func truncation() throws {
        let encoded = try encoder(maxLength: 6).encode(pair("abc", "12345", "1"))
        #expect(encoded.row?.prompt.count == 4 && encoded.row?.chosen == ids("12") && encoded.row?.rejected == ids("1") + [2])
        #expect(encoded.isTruncated)
        let none = try encoder(maxLength: 4).encode(pair("abc", "12345", "1"))
        #expect(none.row == nil && none.dropped == "the prompt has 4 tokens, --max-length 4 leaves none for the completions", "\(none.dropped ?? "")")
    }

    @Test("token ids stay as they are") func tokenIDs() throws {
        var row = pair("", "", "")
        (row.prompt, row.chosen, row.rejected) = (.tokens([]), .tokens([1, 1, 9]), .tokens([5, 2]))
        #expect(try encoder(nil).encode(row).row == PairRow(prompt: [], chosen: [1, 1, 9], rejected: [5, 2], origin: "f:7"))
        row.rejected = .tokens([5])
        #expect(try encoder(nil).encode(row).dropped == "the rejected completion has no tokens to train on")  // a lone root has no log-prob
        row.rejected = .tokens([5, 256])
        #expect(throws: TrainingError.self) { try encoder(nil).encode(row) }
        row.rejected = .tokens([5, -1])
        #expect(throws: TrainingError.self) { try encoder(nil).encode(row) }
        row.rejected = .text("five")
        #expect(throws: TrainingError.self) { try encoder(nil).encode(row) }
    }

    @Test("two begin tokens are an error") func doubleBegin() throws {
        let row = pair("\u{1}say", "a", "b")  // the text brings its own
        do {
            _ = try encoder().encode(row)
            Issue.record("accepted")
        } catch let error as TrainingError {
            guard case let .badRow(origin, found, _, _) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(origin == "f:7" && found == "two begin-of-sequence tokens at the start")
        }
    }

    @Test("text without a tokenizer, messages without a template") func missing() {
        #expect(throws: TrainingError.missingTokenizer(model: "model")) { try encoder(nil).encode(pair("a", "b", "c")) }
        var row = pair("a", "b", "c")
        row.chosen = .messages([])
        #expect(throws: TrainingError.self) { try encoder().encode(row) }
    }

    @Test("supervised rows: text whole, prompt and completion, ids with a mask") func supervised() throws {
        func example(_ prompt: Content?, _ completion: Content, mask: [Bool]? = nil) -> SupervisedExample {
            SupervisedExample(prompt: prompt, completion: completion, lossMask: mask, origin: RowOrigin(file: "f", line: 1), shape: .a)
        }
        let text = try encoder().encode(example(nil, .text("hi")))
        #expect(text.row == SupervisedRow(tokens: [1] + ids("hi") + [2], mask: [true, true, true, true], origin: "f:1"))
        let split = try encoder().encode(example(.text("q:"), .text("a")))
        #expect(split.row == SupervisedRow(tokens: [1] + ids("q:a") + [2], mask: [false, false, false, true, true], origin: "f:1"))
        #expect(split.row.map { encoder().marked($0.tokens, $0.mask) } == "<s>q:⟦a</s>⟧")
        let tokens = try encoder().encode(example(nil, .tokens([4, 5, 6]), mask: [false, true, false]))
        #expect(tokens.row == SupervisedRow(tokens: [4, 5, 6], mask: [false, true, false], origin: "f:1"))
        let cut = try encoder(maxLength: 3).encode(example(.text("q:"), .text("a")))
        #expect(cut.row == nil && cut.dropped == "the prompt has 3 tokens, --max-length 3 leaves none for the completion", "\(cut.dropped ?? "")")
    }

    @Test("a split keeps rows of one prompt together") func split() throws {
        var prepared = PreparedRows<PairRow>()
        prepared.rows = (0..<40).map { PairRow(prompt: [Int32($0 / 4)], chosen: [1], rejected: [2], origin: "\($0)") }
        let all = prepared.rows
        let held = prepared.holdOut(0.3, seed: 1)
        #expect(held.count == 12 && prepared.rows.count == 28)  // 3 of 10 prompts, 4 rows each
        #expect(Set(held.map(\.prompt)).isDisjoint(with: prepared.rows.map(\.prompt)))
        prepared.rows = all
        #expect(prepared.holdOut(0.3, seed: 1) == held)
        prepared.rows = all
        #expect(prepared.holdOut(0.3, seed: 2) != held)
    }
}
