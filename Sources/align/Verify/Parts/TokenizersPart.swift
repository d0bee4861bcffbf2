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
                return context.report(.missing(name, stated, remedy: isShared ? "name its folder with --data" : nil))
            }
            let loaded: LoadedTokenizer
            do { loaded = try LoadedTokenizer(source) } catch let error as LoadedTokenizer.OutOfScope {
                context.report(.notYet(name, error.family))
                return
            }
            let golden = TokenizerGolden(file: file, loaded: loaded)
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
    /// How the reference's offsets differ from the text that a token covers.
    let trimming: OffsetTrimming?
    /// Whether the file says what is put around a text. A GGUF file does not, for the goldens' reference: its tokenizer is built
    /// from the vocabulary alone.
    let hasTemplate: Bool

    init(_ path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else { throw GoldenError.unreadable(file: path, reason: "no such file") }
        var bytes = [UInt8](data)
        if path.hasSuffix(".gz") { bytes = try Inflate.gunzip(bytes, limit: 512 << 20) }
        let name = path.hasSuffix(".gz") ? String(path.dropLast(3)) : path
        if name.hasSuffix(".gguf") {
            let vocabulary = try Self.vocabulary(bytes)
            tokenizer = try Self.read { () throws(TokenizerError) in try Tokenizer(vocabulary: vocabulary, file: path) }
            (trimming, hasTemplate) = (nil, false)
            return
        }
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(bytes) } catch { throw GoldenError.unreadable(file: path, reason: "not JSON: \(error)") }
        tokenizer = try Self.read { () throws(TokenizerError) in try Tokenizer(json: json, config: nil, file: path) }
        trimming = OffsetTrimming(json["post_processor"])
        hasTemplate = true
    }

    /// What this build does not implement is out of scope; what it cannot make sense of is an error.
    private static func read(_ body: () throws(TokenizerError) -> Tokenizer) throws -> Tokenizer {
        do throws(TokenizerError) { return try body() } catch {
            if case let .unsupported(_, field, found, _) = error { throw OutOfScope(family: "\(field) \(found)") }
            throw error
        }
    }

    /// A GGUF file is read from a path: a gzipped one goes through a temporary file.
    private static func vocabulary(_ bytes: [UInt8]) throws -> GGUFVocabulary {
        let path = NSTemporaryDirectory() + "align-vocabulary-\(UUID().uuidString).gguf"
        defer { try? FileManager.default.removeItem(atPath: path) }
        guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else {
            throw CommandError.cannotWrite(path: path, reason: "the temporary folder refuses it")
        }
        guard let vocabulary = try GGUFVocabulary(GGUFFile(path: path)) else { throw GoldenError.unreadable(file: path, reason: "it has no vocabulary") }
        return vocabulary
    }
}

/// One golden of a tokenizer.
struct TokenizerGolden {
    let file: GoldenFile
    let loaded: LoadedTokenizer
    private var tokenizer: Tokenizer { loaded.tokenizer }

    init(file: GoldenFile, loaded: LoadedTokenizer) { (self.file, self.loaded) = (file, loaded) }

    func vocabulary(_ recorder: inout CaseRecorder) throws {
        recorder.equal("vocab_size", tokenizer.vocabularySize, golden: try file.root.member("vocab_size").integer())
    }

    func encode(_ recorder: inout CaseRecorder) throws {
        for (i, node) in try file.root.member("encode").elements().enumerated() {
            let text = try node.member("text").text()
            let ids = try node.member("ids").ids()
            recorder.equal("ids of text \(i)", tokenizer.encode(text), golden: ids)
            let special = try node.optional("ids_with_special")?.ids()
            if let golden = special ?? (loaded.hasTemplate ? ids : nil) {
                recorder.equal("ids_with_special of text \(i)", tokenizer.encode(text, addSpecialTokens: true), golden: golden)
            }
            let decoded = try node.optional("decoded")?.text() ?? text
            recorder.equal("decoded text \(i)", scalars(tokenizer.decode(ids)), golden: scalars(decoded))
            let returns = try node.optional("round_trip")?.bool() ?? false
            recorder.equal("round_trip of text \(i)", scalars(decoded) == scalars(text), golden: returns)
            let skipped = try node.optional("decoded_skip_special")?.text() ?? decoded
            recorder.equal("decoded_skip_special of text \(i)", scalars(tokenizer.decode(ids, skipSpecialTokens: true)), golden: scalars(skipped))
        }
    }

    func decode(_ recorder: inout CaseRecorder) throws {
        for (i, node) in try file.root.member("decode").elements().enumerated() {
            let ids = try node.member("ids").ids()
            recorder.equal("decoded \(i)", scalars(tokenizer.decode(ids)), golden: scalars(try node.member("decoded").text()))
            guard let skipped = try node.optional("decoded_skip_special")?.text() else { continue }
            recorder.equal("decoded_skip_special \(i)", scalars(tokenizer.decode(ids, skipSpecialTokens: true)), golden: scalars(skipped))
        }
    }

    func pieces(_ recorder: inout CaseRecorder) throws {
        for (i, node) in try file.root.member("pieces").elements().enumerated() {
            let text = try node.member("text").text()
            let found = tokenizer.encodeWithOffsets(text)
            let tokens = found.map { tokenizer.token($0.id) ?? "" }
            recorder.equal("tokens of piece \(i)", tokens.map(scalars), golden: try node.member("tokens").texts().map(scalars))
            var offsets = ScalarOffsets(text).widened(found.map(\.range))
            loaded.trimming?.apply(to: &offsets, tokens: tokens)
            recorder.equal("offsets of piece \(i)", offsets, golden: try node.member("offsets").integerRows())
        }
    }

    /// Texts are compared scalar by scalar: `String` takes canonically equivalent ones for the same.
    private func scalars(_ text: String) -> [UnicodeScalar] { Array(text.unicodeScalars) }
}
