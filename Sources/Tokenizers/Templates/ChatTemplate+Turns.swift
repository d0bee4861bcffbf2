import Serialization

extension ChatTemplate {
    /// Whether the conversation up to message `turn`, ended with the generation header, is how the conversation that includes the
    /// message begins: then the model is asked at the same place where the message's text stands in training.
    /// - Parameter turn: The index of an assistant message.
    /// - Throws: `TemplateError` when one of the two cannot be rendered.
    public func isPrefixPreserving(
        messages: [JSON], turn: Int, tools: JSON? = nil, variables: [String: JSON] = [:]
    ) throws(TemplateError) -> Bool {
        precondition(messages.indices.contains(turn), "turn \(turn) of \(messages.count) messages")
        let header = try render(messages: Array(messages[..<turn]), tools: tools, addGenerationPrompt: true, variables: variables)
        let whole = try render(messages: Array(messages[...turn]), tools: tools, addGenerationPrompt: false, variables: variables)
        return whole.utf8.starts(with: header.utf8)
    }

    /// The rendered conversation, and where in it the assistant's turns are, as UTF-8 byte offsets.
    ///
    /// If the template marks generated text (`{% generation %}`), those are the spans. Otherwise a turn begins after the generation
    /// header, that is where `messages[..<turn]` with the header ends, and it ends with its end-of-turn token: white space that the
    /// template puts after that token (ChatML's newline) is left out. A template without such a token keeps all that the turn adds.
    /// - Throws: `.notPrefixPreserving` if an earlier rendering does not begin a later one, so that turns have no fixed place.
    public func assistantSpans(
        messages: [JSON], tools: JSON? = nil, variables: [String: JSON] = [:]
    ) throws(TemplateError) -> (text: String, spans: [Range<Int>]) {
        let all = try rendering(messages: messages, tools: tools, addGenerationPrompt: false, variables: variables)
        if marksGeneration { return (all.text, all.generationSpans) }
        var spans: [Range<Int>] = []
        for (turn, message) in messages.enumerated() where message["role"]?.string == "assistant" {
            let header = try render(messages: Array(messages[..<turn]), tools: tools, addGenerationPrompt: true, variables: variables)
            let upTo = try render(messages: Array(messages[...turn]), tools: tools, addGenerationPrompt: false, variables: variables)
            for (shorter, longer) in [(header, upTo), (upTo, all.text)] where !longer.utf8.starts(with: shorter.utf8) {
                throw ChatTemplate.difference(turn: turn, shorter, longer)
            }
            let start = header.utf8.count
            let added = String(decoding: upTo.utf8.dropFirst(start), as: UTF8.self)
            spans.append(start..<(start + ChatTemplate.lengthOfTurn(added, content: message["content"]?.string ?? "")))
        }
        return (all.text, spans)
    }

    /// Whether the template says itself which text is the model's.
    public var marksGeneration: Bool { ChatTemplate.marksGeneration(statements) }

    private static func marksGeneration(_ statements: [TemplateStatement]) -> Bool {
        statements.contains { statement in
            switch statement.form {
            case .generation: true
            case let .condition(branches, otherwise): branches.contains { marksGeneration($0.body) } || marksGeneration(otherwise)
            case let .loop(loop): marksGeneration(loop.body) || marksGeneration(loop.otherwise)
            case let .with(_, body): marksGeneration(body)
            default: false  // captured text has no place in the result
            }
        }
    }

    /// Bytes of what a turn adds, up to the end of its end-of-turn token.
    private static func lengthOfTurn(_ added: String, content: String) -> Int {
        let content = PythonText.strip(content, nil)
        let contentEnd = PythonText.matches(of: content, in: added).last.map { $0 + content.utf8.count } ?? 0
        let tail = String(decoding: added.utf8.dropFirst(contentEnd), as: UTF8.self)
        let kept = PythonText.strip(tail, nil, left: false)
        return kept.isEmpty ? added.utf8.count : contentEnd + kept.utf8.count
    }

    private static func difference(turn: Int, _ shorter: String, _ longer: String) -> TemplateError {
        var common = zip(shorter.utf8, longer.utf8).prefix { $0 == $1 }.count
        let bytes = Array(shorter.utf8)
        while common > 0 && common < bytes.count && bytes[common] & 0xC0 == 0x80 { common -= 1 }
        func excerpt(_ text: String) -> String {
            let rest = String(decoding: text.utf8.dropFirst(max(0, common)), as: UTF8.self)
            return String(String.UnicodeScalarView(rest.unicodeScalars.prefix(40)))
        }
        return .notPrefixPreserving(turn: turn, rendered: excerpt(shorter), found: excerpt(longer))
    }
}
