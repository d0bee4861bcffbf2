import PreferenceData
import Serialization
import Tensors
import Testing
import Tokenizers

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
    func encodeWithOffsets(_ text: String) -> [(id: Int32, range: Range<Int>)] {
        var offset = 0
        return encode(text, addSpecialTokens: false).map { id in
            defer { offset += id == 200 ? 2 : 1 }
            return (id, offset..<offset + (id == 200 ? 2 : 1))
        }
    }
    func isSpecial(_ id: Int32) -> Bool { id == 1 || id == 2 }
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
            prompt: .text(prompt), chosen: .text(chosen), rejected: .text(rejected), margin: nil, origin: RowOrigin(file: "f", line: 7), shape: .promptChosenRejected)
    }
    func ids(_ text: String) -> [Int32] { LetterTokenizer(begins: false).encode(text, addSpecialTokens: false) }

    @Test("raw text: prompt with its begin token, completions with their end token", arguments: [false, true]) func raw(ends: Bool) throws {
        let encoded = try encoder(LetterTokenizer(ends: ends)).encode(pair("say ", "a", "bc"))
        #expect(encoded.row == PairRow(prompt: [1] + ids("say "), chosen: ids("a") + [2], rejected: ids("bc") + [2], origin: "f:7"))
        #expect(!encoded.isMerged && !encoded.isTruncated && encoded.dropped == nil)
    }

    @Test("a completion's content is without special tokens, and white space after the last") func contentMask() {
        let end = ids("\n ")
        #expect(encoder().contentMask(ids("ab") + [2] + end) == [true, true, false, false, false])
        #expect(encoder().contentMask([1] + ids("a\n") + [2]) == [false, true, true, false])
        #expect(encoder().contentMask([2] + ids("a")) == [false, true])  // what follows says something
        #expect(encoder().contentMask(ids("a ")) == [true, true])
    }

    @Test("a single completion is a row with a label, cut and dropped like a pair's") func labelled() throws {
        func example(_ prompt: String, _ completion: String) -> LabelledCompletion {
            LabelledCompletion(pair(prompt, "-", completion), chosen: false)
        }
        let row = try encoder().encode(example("say ", "abc")).row
        #expect(row == UnpairedRow(prompt: [1] + ids("say "), completion: ids("abc") + [2], isDesirable: false, origin: "f:7"))
        let cut = try encoder(maxLength: 7).encode(example("say ", "abc"))
        #expect(cut.isTruncated && cut.row?.completion == ids("ab"))
        let dropped = try encoder(maxLength: 4).encode(example("say ", "abc"))
        #expect(dropped.row == nil && dropped.dropped == "the prompt has 5 tokens, --max-length 4 leaves none for the completions")
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
            SupervisedExample(prompt: prompt, completion: completion, lossMask: mask, origin: RowOrigin(file: "f", line: 1), shape: .promptChosenRejected)
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
        func split(_ seed: Int) throws -> (held: [PairRow], rows: [PairRow]) {
            var prepared = try PreparedRows<PairRow>(in: ScratchFile(near: "/", memoryLimit: 1 << 20), skipsBadRows: false, on: Compute())
            for i in 0..<40 { try prepared.rows.append(PairRow(prompt: [Int32(i / 4)], chosen: [1], rejected: [2], origin: "\(i)")) }
            let held = try prepared.holdOut(0.3, seed: seed)
            return (try held.prefix(40), try prepared.rows.prefix(40))
        }
        let (held, rows) = try split(1)
        #expect(held.count == 12 && rows.count == 28)  // 3 of 10 prompts, 4 rows each
        #expect(Set(held.map(\.prompt)).isDisjoint(with: rows.map(\.prompt)))
        #expect(try split(1).held == held)
        #expect(try split(2).held != held)
    }
}

@Suite("Rows of conversations") struct ConversationTests {
    /// "[u]…;" and "[a]…;" on lines of their own.
    static let turns = """
        {%- for m in messages %}{{ '[' + m.role[0] + ']' + m.content + ';\\n' }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}
        """
    func encoder(_ source: String = turns, maxLength: Int = 100) throws -> RowEncoder {
        RowEncoder(
            tokenizer: LetterTokenizer(), template: try ChatTemplate(source: source), variables: [:], model: "model", vocabularySize: 256,
            maxLength: maxLength)
    }
    func messages(_ turns: (String, String)...) -> [Message] { turns.map { Message(role: $0.0, content: $0.1, raw: .null) } }
    func ids(_ text: String) -> [Int32] { LetterTokenizer(begins: false).encode(text, addSpecialTokens: false) }
    func pair(_ prompt: Content, _ chosen: Content, _ rejected: Content) -> PreferencePair {
        PreferencePair(prompt: prompt, chosen: chosen, rejected: rejected, margin: nil, origin: RowOrigin(file: "f", line: 7), shape: .promptChosenRejected)
    }

    @Test("strings become one user message and the assistant's answer") func strings() throws {
        let encoded = try encoder().encode(pair(.text("hi"), .text("yo"), .text("no")))
        #expect(encoded.row == PairRow(prompt: ids("[u]hi;\n[a]"), chosen: ids("yo;\n"), rejected: ids("no;\n"), origin: "f:7"))
    }

    @Test("transcripts are messages under a template, and their own text without one") func transcripts() throws {
        var pair = pair(.messages(messages(("user", "hi"))), .messages(messages(("assistant", "yo"))), .messages(messages(("assistant", "no"))))
        pair.raw = RawPair(prompt: "Human: hi Assistant:", chosen: " yo", rejected: " no")
        #expect(try encoder().encode(pair).row?.prompt == ids("[u]hi;\n[a]"))
        let raw = RowEncoder(tokenizer: LetterTokenizer(), template: nil, variables: [:], model: "model", vocabularySize: 256, maxLength: 99)
        #expect(try raw.encode(pair).row == PairRow(
            prompt: [1] + ids("Human: hi Assistant:"), chosen: ids(" yo") + [2], rejected: ids(" no") + [2], origin: "f:7"))
    }

    @Test("messages and strings of the same words are the same row") func messages() throws {
        let strings = try encoder().encode(pair(.text("hi"), .text("yo"), .text("no")))
        let messages = try encoder().encode(
            pair(.messages(messages(("user", "hi"))), .messages(messages(("assistant", "yo"))), .messages(messages(("assistant", "no")))))
        #expect(strings.row == messages.row)
    }

    func conversation() -> SupervisedExample {
        SupervisedExample(
            prompt: nil, completion: .messages(messages(("user", "a"), ("assistant", "this"), ("user", "b"), ("assistant", "c"))), lossMask: nil,
            origin: RowOrigin(file: "f", line: 1), shape: .promptChosenRejected)
    }

    @Test("every assistant turn is trained, with its end and without the space after it") func everyTurn() throws {
        let encoder = try encoder()
        let row = try #require(encoder.encode(conversation()).row)
        #expect(encoder.marked(row.tokens, row.mask) == "[u]a;\n[a]⟦this;⟧\n[u]b;\n[a]⟦c;⟧\n")
        let short = try self.encoder(maxLength: 12).encode(conversation())
        #expect(short.isTruncated && short.row?.tokens.count == 12 && short.row?.lossTokens == 3, "\(short.row?.lossTokens ?? -1)")
        #expect(try self.encoder(maxLength: 5).encode(conversation()).dropped == "--max-length 5 leaves no token to train on")
    }

    @Test("a template's own marks decide") func marks() throws {
        let encoder = try encoder("""
            {%- for m in messages %}{{ '[' + m.role[0] + ']' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %};{% else %}{{ m.content }};{% endif %}{% endfor %}
            """)
        let row = try #require(encoder.encode(conversation()).row)
        #expect(encoder.marked(row.tokens, row.mask) == "[u]a;[a]⟦this⟧;[u]b;[a]⟦c⟧;")
    }

    @Test("a template that rewrites earlier turns is refused") func rewriting() throws {
        let encoder = try encoder("{% for m in messages %}{{ m.content if loop.last else '…' }}{% endfor %}{% if add_generation_prompt %}:{% endif %}")
        #expect(throws: TrainingError.self) { try encoder.encode(conversation()) }
    }
}

@Suite("Bad rows") struct BadRowTests {
    @Test("all are named before training, or left out") func naming() throws {
        let encoder = RowEncoder(tokenizer: nil, template: nil, variables: [:], model: "model", vocabularySize: 10, maxLength: 9)
        let pairs = (1...30).map { line in
            PreferencePair(
                prompt: .tokens([1]), chosen: .tokens([line % 2 == 0 ? 2 : 99]), rejected: .tokens([3]), margin: nil,
                origin: RowOrigin(file: "f", line: line), shape: .promptChosenRejected)
        }
        func encode(skips: Bool) throws -> PreparedRows<PairRow> {
            var prepared = try PreparedRows<PairRow>(in: ScratchFile(near: "/", memoryLimit: 1 << 20), skipsBadRows: skips, on: Compute())
            // In two batches: all that fail are told together.
            for part in [pairs[..<10], pairs[10...]] { try prepared.encode(Array(part), origin: { $0.origin.place }) { try encoder.encode($0) } }
            try prepared.finish()
            return prepared
        }
        do {
            _ = try encode(skips: false)
            Issue.record("accepted")
        } catch let error as TrainingError {
            guard case let .badRow(origin, found, _, remedy) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(origin == "f:1" && found == "token id 99")
            #expect(remedy.contains("15 rows fail") && remedy.contains("f:29: token id 99"))
        }
        let prepared = try encode(skips: true)
        #expect(try prepared.rows.prefix(30).map(\.origin) == stride(from: 2, through: 30, by: 2).map { "f:\($0)" })
        #expect(prepared.preflight.badRows.count == 15 && prepared.preflight.badRows[1].origin == "f:3")
    }
}
