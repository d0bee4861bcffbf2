import Serialization
import Testing

@testable import Tokenizers

@Suite("Tokenizer errors") struct TokenizerErrorTests {
    private func error(_ json: JSON) -> TokenizerError? {
        do throws(TokenizerError) { _ = try Tokenizer(json: json, config: nil, file: "t.json") } catch { return error }
        return nil
    }
    private func error(_ path: [String], _ value: JSON?) -> TokenizerError? { error(TinyTokenizer.json(replacing: path, by: value)) }

    @Test("fields of the wrong kind are named") func malformed() {
        for json: JSON in [nil, 3, [], "BPE", [:], ["model": nil], ["model": [:]], ["model": ["type": "BPE"]], ["model": ["type": "BPE", "vocab": [:]]]] {
            #expect(error(json) != nil, "\(json)")
        }
        #expect(error(["model", "vocab"], []) == .malformed(file: "t.json", field: "model.vocab", found: "an array", expected: "an object of token ids"))
        #expect(error(["model", "vocab", "!"], "x") == .malformed(file: "t.json", field: "model.vocab[\"!\"]", found: "a string", expected: "an integer"))
        #expect(error(["model", "merges"], nil) == .malformed(file: "t.json", field: "model.merges", found: "null", expected: "an array"))
        #expect(error(["model", "merges"], [["a"]]) == .malformed(file: "t.json", field: "model.merges[0]", found: "an array", expected: "two tokens"))
        #expect(error(["model", "merges"], ["a b c"]) == .malformed(file: "t.json", field: "model.merges[0]", found: "\"a b c\"", expected: "two tokens with a space between"))
        #expect(error(["added_tokens"], [["id": 1]]) == .malformed(file: "t.json", field: "added_tokens[0].content", found: "missing", expected: "a string"))
        #expect(error(["added_tokens"], [["content": "x"]]) == .malformed(file: "t.json", field: "added_tokens[0].id", found: "missing", expected: "an integer"))
        #expect(error(["pre_tokenizer"], [:]) == .malformed(file: "t.json", field: "pre_tokenizer.type", found: "missing", expected: "a string"))
        #expect(error(["model", "vocab", "new"], 5) == .malformed(file: "t.json", field: "model.vocab[\"new\"]", found: "5, which \"\u{5}\" has too".replacing("\u{5}", with: TinyTokenizer.vocabulary[5]), expected: "an id of its own"))
        #expect(error(["normalizer"], ["type": "Prepend"]) == .malformed(file: "t.json", field: "normalizer.prepend", found: "missing", expected: "a string that is not empty"))
        let unlisted: JSON = ["type": "TemplateProcessing", "single": [["Nothing": 1]]]
        #expect(error(["post_processor"], unlisted) == .malformed(file: "t.json", field: "post_processor.single[0]", found: "an object", expected: "a Sequence or SpecialToken"))
    }

    @Test("what is not implemented is named, with what is") func unsupported() {
        func found(_ path: [String], _ value: JSON) -> String? {
            if case let .unsupported(_, field, found, supported)? = error(path, value), !supported.isEmpty { return field + " " + found }
            return nil
        }
        #expect(found(["model", "type"], "Unigram") == "model.type Unigram")
        #expect(found(["model", "type"], "WordPiece") == "model.type WordPiece")
        #expect(found(["model", "dropout"], 0.1) == "model.dropout 0.1")
        #expect(found(["model", "end_of_word_suffix"], "</w>") == "model.end_of_word_suffix </w>")
        #expect(found(["normalizer"], ["type": "NFKC"]) == "normalizer.type NFKC")
        #expect(found(["normalizer"], ["type": "Sequence", "normalizers": [["type": "Lowercase"]]]) == "normalizer.normalizers[0].type Lowercase")
        #expect(found(["normalizer"], ["type": "Replace", "pattern": ["Regex": "a+"], "content": ""]) == "normalizer.pattern.Regex a+")
        #expect(found(["pre_tokenizer"], ["type": "BertPreTokenizer"]) == "pre_tokenizer.type BertPreTokenizer")
        #expect(found(["pre_tokenizer"], ["type": "Split", "pattern": ["Regex": "x|y"], "behavior": "Isolated"]) == "pre_tokenizer.pattern.Regex x|y")
        #expect(found(["pre_tokenizer"], ["type": "Split", "pattern": ["String": "x"], "behavior": "Odd"]) == "pre_tokenizer.behavior Odd")
        #expect(found(["pre_tokenizer"], ["type": "Metaspace", "replacement": "_", "prepend_scheme": "odd"]) == "pre_tokenizer.prepend_scheme odd")
        #expect(found(["post_processor"], ["type": "Odd"]) == "post_processor.type Odd")
        #expect(found(["decoder"], ["type": "WordPiece"]) == "decoder.type WordPiece")
    }

    @Test("ids, counts and growth out of range, tokens that are not there") func ranges() {
        #expect(error(["model", "vocab", "new"], -1) == .outOfRange(file: "t.json", field: "model.vocab[\"new\"]", found: -1, limit: 1 << 21))
        #expect(error(["model", "vocab", "new"], 4_000_000_000) == .outOfRange(file: "t.json", field: "model.vocab[\"new\"]", found: 4_000_000_000, limit: 1 << 21))
        #expect(error(["decoder"], ["type": "Strip", "content": " ", "start": 1_000_000]) == .outOfRange(file: "t.json", field: "decoder.start and .stop", found: 1_000_000, limit: 65))
        let doubling: JSON = ["type": "Replace", "pattern": ["String": "a"], "content": "aa"]
        if case .outOfRange(_, "the growth of text by normalizer and pre_tokenizer", 1 << 40, _)? = error(["normalizer"], ["type": "Sequence", "normalizers": .array(Array(repeating: doubling, count: 40))]) {
        } else {
            Issue.record("a text that doubles 40 times is accepted")
        }
        #expect(error(["model", "merges"], ["a zz"]) == .unknownToken(file: "t.json", field: "model.merges[0]", token: "zz"))
        #expect(error(["model", "merges"], [["zz", "a"]]) == .unknownToken(file: "t.json", field: "model.merges[0]", token: "zz"))
        #expect(error(["model", "merges"], ["a b"]) == .unknownToken(file: "t.json", field: "model.merges[0]", token: "ab"))
        #expect(error(["model", "unk_token"], "zz") == .unknownToken(file: "t.json", field: "model.unk_token", token: "zz"))
        let absent: JSON = ["type": "TemplateProcessing", "single": [["SpecialToken": ["id": "[X]"]]]]
        #expect(error(["post_processor"], absent) == .unknownToken(file: "t.json", field: "post_processor.single[0]", token: "[X]"))
    }

    @Test("messages say where, what, and what to do") func messages() {
        let all: [TokenizerError] = [
            .malformed(file: "f", field: "x", found: "null", expected: "y"), .unsupported(file: "f", field: "x", found: "a", supported: ["b"]),
            .outOfRange(file: "f", field: "x", found: 3, limit: 2), .unknownToken(file: "f", field: "x", token: "t"),
        ]
        for error in all { #expect(error.description.hasPrefix("f: x ") && error.description.hasSuffix("."), "\(error)") }
    }

    @Test("damaged files throw, whatever is damaged") func damage() {
        // Every value of the file in turn is replaced by values of other kinds: reading must end, with or without an error.
        let odd: [JSON] = [nil, true, -7, 1e300, "", [], [:], ["type": "Sequence"]]
        func damaged(_ json: JSON, _ value: JSON) -> [JSON] {
            var results = [value]
            if case let .object(object) = json {
                for (key, member) in object.members.prefix(12) {
                    for inner in damaged(member, value) {
                        var copy = object
                        copy[key] = inner
                        results.append(.object(copy))
                    }
                }
            } else if case let .array(array) = json {
                for index in array.indices.prefix(3) {
                    for inner in damaged(array[index], value) {
                        var copy = array
                        copy[index] = inner
                        results.append(.array(copy))
                    }
                }
            }
            return results
        }
        var (read, refused) = (0, 0)
        for value in odd {
            for json in damaged(TinyTokenizer.json(normalizer: ["type": "NFC"]), value) {
                if let tokenizer = try? Tokenizer(json: json, config: json, file: "t.json") {
                    _ = tokenizer.decode(tokenizer.encode("hello <s> é"))
                    read += 1
                } else {
                    refused += 1
                }
            }
        }
        #expect(read > 0 && refused > 100, "\(read) read, \(refused) refused")
    }
}
