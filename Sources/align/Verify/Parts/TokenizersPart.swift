import Checkpoints
import Foundation
import Serialization
import Tokenizers

/// `tokenizers/`: encoding and decoding, exact, of trained families and of real vocabularies.
struct TokenizersPart: VerifyPart {
    static let folder = "tokenizers"

    func run(_ folder: String, _ context: VerifyContext) {
        for entry in entries(of: folder) {
            if isFolder("\(folder)/\(entry)") {
                guard fileExists("\(folder)/\(entry)/golden.json") else { continue }
                run("\(folder)/\(entry)/golden.json", named: "tokenizers/\(entry)", in: folder, context)
            } else if entry.hasSuffix(".golden.json") {
                run("\(folder)/\(entry)", named: "tokenizers/\(entry.dropLast(12))", in: folder, context)
            }
        }
    }

    private func run(_ path: String, named name: String, in folder: String, _ context: VerifyContext) {
        context.guarded(name) {
            let file = try GoldenFile(path)
            let stated = try file.root.member("tokenizer").text()
            let isShared = stated.hasPrefix("shared/data/")
            guard let source = isShared ? context.dataPath(stated) : "\(folder)/\(stated)", fileExists(source) else {
                context.report(.skipped(name, "skipped: file missing (\(stated); name its folder with --data)"))
                return
            }
            let loaded: LoadedTokenizer
            do { loaded = try LoadedTokenizer(source) } catch let error as LoadedTokenizer.OutOfScope {
                context.report(.notYet(name, error.family))
                return
            }
            let golden = TokenizerGolden(file: file, tokenizer: loaded.tokenizer, byteLevel: loaded.byteLevel)
            context.test("\(name) vocabulary") { try golden.vocabulary(&$0) }
            context.test("\(name) encode") { try golden.encode(&$0) }
            context.test("\(name) decode") { try golden.decode(&$0) }
            context.test("\(name) pieces") { try golden.pieces(&$0) }
            context.remember(uncompared: file.uncompared(), of: name)
        }
    }
}

/// A tokenizer from a file: tokenizer.json or the vocabulary of a GGUF file, gzipped or not.
struct LoadedTokenizer {
    /// A family this build does not have.
    struct OutOfScope: Error { var family: String }

    let tokenizer: Tokenizer
    /// For byte-level vocabularies: whether offsets leave out the space before a word.
    let byteLevel: (Bool)?

    init(_ path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else { throw GoldenError.unreadable(file: path, reason: "no such file") }
        var bytes = [UInt8](data)
        if path.hasSuffix(".gz") { bytes = try Inflate.gunzip(bytes, limit: 512 << 20) }
        let name = path.hasSuffix(".gz") ? String(path.dropLast(3)) : path
        if name.hasSuffix(".gguf") {
            let vocabulary = try Self.vocabulary(bytes)
            guard vocabulary.model == "gpt2" else { throw OutOfScope(family: "GGUF \(vocabulary.model)") }
            tokenizer = try Tokenizer(vocabulary: vocabulary, file: path)
            byteLevel = false
            return
        }
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(bytes) } catch { throw GoldenError.unreadable(file: path, reason: "not JSON: \(error)") }
        let family = json["model"]?["type"]?.string ?? "unknown"
        let levels = Self.steps(json["pre_tokenizer"]) + Self.steps(json["post_processor"])
        let isByteLevel = Self.steps(json["decoder"]).contains { $0["type"]?.string == "ByteLevel" }
        guard family == "BPE", isByteLevel else {
            // Others count as soon as this build reads them.
            guard let other = try? Tokenizer(json: json, config: nil, file: path) else { throw OutOfScope(family: isByteLevel ? family : "\(family) without byte level") }
            (tokenizer, byteLevel) = (other, nil)
            return
        }
        tokenizer = try Tokenizer(json: json, config: nil, file: path)
        let processor = Self.steps(json["post_processor"]).first { $0["type"]?.string == "ByteLevel" }
        _ = levels
        byteLevel = processor?["trim_offsets"]?.bool ?? false
    }

    /// A step, or the steps of a sequence.
    private static func steps(_ json: JSON?) -> [JSON] {
        guard let json, json.object != nil else { return [] }
        let inner = ["pretokenizers", "processors", "decoders"].lazy.compactMap { json[$0]?.array }.first
        return inner.map { $0.flatMap { steps($0) } } ?? [json]
    }

    /// A GGUF file is read from a path: a gzipped one goes through a temporary file.
    private static func vocabulary(_ bytes: [UInt8]) throws -> GGUFVocabulary {
        let path = NSTemporaryDirectory() + "align-vocabulary-\(getpid()).gguf"
        defer { try? FileManager.default.removeItem(atPath: path) }
        guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else { throw CommandError.cannotWrite(path: path, reason: "the temporary folder refuses it") }
        let file = try GGUFFile(path: path)
        guard let vocabulary = try GGUFVocabulary(file) else { throw GoldenError.unreadable(file: path, reason: "it has no vocabulary") }
        return vocabulary
    }
}

struct TokenizerGolden {
    let file: GoldenFile
    let tokenizer: Tokenizer
    let byteLevel: (Bool)?

    func vocabulary(_ recorder: inout CaseRecorder) throws {
        recorder.equal("vocab_size", tokenizer.vocabularySize, golden: try file.root.member("vocab_size").integer())
    }

    func encode(_ recorder: inout CaseRecorder) throws {
        for (i, node) in try file.root.member("encode").elements().enumerated() {
            let text = try node.member("text").text()
            let ids = try node.member("ids").ids()
            recorder.equal("ids of text \(i)", tokenizer.encode(text), golden: ids)
            let special = try node.optional("ids_with_special")?.ids() ?? ids
            recorder.equal("ids_with_special of text \(i)", tokenizer.encode(text, addSpecialTokens: true), golden: special)
            let decoded = try node.optional("decoded")?.text() ?? text
            recorder.equal("decoded text \(i)", Array(tokenizer.decode(ids).unicodeScalars), golden: Array(decoded.unicodeScalars))
            recorder.equal("round_trip of text \(i)", decoded.unicodeScalars.elementsEqual(text.unicodeScalars), golden: try node.optional("round_trip")?.bool() ?? false)
            let skipped = try node.optional("decoded_skip_special")?.text() ?? decoded
            recorder.equal("decoded_skip_special of text \(i)", Array(tokenizer.decode(ids, skipSpecialTokens: true).unicodeScalars), golden: Array(skipped.unicodeScalars))
        }
    }

    func decode(_ recorder: inout CaseRecorder) throws {
        for (i, node) in try file.root.member("decode").elements().enumerated() {
            let ids = try node.member("ids").ids()
            recorder.equal("decoded \(i)", Array(tokenizer.decode(ids).unicodeScalars), golden: Array(try node.member("decoded").text().unicodeScalars))
            guard let skipped = try node.optional("decoded_skip_special")?.text() else { continue }
            recorder.equal("decoded_skip_special \(i)", Array(tokenizer.decode(ids, skipSpecialTokens: true).unicodeScalars), golden: Array(skipped.unicodeScalars))
        }
    }

    func pieces(_ recorder: inout CaseRecorder) throws {
        for (i, node) in try file.root.member("pieces").elements().enumerated() {
            let text = try node.member("text").text()
            let tokens = tokenizer.encode(text).map { tokenizer.token($0) ?? "" }
            recorder.equal("tokens of piece \(i)", tokens, golden: try node.member("tokens").texts())
            let golden = try node.member("offsets").integerRows()
            recorder.equal("offsets of piece \(i): their number", tokens.count, golden: golden.count)
            guard let trims = byteLevel, let offsets = ByteLevel.offsets(of: tokens, in: text, trims: trims) else { continue }
            recorder.equal("offsets of piece \(i)", offsets, golden: golden)
        }
    }
}

/// GPT-2's printable stand-ins for bytes, read backwards.
enum ByteLevel {
    private static let bytes: [UnicodeScalar: UInt8] = {
        var table: [UnicodeScalar: UInt8] = [:]
        var next: UInt32 = 256
        for byte in UInt8.min...UInt8.max {
            let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174
            let scalar: UInt32 = isPrintable ? UInt32(byte) : next
            if !isPrintable { next += 1 }
            if let scalar = UnicodeScalar(scalar) { table[scalar] = byte }
        }
        return table
    }()

    /// Start and end of every token in the text's Unicode scalars; nil where the text was normalised before it was cut.
    static func offsets(of tokens: [String], in text: String, trims: Bool) -> [[Int]]? {
        // Scalar that each byte of the text belongs to.
        var owners: [Int] = []
        for (i, scalar) in text.unicodeScalars.enumerated() { owners += Array(repeating: i, count: String(scalar).utf8.count) }
        let utf8 = Array(text.utf8)
        var position = 0
        var offsets: [[Int]] = []
        for token in tokens {
            var own: [UInt8] = []
            for scalar in token.unicodeScalars {
                guard let byte = bytes[scalar] else { own = []; break }
                own.append(byte)
            }
            // Special tokens stand in the vocabulary as they are written.
            if own.isEmpty || !utf8.dropFirst(position).starts(with: own) { own = Array(token.utf8) }
            guard !own.isEmpty, utf8.dropFirst(position).starts(with: own) else { return nil }
            var (start, end) = (owners[position], owners[position + own.count - 1] + 1)
            position += own.count
            if trims {
                let scalars = Array(text.unicodeScalars)
                while start < end, scalars[start].properties.isWhitespace { start += 1 }
                while end > start, scalars[end - 1].properties.isWhitespace { end -= 1 }
            }
            offsets.append([start, end])
        }
        return position == utf8.count ? offsets : nil
    }
}
