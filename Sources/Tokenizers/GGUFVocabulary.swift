/// The vocabulary that a GGUF file carries in its metadata (`tokenizer.ggml.*`).
public struct GGUFVocabulary: Sendable {
    /// `tokenizer.ggml.model`: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE).
    public var model: String
    /// `tokenizer.ggml.pre`: how words are cut.
    public var pre: String
    public var tokens: [String]
    /// Kind of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. Empty if the file has none.
    public var types: [Int32]
    /// Scores of each token ("llama" only).
    public var scores: [Float]
    /// Two tokens with a space between, best first ("gpt2" only).
    public var merges: [String]
    public var bos: Int?, eos: Int?, unknown: Int?, padding: Int?
    public var addBOS: Bool?, addEOS: Bool?

    public init(
        model: String, pre: String, tokens: [String], types: [Int32] = [], scores: [Float] = [], merges: [String] = [], bos: Int? = nil,
        eos: Int? = nil, unknown: Int? = nil, padding: Int? = nil, addBOS: Bool? = nil, addEOS: Bool? = nil
    ) {
        self.model = model
        self.pre = pre
        self.tokens = tokens
        self.types = types
        self.scores = scores
        self.merges = merges
        self.bos = bos
        self.eos = eos
        self.unknown = unknown
        self.padding = padding
        self.addBOS = addBOS
        self.addEOS = addEOS
    }
}

extension TokenizerDefinition {
    private static let digits = PreTokenizer.split(.scalars(.number, limit: 1), .isolated, inverted: false)
    private static func words(_ pattern: SplitPattern) -> PreTokenizer { .split(.words(pattern), .isolated, inverted: false) }

    /// Names of `tokenizer.ggml.pre`, and what they stand for.
    private static let preTokenizers: [(names: [String], steps: [PreTokenizer])] = [
        (["default", "gpt-2", "gpt2", "mpt", "olmo", "phi-2", "jais"], [words(.gpt2)]),
        (["smollm", "starcoder", "refact", "command-r", "codeshell"], [digits, words(.gpt2)]),
        (["llama-bpe", "llama3", "llama-v3", "smaug-bpe", "dbrx"], [words(.llama3(digits: 3, marksAreLetters: false))]),
        (["qwen2", "deepseek-r1-qwen", "stablelm2"], [words(.llama3(digits: 1, marksAreLetters: false))]),
        (["gpt-4o"], [words(.o200k(digits: 3, contractions: true))]),
        (["tekken"], [words(.o200k(digits: 1, contractions: false))]),
    ]

    /// The first name of `tokenizer.ggml.pre` that stands for a definition's steps; nil if none does.
    static func ggufName(of definition: TokenizerDefinition) -> String? {
        preTokenizers.first { $0.steps == definition.preTokenizers }?.names.first { name in
            name.contains("qwen2") == (definition.normalizers == [.nfc])
        }
    }

    init(vocabulary: GGUFVocabulary, file: String) throws(TokenizerError) {
        let count = vocabulary.tokens.count
        guard count > 0 && count <= TokenizerDefinition.idLimit else {
            throw .outOfRange(file: file, field: "the count of tokenizer.ggml.tokens", found: count, limit: TokenizerDefinition.idLimit + 1)
        }
        for (name, found) in [("token_type", vocabulary.types.count), ("scores", vocabulary.scores.count)] where found != 0 && found != count {
            throw .malformed(file: file, field: "tokenizer.ggml.\(name)", found: "\(found) values", expected: "\(count), one a token")
        }
        let named = [("bos", vocabulary.bos), ("eos", vocabulary.eos), ("unknown", vocabulary.unknown), ("padding", vocabulary.padding)]
        for (name, id) in named {
            if let id, !vocabulary.tokens.indices.contains(id) {
                throw .outOfRange(file: file, field: "tokenizer.ggml.\(name)_token_id", found: id, limit: count)
            }
        }
        tokens = vocabulary.tokens
        names = TokenTable(strings: tokens)
        for (id, type) in vocabulary.types.enumerated() where type == 3 || type == 4 {
            added.append(AddedToken(id: Int32(id), content: Array(vocabulary.tokens[id].utf8), isSpecial: type == 3))
        }
        switch vocabulary.model {
        case "gpt2": try readByteLevel(vocabulary, file)
        case "llama": readSentencePiece(vocabulary)
        default: throw .unsupported(file: file, field: "tokenizer.ggml.model", found: vocabulary.model, supported: ["gpt2", "llama"])
        }
        let beginsByDefault = vocabulary.model == "llama" || ["llama-bpe", "llama3", "llama-v3", "tekken"].contains(vocabulary.pre)
        if vocabulary.addBOS ?? beginsByDefault, let bos = vocabulary.bos { prefix = [Int32(bos)] }
        if vocabulary.addEOS ?? false, let eos = vocabulary.eos { suffix = [Int32(eos)] }
    }

    private mutating func readByteLevel(_ vocabulary: GGUFVocabulary, _ file: String) throws(TokenizerError) {
        let name = vocabulary.pre.isEmpty ? "default" : vocabulary.pre
        guard let known = TokenizerDefinition.preTokenizers.first(where: { $0.names.contains(name) }) else {
            throw .unsupported(
                file: file, field: "tokenizer.ggml.pre", found: name, supported: TokenizerDefinition.preTokenizers.flatMap(\.names))
        }
        preTokenizers = known.steps
        isByteLevel = true
        decoder = [.byteLevel]
        if name.contains("qwen2") { normalizers = [.nfc] }
        ignoresMerges = ["llama-bpe", "llama3", "llama-v3", "gpt-4o", "tekken"].contains(name)
        for (rank, merge) in vocabulary.merges.enumerated() {
            try addMerge(merge, field: "tokenizer.ggml.merges[\(rank)]", file: file)
        }
    }

    /// SentencePiece BPE merges the pair whose joined token has the highest score. As a list of merges: every way to cut every
    /// token into two tokens, by falling score, then falling length of the left part (the order of `transformers`' converter).
    private mutating func readSentencePiece(_ vocabulary: GGUFVocabulary) {
        let space = Array("▁".utf8)
        normalizers = [.prepend(space), .replace([0x20], with: space)]
        decoder = [.replace(space, with: [0x20]), .byteFallback, .fuse, .strip([0x20], start: 1, stop: 0)]
        byteFallback = true
        fusesUnknown = true
        unknown = vocabulary.unknown.map(Int32.init) ?? vocabulary.types.firstIndex(of: 2).map(Int32.init)
        if let unknown, !added.contains(where: { $0.id == unknown }), let text = tokens[Int(unknown)] {
            added.append(AddedToken(id: unknown, content: Array(text.utf8), isSpecial: true))
            added.sort { $0.id < $1.id }
        }
        var cuts: [(left: Int32, right: Int32, score: Float, leftLength: Int, rightLength: Int)] = []
        for id in vocabulary.tokens.indices {
            let type = vocabulary.types.isEmpty ? 1 : vocabulary.types[id]
            guard type == 1 || type == 4 else { continue }
            let bytes = names.bytes(Int32(id))
            let starts = bytes.indices.filter { bytes[$0] & 0xC0 != 0x80 }  // of scalars
            guard starts.count > 1 && starts.count <= 256 else { continue }
            let score = vocabulary.scores.isEmpty ? -Float(id) : vocabulary.scores[id]
            var local: [(left: Int32, right: Int32, score: Float, leftLength: Int, rightLength: Int)] = []
            for cut in 1..<starts.count {
                let left = UnsafeBufferPointer(rebasing: bytes[..<starts[cut]]), right = UnsafeBufferPointer(rebasing: bytes[starts[cut]...])
                if let l = names.find(left, hash: TokenTable.hash(left)), let r = names.find(right, hash: TokenTable.hash(right)) {
                    local.append((l, r, score, cut, starts.count - cut))
                }
            }
            cuts += local.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
        }
        let order = cuts.indices.sorted { a, b in
            if cuts[a].score != cuts[b].score { return cuts[a].score > cuts[b].score }
            if cuts[a].leftLength != cuts[b].leftLength { return cuts[a].leftLength > cuts[b].leftLength }
            if cuts[a].rightLength != cuts[b].rightLength { return cuts[a].rightLength > cuts[b].rightLength }
            return a < b
        }
        merges = order.map { (cuts[$0].left, cuts[$0].right) }
    }
}
