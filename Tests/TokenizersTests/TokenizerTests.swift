import Serialization
import Testing

@testable import Tokenizers

@Suite("Tokenizer") struct TokenizerTests {
    @Test("merges apply by rank, worked by hand") func merges() throws {
        let tokenizer = try TinyTokenizer.make()
        // h e l l o: (h e) first, then (l l), then (he ll), then (hell o): one token, 259.
        #expect(tokenizer.encode("hello") == [259])
        // " world": (Ġ w) then (Ġw o): 261, and r l d stay bytes; the alphabet's order puts ASCII letters at their byte.
        let (r, l, d) = (Int32(UInt8(ascii: "r")), Int32(UInt8(ascii: "l")), Int32(UInt8(ascii: "d")))
        #expect(tokenizer.encode("hello world") == [259, 261, r, l, d])
        #expect(tokenizer.decode([259, 261, r, l, d]) == "hello world")
        #expect(tokenizer.encode("").isEmpty)
        #expect(tokenizer.vocabularySize == 266)
    }

    @Test("special tokens are recognised in the text, added on request, skipped on request") func specialTokens() throws {
        let tokenizer = try TinyTokenizer.make(config: ["bos_token": "<s>", "eos_token": ["content": "</s>"], "pad_token": nil])
        #expect(tokenizer.encode("<s>hello</s>") == [263, 259, 264])
        #expect(tokenizer.encode("hello", addSpecialTokens: true) == [263, 259])
        #expect(tokenizer.decode([263, 259, 265, 264]) == "<s>helloalign</s>")
        #expect(tokenizer.decode([263, 259, 265, 264], skipSpecialTokens: true) == "helloalign")
        #expect(tokenizer.decode([-1, 259, 9999]) == "hello")
        #expect((tokenizer.bosID, tokenizer.eosID, tokenizer.padID, tokenizer.unknownID) == (263, 264, nil, nil))
        #expect((tokenizer.isSpecial(263), tokenizer.isSpecial(265), tokenizer.isSpecial(-1), tokenizer.isSpecial(266)) == (true, false, false, false))
        #expect((tokenizer.token(259), tokenizer.token(266), tokenizer.id(of: "hello"), tokenizer.id(of: "hell0")) == ("hello", nil, 259, nil))
        #expect(tokenizer.templateVariables == ["bos_token": "<s>", "eos_token": "</s>"])
    }

    @Test("offsets are byte ranges of the source, without gaps") func offsets() throws {
        let tokenizer = try TinyTokenizer.make()
        let text = "hello wörld<s>hello 🙂"
        let tokens = tokenizer.encodeWithOffsets(text)
        #expect(tokens.map(\.id) == tokenizer.encode(text))
        #expect(tokens[0].range == 0..<5)
        #expect(tokens.first { $0.id == 263 }?.range == 12..<15)
        for (before, after) in zip(tokens, tokens.dropFirst()) { #expect(before.range.upperBound == after.range.lowerBound) }
        #expect(tokens.last?.range.upperBound == text.utf8.count)
        // Known words and cached words give the same ranges as when they were first met.
        #expect(tokenizer.encodeWithOffsets(text).map(\.range) == tokens.map(\.range))
    }

    @Test("NFC joins what is decomposed; offsets still point into the source") func normalization() throws {
        let tokenizer = try TinyTokenizer.make(TinyTokenizer.json(normalizer: ["type": "Sequence", "normalizers": [["type": "NFC"]]]))
        let tokens = tokenizer.encodeWithOffsets("e\u{301}x")
        // é is C3 A9; both bytes come from the three source bytes of e and its accent.
        #expect(tokens.map(\.range) == [0..<3, 0..<3, 3..<4])
        #expect(same(tokenizer.decode(tokens.map(\.id)), "\u{E9}x"))
    }

    @Test("an added token's flags: strip, single word, normalized") func addedTokens() throws {
        let mask: JSON = ["id": 266, "content": "<m>", "lstrip": true, "rstrip": true, "special": true]
        let whole: JSON = ["id": 267, "content": "cat", "single_word": true, "special": false, "normalized": false]
        let tokenizer = try TinyTokenizer.make(TinyTokenizer.json(processor: .null, added: [mask, whole]))
        #expect(tokenizer.encode("1 <m> 2").count == 3)
        #expect(tokenizer.encode("cat,cat") == [267, Int32(UInt8(ascii: ",")), 267])
        #expect(!tokenizer.encode("cats scat").contains(267))
        let composed: JSON = ["id": 266, "content": "e\u{301}", "special": false, "normalized": true]
        let normalizing = try TinyTokenizer.make(TinyTokenizer.json(normalizer: ["type": "NFC"], processor: .null, added: [composed]))
        #expect(normalizing.encode("\u{E9}") == [266])
    }

    @Test("words are looked up whole before merging, if the model says so") func ignoreMerges() throws {
        var json = TinyTokenizer.json(processor: .null, added: [])
        json = TinyTokenizer.json(replacing: ["model", "vocab", "ab"], by: 263, in: json)
        #expect(try TinyTokenizer.make(json).encode("ab") == [97, 98])
        json = TinyTokenizer.json(replacing: ["model", "ignore_merges"], by: true, in: json)
        #expect(try TinyTokenizer.make(json).encode("ab") == [263])
    }

    @Test("each pre-tokenizer cuts as it says") func preTokenizers() throws {
        func words(_ pre: JSON, _ text: String) throws -> [String] {
            let json = TinyTokenizer.json(pre: ["type": "Sequence", "pretokenizers": [pre, ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false]]])
            let pipeline = try TinyTokenizer.make(json).pipeline
            var pieces: [Range<Int>] = []
            let bytes = Array(text.utf8)
            bytes.withUnsafeBufferPointer { bytes in
                guard case let .split(pattern, behaviour, inverted) = pipeline.preTokenizers.first else { return }
                PreTokenizer.split(pattern, behaviour, inverted: inverted, bytes, 0..<bytes.count, into: &pieces)
            }
            return pieces.map { String(decoding: bytes[$0], as: UTF8.self) }
        }
        func dash(_ behaviour: String, inverted: Bool = false) -> JSON {
            ["type": "Split", "pattern": ["String": "-"], "behavior": .string(behaviour), "invert": .bool(inverted)]
        }
        // The example of the `tokenizers` documentation.
        let text = "the-final--countdown"
        #expect(try words(dash("Removed"), text) == ["the", "final", "countdown"])
        #expect(try words(dash("Isolated"), text) == ["the", "-", "final", "-", "-", "countdown"])
        #expect(try words(dash("MergedWithPrevious"), text) == ["the-", "final-", "-", "countdown"])
        #expect(try words(dash("MergedWithNext"), text) == ["the", "-final", "-", "-countdown"])
        #expect(try words(dash("Contiguous"), text) == ["the", "-", "final", "--", "countdown"])
        #expect(try words(dash("Removed", inverted: true), text) == ["-", "-", "-"])
        #expect(try words(["type": "Digits", "individual_digits": true], "a12²b") == ["a", "1", "2", "²", "b"])
        #expect(try words(["type": "Digits", "individual_digits": false], "a12²b") == ["a", "12²", "b"])
        let threes: JSON = ["type": "Split", "pattern": ["Regex": #"\p{N}{1,3}"#], "behavior": "Isolated", "invert": false]
        #expect(try words(threes, "x12345") == ["x", "123", "45"])
    }

    @Test("a space is put before a text that has none") func prefixSpace() throws {
        let tokenizer = try TinyTokenizer.make(TinyTokenizer.json(pre: ["type": "ByteLevel", "add_prefix_space": true, "use_regex": true]))
        #expect(tokenizer.encode("wo") == [261])
        #expect(tokenizer.encode(" wo") == [261])
        #expect(tokenizer.encodeWithOffsets("wo").map(\.range) == [0..<2])
    }

    @Test("long words merge as short ones do, and in good time") func longWords() throws {
        let tokenizer = try TinyTokenizer.make()
        let many = String(repeating: "hello", count: 50_000)
        #expect(tokenizer.encode(many) == [Int32](repeating: 259, count: 50_000))
        let letters = String(repeating: "l", count: 100_001)
        #expect(tokenizer.encode(letters) == [Int32](repeating: 257, count: 50_000) + [Int32(UInt8(ascii: "l"))])
        for count in 1..<80 {  // both ways of merging, and ranges from both
            let text = String(repeating: "hel", count: count)
            let offsets = tokenizer.encodeWithOffsets(text)
            #expect(tokenizer.decode(offsets.map(\.id)) == text)
            #expect(offsets.last?.range.upperBound == text.utf8.count)
        }
    }

    @Test("many threads encode with one tokenizer and agree") func threads() async throws {
        let tokenizer = try TinyTokenizer.make()
        let texts = (0..<200).map { "hello world \($0 * 7919) hell\($0)o wow" }
        let expected = texts.map { tokenizer.encode($0) }
        let fresh = try TinyTokenizer.make()
        let agrees = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<4 { group.addTask { texts.map { fresh.encode($0) } == expected } }
            return await group.reduce(true) { $0 && $1 }
        }
        #expect(agrees)
    }

    @Test("SentencePiece merges: prefix, byte fallback, fused unknowns") func scalars() throws {
        let tokens = ["<unk>", "▁", "a", "b", "▁a", "ab", "<0xC3>", "<0xA9>"]
        let merges: [JSON] = [["▁", "a"], ["a", "b"]]
        func json(fallback: Bool) -> JSON {
            [
                "normalizer": [
                    "type": "Sequence",
                    "normalizers": [["type": "Prepend", "prepend": "▁"], ["type": "Replace", "pattern": ["String": " "], "content": "▁"]],
                ],
                "decoder": [
                    "type": "Sequence",
                    "decoders": [
                        ["type": "Replace", "pattern": ["String": "▁"], "content": " "], ["type": "ByteFallback"], ["type": "Fuse"],
                        ["type": "Strip", "content": " ", "start": 1, "stop": 0],
                    ],
                ],
                "model": [
                    "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": .bool(fallback),
                    "vocab": .object(JSONObject(tokens.enumerated().map { ($1, .integer($0)) })), "merges": .array(merges),
                ],
            ]
        }
        let tokenizer = try Tokenizer(json: json(fallback: true), config: nil, file: "spm.json")
        #expect(tokenizer.encode("ab é") == [4, 3, 1, 6, 7])
        #expect(tokenizer.encodeWithOffsets("ab é").map(\.range) == [0..<1, 1..<2, 2..<3, 3..<5, 3..<5])
        #expect(tokenizer.decode([4, 3, 1, 6, 7]) == "ab é")
        #expect(tokenizer.decode([4, 6, 6]) == "a\u{FFFD}\u{FFFD}")
        #expect(tokenizer.encode("a日本") == [4, 0])
        #expect(try Tokenizer(json: json(fallback: false), config: nil, file: "spm.json").encode("é é") == [1, 0, 1, 0])
        #expect(tokenizer.unknownToken == "<unk>")
    }

    @Test("pieces come without a cut character, and joined they are the whole") func streaming() throws {
        let tokenizer = try TinyTokenizer.make()
        let text = "hello wörld 🙂 日本<s>"
        var decoder = StreamingDecoder(tokenizer, skipSpecialTokens: false)
        var pieces = tokenizer.encode(text).map { decoder.append($0) }
        pieces.append(decoder.finish())
        #expect(same(pieces.joined(), text))
        #expect(pieces.allSatisfy { !$0.contains("\u{FFFD}") })
        // F0 9F never ends; E2 28 can be no character.
        var cut = StreamingDecoder(tokenizer)
        let bytes = [0xF0, 0x9F].map { tokenizer.id(of: String(Unicode.Scalar(ByteAlphabet.scalars[$0])!))! }
        #expect(bytes.map { cut.append($0) } == ["", ""])
        #expect(cut.finish() == "\u{FFFD}")
        #expect(cut.append(263) == "")
        for (bytes, count) in [([0x61], 0), ([0xC3], 1), ([0xE2, 0x82], 2), ([0xF0, 0x9F, 0x99], 3), ([0xE0, 0x80], 0), ([0x80], 0), ([0xF5], 0), ([0xED, 0xA0], 0)] {
            #expect(StreamingDecoder.unfinished(bytes.map { UInt8($0) }) == count, "\(bytes)")
        }
    }
}
