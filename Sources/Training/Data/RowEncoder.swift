import PreferenceData
import Serialization
import Tokenizers

/// What the encoder needs of a tokenizer.
protocol TextTokenizer: Sendable {
    var bosID: Int32? { get }
    var eosID: Int32? { get }
    func encode(_ text: String, addSpecialTokens: Bool) -> [Int32]
    func encodeWithOffsets(_ text: String) -> [(id: Int32, range: Range<Int>)]
    func decode(_ ids: [Int32], skipSpecialTokens: Bool) -> String
    func isSpecial(_ id: Int32) -> Bool
}
extension Tokenizer: TextTokenizer {}

/// Turns records into token rows.
///
/// - Text under a chat template: the prompt is one user message, the completion the assistant's answer.
/// - Messages: rendered by the template; the prompt's tokens are those of its rendering with the generation prompt.
/// - Text without a template (`--template none`, or a model that has none): prompt text, completion text, end-of-sequence token.
/// - Token ids: nothing is added or removed.
///
/// Both sides of a pair have the same prompt tokens: where a token would straddle prompt and completion, it counts to the
/// completion, on either side. Completions are cut at the end to `maxLength`; prompts never are.
struct RowEncoder: Sendable {
    let tokenizer: (any TextTokenizer)?
    /// Renders messages; nil for raw text.
    let template: ChatTemplate?
    /// The template's variables: `bos_token`, `eos_token`, ….
    let variables: [String: JSON]
    /// For messages.
    let model: String
    let vocabularySize: Int
    let maxLength: Int

    /// A row, or why there is none.
    struct Encoded<Row: Sendable>: Sendable {
        var row: Row?
        var dropped: String?
        var isTruncated = false
        var isMerged = false

        func map<Other: Sendable>(_ make: (Row) -> Other) -> Encoded<Other> {
            Encoded<Other>(row: row.map(make), dropped: dropped, isTruncated: isTruncated, isMerged: isMerged)
        }
    }

    // MARK: Pairs

    func encode(_ pair: PreferencePair) throws -> Encoded<PairRow> {
        // Transcripts that were parsed into messages are, without a template, the text they were.
        let raw = template == nil ? pair.raw : nil
        let cut = try cutCompletions(
            prompt: raw.map { .text($0.prompt) } ?? pair.prompt,
            [("chosen ", raw.map { .text($0.chosen) } ?? pair.chosen), ("rejected ", raw.map { .text($0.rejected) } ?? pair.rejected)],
            tools: pair.tools, origin: pair.origin.place)
        return cut.map { prompt, completions in PairRow(prompt: prompt, chosen: completions[0], rejected: completions[1], origin: pair.origin.place) }
    }

    // MARK: Single completions

    func encode(_ example: LabelledCompletion) throws -> Encoded<UnpairedRow> {
        let raw = template == nil ? example.raw : nil
        let cut = try cutCompletions(
            prompt: raw.map { .text($0.prompt) } ?? example.prompt, [("", raw.map { .text($0.completion) } ?? example.completion)], tools: example.tools,
            origin: example.origin.place)
        return cut.map { prompt, completions in
            UnpairedRow(prompt: prompt, completion: completions[0], isDesirable: example.isDesirable, origin: example.origin.place)
        }
    }

    /// Completions of one prompt, cut to `maxLength`; no row where one of them has nothing to train on.
    private func cutCompletions(
        prompt: Content, _ completions: [(name: String, content: Content)], tools: JSON?, origin: String
    ) throws -> Encoded<(prompt: [Int32], completions: [[Int32]])> {
        let split = try tokens(prompt: prompt, completions: completions.map(\.content), tools: tools, origin: origin)
        for completion in split.completions { try check(split.prompt + completion, isText: !prompt.isTokens, origin: origin) }
        let room = maxLength - split.prompt.count
        var encoded = Encoded<(prompt: [Int32], completions: [[Int32]])>(isMerged: split.isMerged)
        for ((name, _), completion) in zip(completions, split.completions) {
            // A root's first token has no log-prob, so a lone one trains nothing.
            guard completion.count > (split.prompt.isEmpty ? 1 : 0) else {
                encoded.dropped = "the \(name)completion has no tokens to train on"
                return encoded
            }
            guard room > (split.prompt.isEmpty ? 1 : 0) else {
                encoded.dropped = "the prompt has \(split.prompt.count) tokens, --max-length \(maxLength) leaves none for the completions"
                return encoded
            }
            encoded.isTruncated = encoded.isTruncated || completion.count > room
        }
        encoded.row = (split.prompt, split.completions.map { Array($0.prefix(room)) })
        return encoded
    }

    // MARK: Format tokens

    /// Which of a completion's tokens say something: not special ones, nor what a template puts after the last of them.
    ///
    /// Both sides of a pair have these in common, and their log-probs pull both ways: Llama 3 (§4.1.4) leaves them out of DPO's sums.
    func contentMask(_ completion: [Int32]) -> [Bool] {
        guard let tokenizer else { return completion.map { _ in true } }
        var mask = completion.map { !tokenizer.isSpecial($0) }
        guard let last = mask.lastIndex(of: false) else { return mask }
        let rest = completion[(last + 1)...]
        if tokenizer.decode(Array(rest), skipSpecialTokens: false).allSatisfy(\.isWhitespace) { for i in rest.indices { mask[i] = false } }
        return mask
    }

    // MARK: Supervised examples

    func encode(_ example: SupervisedExample) throws -> Encoded<SupervisedRow> {
        let origin = example.origin.place
        var row: SupervisedRow
        var isMerged = false
        var promptTokens = 0
        switch (example.prompt, example.completion) {
        case let (nil, .tokens(ids)):
            row = SupervisedRow(tokens: ids, mask: example.lossMask ?? ids.map { _ in true }, origin: origin)
        case let (nil, .text(text)):
            let ids = try raw(text, origin: origin)
            row = SupervisedRow(tokens: ids, mask: ids.map { _ in true }, origin: origin)
        case let (nil, .messages(messages)):
            (row, isMerged) = try conversation(messages, tools: example.tools, origin: origin)
        case let (.some(prompt), completion):
            let split = try tokens(prompt: prompt, completions: [completion], tools: example.tools, origin: origin)
            isMerged = split.isMerged
            promptTokens = split.prompt.count
            row = SupervisedRow(
                tokens: split.prompt + split.completions[0],
                mask: split.prompt.map { _ in false } + (example.lossMask ?? split.completions[0].map { _ in true }), origin: origin
            )
        }
        try check(row.tokens, isText: !(example.prompt ?? example.completion).isTokens, origin: origin)
        var encoded = Encoded<SupervisedRow>(isMerged: isMerged)
        if row.tokens.count > maxLength {
            encoded.isTruncated = true
            row = SupervisedRow(tokens: Array(row.tokens.prefix(maxLength)), mask: Array(row.mask.prefix(maxLength)), origin: origin)
        }
        guard row.lossTokens > 0 else {
            encoded.dropped =
                encoded.isTruncated && promptTokens >= maxLength
                ? "the prompt has \(promptTokens) tokens, --max-length \(maxLength) leaves none for the completion"
                : encoded.isTruncated ? "--max-length \(maxLength) leaves no token to train on" : "no token to train on"
            return encoded
        }
        encoded.row = row
        return encoded
    }

    /// A conversation of which every assistant turn is trained, its end-of-turn token included.
    private func conversation(_ messages: [Message], tools: JSON?, origin: String) throws -> (row: SupervisedRow, isMerged: Bool) {
        let (tokenizer, template) = try renderer(origin: origin)
        let (text, spans) = try rendered(origin) { () throws(TemplateError) in
            try template.assistantSpans(messages: messages.map(\.json), tools: tools, variables: variables)
        }
        let tokens = tokenizer.encodeWithOffsets(text)
        let mask = tokens.map { token in spans.contains { token.range.overlaps($0) && !token.range.isEmpty } }
        let isMerged = spans.contains { span in tokens.contains { $0.range.lowerBound < span.lowerBound && $0.range.upperBound > span.lowerBound } }
        return (SupervisedRow(tokens: tokens.map(\.id), mask: mask, origin: origin), isMerged)
    }

    // MARK: Prompt and completions

    /// The tokens that an answer to `prompt` follows.
    func promptTokens(_ prompt: Content, origin: String) throws -> [Int32] {
        let ids = try tokens(prompt: prompt, completions: [], tools: nil, origin: origin).prompt
        try check(ids, isText: !prompt.isTokens, origin: origin)
        return ids
    }

    struct Split {
        var prompt: [Int32]
        var completions: [[Int32]]
        var isMerged = false
    }

    func tokens(prompt: Content, completions: [Content], tools: JSON?, origin: String) throws -> Split {
        if case let .tokens(prompt) = prompt {
            return try Split(prompt: prompt, completions: completions.map { completion in
                guard case let .tokens(ids) = completion else {
                    throw TrainingError.badRow(
                        origin: origin, found: "token ids and text in one row", expected: "either", remedy: "Give ids for all parts or for none.")
                }
                return ids
            })
        }
        if template == nil, case let .text(prompt) = prompt {
            let texts = try completions.map { completion in
                guard case let .text(text) = completion else { throw messagesWithoutTemplate(origin) }
                return text
            }
            let split = try split(prompt: prompt, fulls: texts.map { prompt + $0 }, origin: origin, addSpecialTokens: true)
            return Split(prompt: split.prompt, completions: split.completions.map(ended), isMerged: split.isMerged)
        }
        let (_, template) = try renderer(origin: origin)
        let messages = turns(prompt, role: "user")
        func rendering(_ messages: [JSON], opensTurn: Bool) throws -> String {
            try rendered(origin) { () throws(TemplateError) in
                try template.render(messages: messages, tools: tools, addGenerationPrompt: opensTurn, variables: variables)
            }
        }
        let start = try rendering(messages, opensTurn: true)
        let fulls = try completions.map { try rendering(messages + turns($0, role: "assistant"), opensTurn: false) }
        return try split(prompt: start, fulls: fulls, origin: origin, addSpecialTokens: false)
    }

    /// Tokens of `prompt`, cut back to what all of `fulls` begin with, and the rest of each.
    private func split(prompt: String, fulls: [String], origin: String, addSpecialTokens: Bool) throws -> Split {
        let tokenizer = try textTokenizer(origin: origin)
        func encode(_ text: String) -> [Int32] {
            var ids = tokenizer.encode(text, addSpecialTokens: addSpecialTokens)
            // Some tokenizers close every text; what follows a prompt must not come after an end. `ended` puts it back.
            if addSpecialTokens, let eos = tokenizer.eosID, ids.last == eos, tokenizer.encode(text, addSpecialTokens: false).last != eos { ids.removeLast() }
            return ids
        }
        let start = encode(prompt)
        let whole = fulls.map(encode)
        let shared = whole.map { zip(start, $0).prefix { $0.0 == $0.1 }.count }.min() ?? start.count
        return Split(
            prompt: Array(start[..<shared]), completions: whole.map { Array($0[shared...]) }, isMerged: shared < start.count)
    }

    private func raw(_ text: String, origin: String) throws -> [Int32] {
        ended(try textTokenizer(origin: origin).encode(text, addSpecialTokens: true))
    }

    /// `ids` with an end-of-sequence token, if there is one and it is not there already.
    private func ended(_ ids: [Int32]) -> [Int32] {
        guard let eos = tokenizer?.eosID, ids.last != eos else { return ids }
        return ids + [eos]
    }

    func turns(_ content: Content, role: String) -> [JSON] {
        switch content {
        case let .text(text): [["role": .string(role), "content": .string(text)]]
        case let .messages(messages): messages.map(\.json)
        case .tokens: []
        }
    }

    /// What a template refuses is the row's fault, until another template is named.
    func rendered<Result>(_ origin: String, _ body: () throws(TemplateError) -> Result) throws(TrainingError) -> Result {
        do { return try body() } catch {
            throw .badRow(
                origin: origin, found: "messages that the chat template refuses (\(error))", expected: "messages it renders",
                remedy: "Change the row, or name another template with --template FILE.")
        }
    }

    // MARK: Checks

    func textTokenizer(origin: String) throws -> any TextTokenizer {
        guard let tokenizer else { throw TrainingError.missingTokenizer(model: model) }
        return tokenizer
    }

    func renderer(origin: String) throws -> (any TextTokenizer, ChatTemplate) {
        let tokenizer = try textTokenizer(origin: origin)
        guard let template else { throw messagesWithoutTemplate(origin) }
        return (tokenizer, template)
    }

    private func messagesWithoutTemplate(_ origin: String) -> TrainingError {
        .badRow(
            origin: origin, found: "messages", expected: "text, as there is no chat template",
            remedy: "Name a template with --template FILE, or give prompt and completion as strings.")
    }

    /// - Parameter isText: Whether the ids were made here: a second begin-of-sequence token is then a mistake of ours or the template's.
    func check(_ ids: [Int32], isText: Bool, origin: String) throws {
        if isText, let bos = tokenizer?.bosID, ids.count > 1, ids[0] == bos, ids[1] == bos {
            throw TrainingError.badRow(
                origin: origin, found: "two begin-of-sequence tokens at the start", expected: "one",
                remedy: "Take it out of the text, or out of the chat template.")
        }
        if let id = ids.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw TrainingError.badRow(
                origin: origin, found: "token id \(id)", expected: "0 to \(vocabularySize - 1)", remedy: "These ids are of another model's tokenizer.")
        }
    }
}

extension Content {
    var isTokens: Bool { if case .tokens = self { true } else { false } }
}

extension Message {
    /// The message as a template sees it, with all members that the record had.
    public var json: JSON {
        var object = raw.object ?? JSONObject()
        object["role"] = .string(role)
        object["content"] = .string(content)
        return .object(object)
    }
}
