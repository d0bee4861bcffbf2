import Glibc
import Serialization
import Tokenizers

/// What of a checkpoint turns text into tokens: its tokenizer and its chat template. Needs no weights and no `config.json`.
public struct CheckpointText: Sendable {
    /// As given to `open`.
    public let path: String
    /// `nil` where the checkpoint has no tokenizer.
    public let tokenizer: Tokenizer?
    public let chatTemplate: ChatTemplate?
    /// Why a chat template that is there could not be used.
    public let chatTemplateFault: String?

    static let expected = "a folder with tokenizer.json, a tokenizer.json, or what weights are read from: \(Checkpoint.expected)"

    /// Opens a folder in the Hugging Face layout, a `tokenizer.json`, a `.safetensors` file beside one, a `.gguf` file, or a folder holding one.
    /// - Throws: `.notACheckpoint` for other paths, `.system`, `.invalidJSON`, `.tokenizer`, and what a damaged GGUF file throws.
    public static func open(_ path: String) throws(CheckpointError) -> CheckpointText {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .system(file: path, operation: "open", code: errno) }
        if status.st_mode & S_IFMT == S_IFDIR {
            let names = try Files.names(in: path)
            if names.contains("tokenizer.json") || names.contains("config.json") { return try CheckpointText(folder: path, names: names, path: path) }
            let ggufs = names.filter { $0.hasSuffix(".gguf") }
            guard ggufs.count == 1 else {
                throw .notACheckpoint(path: path, found: "a folder with \(ggufs.count) .gguf files and no tokenizer.json", expected: expected)
            }
            return try CheckpointText(gguf: GGUFFile(path: Files.join(path, ggufs[0])), path: path)
        }
        if path.hasSuffix(".safetensors") || path.hasSuffix(".json") {
            let folder = Files.parent(of: path)
            let names = try Files.names(in: folder)
            guard names.contains("tokenizer.json") else {
                throw .notACheckpoint(path: path, found: "a file without tokenizer.json beside it", expected: expected)
            }
            return try CheckpointText(folder: folder, names: names, path: path)
        }
        if !path.hasSuffix(".gguf") {
            let magic = try InputFile(path).bytes(at: 0, count: 4, field: "the magic number")
            guard magic == Array("GGUF".utf8) else { throw .notACheckpoint(path: path, found: "a file of another kind", expected: expected) }
        }
        return try CheckpointText(gguf: GGUFFile(path: path), path: path)
    }

    /// - Parameter names: The files of `folder`.
    init(folder: String, names: [String], path: String) throws(CheckpointError) {
        self.path = path
        func json(_ name: String) throws(CheckpointError) -> JSON? {
            guard names.contains(name) else { return nil }
            let path = Files.join(folder, name)
            return try Files.parse(try InputFile.contents(path, limit: 256 << 20), path)
        }
        let config = try json("tokenizer_config.json")
        if let tokenizerJSON = try json("tokenizer.json") {
            let file = Files.join(folder, "tokenizer.json")
            do throws(TokenizerError) {
                tokenizer = try Tokenizer(json: tokenizerJSON, config: config, file: file)
            } catch { throw .tokenizer(file: file, reason: "\(error)") }
        } else {
            tokenizer = nil
        }
        var source = config?["chat_template"]?.string
        if let named = config?["chat_template"]?.array {  // several, by name
            source = named.first { $0["name"]?.string == "default" }?["template"]?.string
        }
        if names.contains("chat_template.jinja") {
            source = String(decoding: try InputFile.contents(Files.join(folder, "chat_template.jinja"), limit: 16 << 20), as: UTF8.self)
        }
        (chatTemplate, chatTemplateFault) = Self.template(source)
    }

    init(gguf file: GGUFFile, path: String) throws(CheckpointError) {
        self.path = path
        if let vocabulary = try GGUFLlama.vocabulary(file) {
            do throws(TokenizerError) {
                tokenizer = try Tokenizer(vocabulary: vocabulary, file: file.file.path)
            } catch { throw .tokenizer(file: file.file.path, reason: "\(error)") }
        } else {
            tokenizer = nil
        }
        (chatTemplate, chatTemplateFault) = Self.template(file.metadata["tokenizer.chat_template"]?.string)
    }

    /// A template that cannot be used is no reason not to open the rest: the fault is kept for whoever needs it.
    private static func template(_ source: String?) -> (ChatTemplate?, String?) {
        guard let source else { return (nil, nil) }
        do throws(TemplateError) { return (try ChatTemplate(source: source), nil) } catch { return (nil, "\(error)") }
    }
}
