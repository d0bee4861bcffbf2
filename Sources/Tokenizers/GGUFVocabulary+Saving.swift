extension Tokenizer {
    /// The vocabulary as GGUF metadata carry it.
    /// - Throws: `.unsupported` for a tokenizer whose steps GGUF has no name for.
    public func ggufVocabulary(file: String) throws(TokenizerError) -> GGUFVocabulary {
        guard definition.isByteLevel, let pre = TokenizerDefinition.ggufName(of: definition) else {
            throw .unsupported(
                file: file, field: "tokenizer", found: definition.isByteLevel ? "byte-level BPE with steps that GGUF has no name for" : "a tokenizer without byte-level BPE",
                supported: ["byte-level BPE as of GPT-2, SmolLM2, Llama 3, Qwen 2"])
        }
        let special = Dictionary(definition.added.map { ($0.id, $0.isSpecial) }, uniquingKeysWith: { first, _ in first })
        let types = definition.tokens.enumerated().map { id, token -> Int32 in
            if let isSpecial = special[Int32(id)] { return isSpecial ? 3 : 4 }
            return token == nil ? 5 : 1
        }
        func text(_ id: Int32) -> String { definition.tokens[Int(id)] ?? "" }
        return GGUFVocabulary(
            model: "gpt2", pre: pre, tokens: definition.tokens.enumerated().map { $1 ?? "[PAD\($0)]" }, types: types,
            merges: definition.merges.map { text($0.left) + " " + text($0.right) }, bos: bosID.map(Int.init), eos: eosID.map(Int.init),
            padding: padToken.flatMap(id(of:)).map(Int.init), addBOS: !definition.prefix.isEmpty, addEOS: !definition.suffix.isEmpty)
    }
}
