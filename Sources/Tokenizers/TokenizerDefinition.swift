/// A tokenizer as data, read from `tokenizer.json` or from GGUF metadata.
struct TokenizerDefinition: Sendable {
    /// Token strings by id; `nil` where an id has none.
    var tokens: [String?] = []
    var added: [AddedToken] = []
    var normalizers: [Normalizer] = []
    var preTokenizers: [PreTokenizer] = []
    /// Words are cut into bytes, whose tokens are written with `ByteAlphabet`.
    var isByteLevel = false
    var byteFallback = false
    var unknown: Int32?
    var fusesUnknown = false
    var ignoresMerges = false
    /// Pairs of ids, best first.
    var merges: [(left: Int32, right: Int32)] = []
    /// Ids by token string; made when all tokens are known.
    var names = TokenTable(strings: [])
    /// Put before and after the text when special tokens are asked for.
    var prefix: [Int32] = [], suffix: [Int32] = []
    var decoder: [DecoderStep] = []

    /// Ids at or above this are refused: each id costs memory whether or not it has a token.
    static let idLimit = 1 << 21

    /// The bytes that byte-level tokens stand for; a token outside the alphabet stands for itself, and is not found by its bytes.
    func bytesOfTokens() -> TokenTable {
        TokenTable(count: tokens.count) { ByteAlphabet.append(names.bytes(Int32($0)), to: &$1) }
    }

    /// Where encoding starts: tables by bytes.
    /// - Throws: `TokenizerError.unknownToken` for a merge whose result is no token.
    func pipeline(file: String) throws(TokenizerError) -> TextPipeline {
        let table = isByteLevel ? bytesOfTokens() : names
        var results: [Int32] = []
        results.reserveCapacity(merges.count)
        var joined: [UInt8] = []
        for (rank, pair) in merges.enumerated() {
            joined.removeAll(keepingCapacity: true)
            joined.append(contentsOf: names.bytes(pair.left))
            joined.append(contentsOf: names.bytes(pair.right))
            guard let id = names.find(joined) else {
                throw .unknownToken(file: file, field: "model.merges[\(rank)]", token: String(decoding: joined, as: UTF8.self))
            }
            results.append(id)
        }
        let byteIDs: [Int32] = (0..<256).map { byte in
            if isByteLevel { return table.find([UInt8(byte)]) ?? (unknown ?? -1) }
            let digits = String(byte, radix: 16, uppercase: true)
            return byteFallback ? names.find(Array("<0x\(digits.count < 2 ? "0" : "")\(digits)>".utf8)) ?? -1 : -1
        }
        let symbols: BytePairEncoding.Symbols =
            isByteLevel ? .bytes : .scalars(byteFallback: byteFallback, unknown: unknown, fusesUnknown: fusesUnknown)
        let model = BytePairEncoding(
            symbols: symbols, table: table, merges: MergeTable(merges, ids: results), ignoresMerges: ignoresMerges, byteIDs: byteIDs, count: tokens.count)
        return TextPipeline(normalizers: normalizers, preTokenizers: preTokenizers, added: added, model: model)
    }
}
