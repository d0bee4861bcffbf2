import Serialization

/// Reads `tokenizer.json` as Hugging Face `tokenizers` writes it (version 1.0).
extension TokenizerDefinition {
    init(json: JSON, file: String) throws(TokenizerError) {
        let reader = FieldReader(file: file)
        guard json.object != nil else { throw reader.malformed("the file", json, "an object") }
        let model = try reader.object(json["model"], "model")
        let type = model["type"]?.string ?? (model["merges"] != nil ? "BPE" : "(missing)")
        guard type == "BPE" else { throw .unsupported(file: file, field: "model.type", found: type, supported: ["BPE"]) }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let text = model[key]?.string, !text.isEmpty {
                throw .unsupported(file: file, field: "model.\(key)", found: text, supported: ["none"])
            }
        }
        if let dropout = model["dropout"]?.double, dropout != 0 {
            throw .unsupported(file: file, field: "model.dropout", found: "\(dropout)", supported: ["null"])
        }
        try readVocabulary(model, reader)
        byteFallback = model["byte_fallback"]?.bool ?? false
        fusesUnknown = model["fuse_unk"]?.bool ?? false
        ignoresMerges = model["ignore_merges"]?.bool ?? false
        try readAddedTokens(json["added_tokens"], reader)
        names = TokenTable(strings: tokens)
        if let name = model["unk_token"]?.string {
            guard let id = names.find(name) else { throw .unknownToken(file: file, field: "model.unk_token", token: name) }
            unknown = id
        }
        try readMerges(model["merges"], reader)
        if let value = json["normalizer"], !value.isNull { try readNormalizer(value, "normalizer", reader) }
        if let value = json["pre_tokenizer"], !value.isNull { try readPreTokenizer(value, "pre_tokenizer", reader) }
        if let value = json["post_processor"], !value.isNull { try readPostProcessor(value, "post_processor", reader) }
        if let value = json["decoder"], !value.isNull { try readDecoder(value, "decoder", reader) }
        try checkGrowth(file)
    }

    private mutating func readVocabulary(_ model: JSON, _ reader: FieldReader) throws(TokenizerError) {
        guard let vocabulary = model["vocab"]?.object else { throw reader.malformed("model.vocab", model["vocab"], "an object of token ids") }
        tokens.reserveCapacity(vocabulary.count)
        for (token, value) in vocabulary.members {
            guard let id = value.int else { throw reader.malformed("model.vocab[\"\(token)\"]", value, "an integer") }
            try insert(token, at: id, field: "model.vocab[\"\(token)\"]", reader)
        }
    }

    private mutating func insert(_ token: String, at id: Int, field: @autoclosure () -> String, _ reader: FieldReader) throws(TokenizerError) {
        guard id >= 0 && id < TokenizerDefinition.idLimit else {
            throw .outOfRange(file: reader.file, field: field(), found: id, limit: TokenizerDefinition.idLimit)
        }
        while tokens.count <= id { tokens.append(nil) }
        if let other = tokens[id], !other.utf8.elementsEqual(token.utf8) {
            throw .malformed(file: reader.file, field: field(), found: "\(id), which \"\(other)\" has too", expected: "an id of its own")
        }
        tokens[id] = token
    }

    private mutating func readAddedTokens(_ value: JSON?, _ reader: FieldReader) throws(TokenizerError) {
        guard let value, !value.isNull else { return }
        for (index, token) in try reader.array(value, "added_tokens").enumerated() {
            let field = "added_tokens[\(index)]"
            guard let content = token["content"]?.string else { throw reader.malformed("\(field).content", token["content"], "a string") }
            guard let id = token["id"]?.int else { throw reader.malformed("\(field).id", token["id"], "an integer") }
            let isSpecial = token["special"]?.bool ?? false
            try insert(content, at: id, field: "\(field).id", reader)
            added.append(
                AddedToken(
                    id: Int32(id), content: Array(content.utf8), isSpecial: isSpecial, stripsLeft: token["lstrip"]?.bool ?? false,
                    stripsRight: token["rstrip"]?.bool ?? false, isSingleWord: token["single_word"]?.bool ?? false,
                    isNormalized: token["normalized"]?.bool ?? !isSpecial))
        }
    }

    private mutating func readMerges(_ value: JSON?, _ reader: FieldReader) throws(TokenizerError) {
        let list = try reader.array(value ?? .null, "model.merges")
        merges.reserveCapacity(list.count)
        for (rank, merge) in list.enumerated() {
            if let text = merge.string {
                try addMerge(text, field: "model.merges[\(rank)]", file: reader.file)
            } else {
                let field = "model.merges[\(rank)]"
                guard let parts = merge.array, parts.count == 2, let left = parts[0].string, let right = parts[1].string else {
                    throw reader.malformed(field, merge, "two tokens")
                }
                guard let first = names.find(left) else { throw .unknownToken(file: reader.file, field: field, token: left) }
                guard let second = names.find(right) else { throw .unknownToken(file: reader.file, field: field, token: right) }
                merges.append((first, second))
            }
        }
    }

    /// Adds a merge that is written as two tokens with a space between.
    mutating func addMerge(_ text: String, field: @autoclosure () -> String, file: String) throws(TokenizerError) {
        var text = text
        let (space, left, right) = text.withUTF8 { bytes -> (Int?, Int32?, Int32?) in
            guard let space = bytes.firstIndex(of: 0x20), bytes.lastIndex(of: 0x20) == space else { return (nil, nil, nil) }
            let (left, right) = (UnsafeBufferPointer(rebasing: bytes[..<space]), UnsafeBufferPointer(rebasing: bytes[(space + 1)...]))
            return (space, names.find(left, hash: TokenTable.hash(left)), names.find(right, hash: TokenTable.hash(right)))
        }
        guard let space else { throw .malformed(file: file, field: field(), found: "\"\(text)\"", expected: "two tokens with a space between") }
        guard let left, let right else {
            let missing = left == nil ? text.utf8.prefix(space) : text.utf8.dropFirst(space + 1)
            throw .unknownToken(file: file, field: field(), token: String(decoding: missing, as: UTF8.self))
        }
        merges.append((left, right))
    }

    private mutating func readNormalizer(_ value: JSON, _ field: String, _ reader: FieldReader) throws(TokenizerError) {
        let type = try reader.type(value, field)
        switch type {
        case "NFC": normalizers.append(.nfc)
        case "Prepend": normalizers.append(.prepend(try reader.bytes(value["prepend"], "\(field).prepend")))
        case "Replace":
            let pattern = try reader.literal(value["pattern"], "\(field).pattern")
            normalizers.append(.replace(pattern, with: try reader.bytes(value["content"], "\(field).content", isEmptyAllowed: true)))
        case "Sequence":
            for (index, part) in try reader.array(value["normalizers"] ?? .null, "\(field).normalizers").enumerated() {
                try readNormalizer(part, "\(field).normalizers[\(index)]", reader)
            }
        default: throw .unsupported(file: reader.file, field: "\(field).type", found: type, supported: ["NFC", "Prepend", "Replace", "Sequence"])
        }
    }

    private mutating func readPreTokenizer(_ value: JSON, _ field: String, _ reader: FieldReader) throws(TokenizerError) {
        let type = try reader.type(value, field)
        switch type {
        case "ByteLevel":
            if value["add_prefix_space"]?.bool ?? true { preTokenizers.append(.prefixSpace) }
            if value["use_regex"]?.bool ?? true { preTokenizers.append(.split(.words(.gpt2), .isolated, inverted: false)) }
            isByteLevel = true
        case "Digits":
            let limit = value["individual_digits"]?.bool ?? false ? 1 : Int.max
            preTokenizers.append(.split(.scalars(.number, limit: limit), .isolated, inverted: false))
        case "Split":
            let name = value["behavior"]?.string ?? "(missing)"
            guard let behaviour = PreTokenizer.Behaviour(rawValue: name) else {
                throw .unsupported(
                    file: reader.file, field: "\(field).behavior", found: name, supported: PreTokenizer.Behaviour.allCases.map(\.rawValue))
            }
            preTokenizers.append(.split(try pattern(value["pattern"], "\(field).pattern", reader), behaviour, inverted: value["invert"]?.bool ?? false))
        case "Metaspace":
            let scheme = value["prepend_scheme"]?.string ?? (value["add_prefix_space"]?.bool == false ? "never" : "always")
            guard let prepends = PreTokenizer.Prepending(rawValue: scheme) else {
                throw .unsupported(
                    file: reader.file, field: "\(field).prepend_scheme", found: scheme, supported: PreTokenizer.Prepending.allCases.map(\.rawValue))
            }
            let replacement = try reader.bytes(value["replacement"], "\(field).replacement")
            preTokenizers.append(.metaspace(replacement: replacement, prepends: prepends, splits: value["split"]?.bool ?? true))
        case "Sequence":
            for (index, part) in try reader.array(value["pretokenizers"] ?? .null, "\(field).pretokenizers").enumerated() {
                try readPreTokenizer(part, "\(field).pretokenizers[\(index)]", reader)
            }
        default:
            throw .unsupported(
                file: reader.file, field: "\(field).type", found: type, supported: ["ByteLevel", "Digits", "Split", "Metaspace", "Sequence"])
        }
    }

    /// Replacements that follow one another could let a text grow without bound.
    private func checkGrowth(_ file: String) throws(TokenizerError) {
        var factors: [(pattern: Int, content: Int)] = []
        for case let .replace(pattern, content) in normalizers { factors.append((pattern.count, content.count)) }
        for case let .prepend(text) in normalizers { factors.append((1, text.count)) }
        for case let .metaspace(replacement, _, _) in preTokenizers { factors.append((1, replacement.count)) }
        var (growth, decoded) = (1.0, 1.0)
        for factor in factors { growth *= max(1, Double(factor.content) / Double(factor.pattern)) }
        for case let .replace(pattern, content) in decoder { decoded *= max(1, Double(content.count) / Double(pattern.count)) }
        let limit = 1024.0
        for (field, factor) in [("normalizer and pre_tokenizer", growth), ("decoder", decoded)] where factor > limit {
            throw .outOfRange(file: file, field: "the growth of text by \(field)", found: Int(min(factor, 1e15)), limit: Int(limit) + 1)
        }
    }

    private func pattern(_ value: JSON?, _ field: String, _ reader: FieldReader) throws(TokenizerError) -> PreTokenizer.Pattern {
        guard let regex = value?["Regex"]?.string else { return .literal(try reader.literal(value, field)) }
        if let words = SplitPattern(regex: regex) { return .words(words) }
        switch regex {
        case #"\p{N}"#: return .scalars(.number, limit: 1)
        case #"\p{N}+"#: return .scalars(.number, limit: .max)
        case #"\p{N}{1,3}"#: return .scalars(.number, limit: 3)
        case #"[0-9]"#: return .asciiDigits
        case #"\s+"#: return .scalars(.space, limit: .max)
        case #"\s"#: return .scalars(.space, limit: 1)
        default:
            throw .unsupported(
                file: reader.file, field: "\(field).Regex", found: regex, supported: ["the patterns of GPT-2", "Llama 3", "Qwen 2", "o200k", "Tekken"])
        }
    }

    private mutating func readPostProcessor(_ value: JSON, _ field: String, _ reader: FieldReader) throws(TokenizerError) {
        let type = try reader.type(value, field)
        switch type {
        case "ByteLevel": break  // it changes offsets only
        case "Sequence":
            for (index, part) in try reader.array(value["processors"] ?? .null, "\(field).processors").enumerated() {
                try readPostProcessor(part, "\(field).processors[\(index)]", reader)
            }
        case "TemplateProcessing":
            var isBefore = true
            for (index, part) in try reader.array(value["single"] ?? .null, "\(field).single").enumerated() {
                if part["Sequence"] != nil { isBefore = false; continue }
                guard let name = part["SpecialToken"]?["id"]?.string else { throw reader.malformed("\(field).single[\(index)]", part, "a Sequence or SpecialToken") }
                let listed = value["special_tokens"]?[name]?["ids"]?.array?.compactMap(\.int) ?? names.find(name).map { [Int($0)] }
                guard let listed, listed.allSatisfy({ tokens.indices.contains($0) }) else {
                    throw .unknownToken(file: reader.file, field: "\(field).single[\(index)]", token: name)
                }
                if isBefore { prefix += listed.map(Int32.init) } else { suffix += listed.map(Int32.init) }
            }
        case "RobertaProcessing", "BertProcessing":
            guard let first = value["cls"]?[1]?.int, let last = value["sep"]?[1]?.int, tokens.indices.contains(first), tokens.indices.contains(last) else {
                throw reader.malformed("\(field).cls and .sep", value["cls"], "a token and its id")
            }
            prefix.append(Int32(first))
            suffix.append(Int32(last))
        default:
            throw .unsupported(
                file: reader.file, field: "\(field).type", found: type,
                supported: ["ByteLevel", "TemplateProcessing", "Sequence", "RobertaProcessing", "BertProcessing"])
        }
    }

    private mutating func readDecoder(_ value: JSON, _ field: String, _ reader: FieldReader) throws(TokenizerError) {
        let type = try reader.type(value, field)
        switch type {
        case "ByteLevel": decoder.append(.byteLevel)
        case "Fuse": decoder.append(.fuse)
        case "ByteFallback": decoder.append(.byteFallback)
        case "Replace":
            let pattern = try reader.literal(value["pattern"], "\(field).pattern")
            decoder.append(.replace(pattern, with: try reader.bytes(value["content"], "\(field).content", isEmptyAllowed: true)))
        case "Strip":
            let (start, stop) = (value["start"]?.int ?? 0, value["stop"]?.int ?? 0)
            guard (0...64).contains(start), (0...64).contains(stop) else {
                throw .outOfRange(file: reader.file, field: "\(field).start and .stop", found: max(start, stop), limit: 65)
            }
            decoder.append(.strip(try reader.bytes(value["content"], "\(field).content"), start: start, stop: stop))
        case "Metaspace":
            let prepends = value["prepend_scheme"]?.string != "never" && value["add_prefix_space"]?.bool != false
            decoder.append(.metaspace(try reader.bytes(value["replacement"], "\(field).replacement"), prepends: prepends))
        case "Sequence":
            for (index, part) in try reader.array(value["decoders"] ?? .null, "\(field).decoders").enumerated() {
                try readDecoder(part, "\(field).decoders[\(index)]", reader)
            }
        default:
            throw .unsupported(
                file: reader.file, field: "\(field).type", found: type,
                supported: ["ByteLevel", "Fuse", "ByteFallback", "Replace", "Strip", "Metaspace", "Sequence"])
        }
    }
}

/// Text compared by its bytes; `String` compares by canonical equivalence.
struct ExactText: Hashable, Sendable {
    let text: String
    init(_ text: String) { self.text = text }
    static func == (a: ExactText, b: ExactText) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
    func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

/// Fields of one file, with errors that name them.
struct FieldReader {
    let file: String

    func malformed(_ field: String, _ found: JSON?, _ expected: String) -> TokenizerError {
        .malformed(file: file, field: field, found: found.map(\.kind) ?? "missing", expected: expected)
    }
    func object(_ value: JSON?, _ field: String) throws(TokenizerError) -> JSON {
        guard let value, value.object != nil else { throw malformed(field, value, "an object") }
        return value
    }
    func array(_ value: JSON, _ field: String) throws(TokenizerError) -> [JSON] {
        guard let array = value.array else { throw malformed(field, value, "an array") }
        return array
    }
    func type(_ value: JSON, _ field: String) throws(TokenizerError) -> String {
        guard let type = value["type"]?.string else { throw malformed("\(field).type", value["type"], "a string") }
        return type
    }
    func bytes(_ value: JSON?, _ field: String, isEmptyAllowed: Bool = false) throws(TokenizerError) -> [UInt8] {
        guard let text = value?.string, isEmptyAllowed || !text.isEmpty else { throw malformed(field, value, "a string that is not empty") }
        return Array(text.utf8)
    }
    /// A `{"String": …}` pattern.
    func literal(_ value: JSON?, _ field: String) throws(TokenizerError) -> [UInt8] {
        if let regex = value?["Regex"]?.string {
            throw .unsupported(file: file, field: "\(field).Regex", found: regex, supported: ["a String pattern"])
        }
        return try bytes(value?["String"], "\(field).String")
    }
}
