import Serialization
import Testing

@testable import Tokenizers

@Suite("GGUF vocabularies") struct GGUFVocabularyTests {
    private func tiny(model: String = "gpt2", pre: String = "gpt-2") -> GGUFVocabulary {
        let tokens = TinyTokenizer.vocabulary + ["<s>", "</s>", "align"]
        return GGUFVocabulary(
            model: model, pre: pre, tokens: tokens, types: [Int32](repeating: 1, count: 263) + [3, 3, 4],
            merges: TinyTokenizer.merges.map { $0.0 + " " + $0.1 }, bos: 263, eos: 264)
    }
    private func error(_ vocabulary: GGUFVocabulary) -> TokenizerError? {
        do throws(TokenizerError) { _ = try Tokenizer(vocabulary: vocabulary, file: "m.gguf") } catch { return error }
        return nil
    }

    @Test("the same tokens as from tokenizer.json") func sameAsJSON() throws {
        let tokenizer = try Tokenizer(vocabulary: tiny(), file: "m.gguf")
        let json = try TinyTokenizer.make()
        let text = "<s>hello world 1234 it's align</s>"
        #expect(tokenizer.encode(text) == json.encode(text))
        #expect((tokenizer.bosToken, tokenizer.eosID) == ("<s>", 264))
        #expect(tokenizer.encode("hello", addSpecialTokens: true) == [259])
        var begins = tiny()
        (begins.addBOS, begins.addEOS) = (true, true)
        #expect(try Tokenizer(vocabulary: begins, file: "m.gguf").encode("hello", addSpecialTokens: true) == [263, 259, 264])
    }

    @Test("saved and read again it is the same", arguments: ["gpt-2", "smollm", "llama-bpe", "qwen2", "gpt-4o", "tekken", ""])
    func saving(pre: String) throws {
        let tokenizer = try Tokenizer(vocabulary: tiny(pre: pre), file: "m.gguf")
        let again = try Tokenizer(json: tokenizer.json(), config: tokenizer.configJSON(chatTemplate: nil), file: "saved.json")
        #expect(again.definition.preTokenizers == tokenizer.definition.preTokenizers)
        #expect(again.definition.prefix == tokenizer.definition.prefix)
        #expect(again.definition.normalizers == tokenizer.definition.normalizers)
        let text = "<s>Hello WORLD 12345  it's\n\n align hello</s> e\u{301}"
        #expect(again.encode(text, addSpecialTokens: true) == tokenizer.encode(text, addSpecialTokens: true))
        #expect((again.bosID, again.eosID, again.vocabularySize) == (263, 264, 266))
        // Once read from JSON it is kept as it was.
        #expect(again.json() == tokenizer.json())
    }

    @Test("the config names the special tokens and takes the template") func config() throws {
        let config = try Tokenizer(vocabulary: tiny(), file: "m.gguf").configJSON(chatTemplate: "{{ x }}")
        #expect(config["chat_template"] == "{{ x }}" && config["bos_token"] == "<s>" && config["pad_token"] == .null)
        #expect(config["clean_up_tokenization_spaces"] == false && config["tokenizer_class"] == "PreTrainedTokenizerFast")
        let kept = try TinyTokenizer.make(config: ["eos_token": "</s>", "odd": 1]).configJSON(chatTemplate: "t")
        #expect(kept == ["eos_token": "</s>", "odd": 1, "chat_template": "t"])
    }

    @Test("scores become merges, the highest first") func scores() throws {
        // "▁ab": by score (a b) at -1 wins over (▁ a) at -2; then nothing joins ▁ and ab.
        let vocabulary = GGUFVocabulary(
            model: "llama", pre: "default", tokens: ["<unk>", "<s>", "▁", "a", "b", "▁a", "ab"], types: [2, 3, 1, 1, 1, 1, 1],
            scores: [0, 0, -9, -9, -9, -2, -1], bos: 1)
        let tokenizer = try Tokenizer(vocabulary: vocabulary, file: "m.gguf")
        #expect(tokenizer.encode("ab") == [2, 6])
        #expect(tokenizer.encode("a b", addSpecialTokens: true) == [1, 5, 2, 4])
        #expect(tokenizer.decode([2, 6]) == "ab")
        #expect((tokenizer.isSpecial(0), tokenizer.unknownID) == (true, 0))
        let again = try Tokenizer(json: tokenizer.json(), config: nil, file: "saved.json")
        #expect(again.encode("ab ba", addSpecialTokens: true) == tokenizer.encode("ab ba", addSpecialTokens: true))
    }

    @Test("every error is provoked") func errors() {
        if case .unsupported("m.gguf", "tokenizer.ggml.pre", "odd", let known)? = error(tiny(pre: "odd")) {
            #expect(known.contains("smollm") && known.contains("qwen2"))
        } else {
            Issue.record("an unknown pre-tokenizer is accepted")
        }
        #expect(error(tiny(model: "t5")) == .unsupported(file: "m.gguf", field: "tokenizer.ggml.model", found: "t5", supported: ["gpt2", "llama"]))
        #expect(error(GGUFVocabulary(model: "gpt2", pre: "", tokens: [])) == .outOfRange(file: "m.gguf", field: "the count of tokenizer.ggml.tokens", found: 0, limit: 1 << 21 + 1))
        var odd = tiny()
        odd.types.removeLast()
        #expect(error(odd) == .malformed(file: "m.gguf", field: "tokenizer.ggml.token_type", found: "265 values", expected: "266, one a token"))
        odd = tiny()
        odd.eos = 266
        #expect(error(odd) == .outOfRange(file: "m.gguf", field: "tokenizer.ggml.eos_token_id", found: 266, limit: 266))
        odd = tiny()
        odd.merges.append("he")
        #expect(error(odd) == .malformed(file: "m.gguf", field: "tokenizer.ggml.merges[7]", found: "\"he\"", expected: "two tokens with a space between"))
        odd = tiny()
        odd.merges.append("zz a")
        #expect(error(odd) == .unknownToken(file: "m.gguf", field: "tokenizer.ggml.merges[7]", token: "zz"))
    }
}
