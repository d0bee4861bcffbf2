import Checkpoints
import Serialization
import Tokenizers

/// Turns text into token ids, or ids into text.
struct TokenizeCommand: Command {
    static let usage = Usage(
        "tokenize", "Turn text into a model's token ids, or ids into text.",
        [
            ModelChoice.modelFlag,
            .optional("file", "FILE", "read the text (or the ids) from here", default: "the arguments, else standard input"),
            .switched("decode", "turn ids into text"),
            .switched("chat", "render the text as one user message, up to where the assistant's answer begins"),
            .switched("special", "add the special tokens that the tokenizer puts around a text"),
            .switched("json", "print one JSON object with ids and token strings"),
        ],
        positionals: [Positional(placeholder: "TEXT", help: "text, or ids with --decode; several are joined by spaces", count: .any)],
        example: "align tokenize \"The capital of France is\"",
        notes: """
            Needs no weights: PATH may be a folder with tokenizer.json, or that file. Text from a file or standard input
            is taken byte for byte, its last newline included. What begins with two dashes is text after "--".
            """)

    let model: ModelChoice
    let words: [String]
    let file: String?
    let decodes: Bool
    let isChat: Bool
    let addsSpecialTokens: Bool
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        model = try ModelChoice(arguments)
        words = arguments.positionals
        file = arguments.optionalText("file")
        decodes = arguments.isOn("decode")
        isChat = arguments.isOn("chat")
        addsSpecialTokens = arguments.isOn("special")
        isJSON = arguments.isOn("json")
        let command = Self.usage.name
        if file != nil, !words.isEmpty { throw .extraArgument(command: command, found: words[0], accepts: "arguments or --file, not both") }
        if decodes, isChat { throw .conflict(command: command, flags: ["decode", "chat"], reason: "a chat template renders text, not ids") }
        if decodes, addsSpecialTokens { throw .conflict(command: command, flags: ["decode", "special"], reason: "nothing is added to ids") }
        if isChat, addsSpecialTokens {
            throw .conflict(command: command, flags: ["chat", "special"], reason: "a chat template writes the special tokens itself")
        }
    }

    func run() async throws {
        let text = try CheckpointText.open(try model.resolve())
        let tokenizer = try text.requiredTokenizer()
        let (input, place) = try self.input()
        if decodes { return try write(try Self.ids(input, tokenizer, place: place), tokenizer) }
        if isChat { return try write(try text.tokens(of: [["role": "user", "content": .string(input)]]), tokenizer) }
        try write(tokenizer.encode(input, addSpecialTokens: addsSpecialTokens), tokenizer)
    }

    private func input() throws -> (text: String, place: String) {
        if words.isEmpty { return try InputText.read(file) }
        return (words.joined(separator: " "), "arguments")
    }

    private func write(_ ids: [Int32], _ tokenizer: Tokenizer) throws(Output.Failure) {
        if isJSON { return try Output.line(Self.json(ids, tokenizer).text()) }
        guard decodes else { return try Output.line(ids.map(String.init).joined(separator: " ")) }
        // As it is: with a newline of its own, decoding would not reverse encoding.
        let text = tokenizer.decode(ids)
        try Output.write(Output.isTerminal && !text.hasSuffix("\n") ? text + "\n" : text)
    }

    /// `ids`, their strings in the vocabulary, and the text they make.
    static func json(_ ids: [Int32], _ tokenizer: Tokenizer) -> JSON {
        [
            "ids": .array(ids.map { .integer(Int($0)) }), "tokens": .array(ids.map { tokenizer.token($0).map { .string($0) } ?? .null }),
            "text": .string(tokenizer.decode(ids)),
        ]
    }

    /// Ids separated by white space or commas, brackets around them allowed.
    /// - Throws: `CommandError.badLine` for a word that is no id of the tokenizer.
    static func ids(_ text: String, _ tokenizer: Tokenizer, place: String) throws(CommandError) -> [Int32] {
        var ids: [Int32] = []
        // Line feeds are counted as scalars: "\r\n" is one Character.
        for (number, line) in text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split { $0.properties.isWhitespace || $0 == "," || $0 == "[" || $0 == "]" }
            for word in words.map({ String($0) }) {
                guard let id = Int32(word), tokenizer.token(id) != nil else {
                    throw .badLine(
                        path: place, line: number + 1, found: "\"\(word.prefix(40))\"", expected: "a token id, 0 to \(tokenizer.vocabularySize - 1)")
                }
                ids.append(id)
            }
        }
        return ids
    }
}
