import Serialization

/// Turns text into token ids and back: byte-pair encoding as Hugging Face `tokenizers` performs it.
public final class Tokenizer: Sendable {
    let definition: TokenizerDefinition
    let pipeline: TextPipeline
    private let special: [Bool]
    /// What each token contributes to decoding.
    let pieces: TokenTable
    private let source: JSON?
    let settings: Settings

    /// Names and ids that `tokenizer_config.json` or GGUF metadata give.
    struct Settings: Sendable {
        var beginning: String?, end: String?, padding: String?, unknown: String?
        var raw: JSONObject?
    }

    /// Reads `tokenizer.json`.
    /// - Parameters:
    ///   - config: `tokenizer_config.json`, which names the special tokens.
    ///   - file: The path, for error messages.
    /// - Throws: `TokenizerError`, naming the field.
    public convenience init(json: JSON, config: JSON?, file: String) throws(TokenizerError) {
        let definition = try TokenizerDefinition(json: json, file: file)
        func name(_ key: String) -> String? { config?[key]?.string ?? config?[key]?["content"]?.string }
        let settings = Settings(
            beginning: name("bos_token"), end: name("eos_token"), padding: name("pad_token"), unknown: name("unk_token"), raw: config?.object)
        try self.init(definition, settings: settings, source: json, file: file)
    }

    /// Builds the tokenizer that GGUF metadata describe.
    /// - Throws: `TokenizerError` for models or pre-tokenizers that are not implemented, and for ids out of range.
    public convenience init(vocabulary: GGUFVocabulary, file: String) throws(TokenizerError) {
        let definition = try TokenizerDefinition(vocabulary: vocabulary, file: file)
        func name(_ id: Int?) -> String? { id.flatMap { definition.tokens.indices.contains($0) ? definition.tokens[$0] : nil } }
        let settings = Settings(
            beginning: name(vocabulary.bos), end: name(vocabulary.eos), padding: name(vocabulary.padding), unknown: name(vocabulary.unknown))
        try self.init(definition, settings: settings, source: nil, file: file)
    }

    private init(_ definition: TokenizerDefinition, settings: Settings, source: JSON?, file: String) throws(TokenizerError) {
        pipeline = try definition.pipeline(file: file)
        self.definition = definition
        self.settings = settings
        self.source = source
        var special = [Bool](repeating: false, count: definition.tokens.count)
        for token in definition.added where token.isSpecial { special[Int(token.id)] = true }
        self.special = special
        let isByteLevel = definition.decoder.contains(.byteLevel)
        pieces = !isByteLevel ? definition.names : definition.isByteLevel ? pipeline.model.table : definition.bytesOfTokens()
    }

    /// One more than the highest id.
    public var vocabularySize: Int { definition.tokens.count }
    /// The token that begins a text, if the model has one.
    public var bosID: Int32? { bosToken.flatMap(id(of:)) }
    /// The token that ends a text or turn.
    public var eosID: Int32? { eosToken.flatMap(id(of:)) }
    /// The token that fills batches.
    public var padID: Int32? { padToken.flatMap(id(of:)) }
    /// The token for text outside the vocabulary.
    public var unknownID: Int32? { definition.unknown ?? settings.unknown.flatMap(id(of:)) }
    /// The string of `bosID`.
    public var bosToken: String? { settings.beginning }
    /// The string of `eosID`.
    public var eosToken: String? { settings.end }
    /// The string of `padID`.
    public var padToken: String? { settings.padding }
    /// The string of `unknownID`.
    public var unknownToken: String? { unknownID.flatMap(token) }
    /// What chat templates expect of a tokenizer: `bos_token`, `eos_token`, `pad_token`, `unk_token`, as far as there are.
    public var templateVariables: [String: JSON] {
        var result: [String: JSON] = [:]
        let all = [("bos_token", bosToken), ("eos_token", eosToken), ("pad_token", padToken), ("unk_token", unknownToken)]
        for (key, value) in all { if let value { result[key] = .string(value) } }
        return result
    }

    /// The token ids of `text`. Special tokens that are written in the text are recognised.
    /// - Parameter addSpecialTokens: Put what the tokenizer's template puts around a text, such as the beginning token.
    public func encode(_ text: String, addSpecialTokens: Bool = false) -> [Int32] {
        let ids = pipeline.ids(text)
        return addSpecialTokens ? definition.prefix + ids + definition.suffix : ids
    }

    /// The tokens of `text`, none added, each with the UTF-8 bytes of `text` it stands for.
    ///
    /// A byte-level token may start or end inside a character. Where a normalizer rewrote the text, a token's range covers the
    /// part of the source that its text came from; ranges never decrease, but then may overlap.
    public func encodeWithOffsets(_ text: String) -> [(id: Int32, range: Range<Int>)] {
        pipeline.idsWithRanges(text)
    }

    /// The text of `ids`; bytes that are not valid UTF-8 become U+FFFD, one for each maximal invalid part.
    /// - Parameter skipSpecialTokens: Leave special tokens out. Ids without a token are always left out.
    public func decode(_ ids: [Int32], skipSpecialTokens: Bool = false) -> String {
        let known = ids.filter { token($0) != nil && !(skipSpecialTokens && isSpecial($0)) }
        if definition.decoder == [.byteLevel] {
            var bytes: [UInt8] = []
            for id in known { bytes += pieces.bytes(id) }
            return String(decoding: bytes, as: UTF8.self)
        }
        if definition.decoder.isEmpty { return known.map { String(decoding: pieces.bytes($0), as: UTF8.self) }.joined(separator: " ") }
        return TokenDecoder.decode(known.map { Array(pieces.bytes($0)) }, steps: definition.decoder)
    }

    /// The string of a token as the vocabulary has it (byte-level tokens in their printable alphabet).
    public func token(_ id: Int32) -> String? {
        definition.tokens.indices.contains(Int(id)) ? definition.tokens[Int(id)] : nil
    }

    /// The id of a token string.
    public func id(of token: String) -> Int32? { definition.names.find(token) }

    /// Whether the token steers the model rather than being text.
    public func isSpecial(_ id: Int32) -> Bool { special.indices.contains(Int(id)) && special[Int(id)] }

    /// A `tokenizer.json` of equal effect: what was read, or one that is made from GGUF metadata.
    public func json() -> JSON { source ?? definition.json() }
}
