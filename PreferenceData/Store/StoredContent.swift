import Serialization

/// A prompt or a completion as the store keeps it.
public struct StoredContent: Sendable, Equatable, ExpressibleByStringInterpolation {
    public enum Kind: String, Sendable, CaseIterable {
        /// No prompt: the completion is all there is. The text is how it opens, so that dialogues that begin alike stay together.
        case none
        case text
        /// JSON: a list of messages.
        case messages
        /// JSON: a list of token ids.
        case tokens
        /// A part of a "\n\nHuman: …\n\nAssistant: …" text, byte for byte.
        case transcript
    }
    public var kind: Kind
    public var text: String

    public init(kind: Kind, text: String) {
        self.kind = kind
        self.text = text
    }
    public init(stringLiteral text: String) { self.init(kind: .text, text: text) }

    /// The prompt of what has none: the dialogue's first question, or the text's first line.
    public static func none(before completion: StoredContent) -> StoredContent {
        StoredContent(kind: .none, text: String((completion.firstQuestion ?? "").prefix { !$0.isNewline }.prefix(200)))
    }

    /// The first thing a user says in it; of a text all of it.
    var firstQuestion: String? {
        switch kind {
        case .none, .text: text
        case .tokens: nil
        case .transcript: Transcript(text)?.turns.first?.message.content ?? text
        case .messages: if case let .messages(messages)? = content { messages.first { $0.role == "user" }?.content } else { nil }
        }
    }

    /// What a reader would count: characters of the text, or of all messages' texts; of token ids their number.
    var length: Int {
        switch content {
        case nil: 0
        case let .text(text)?: text.unicodeScalars.count
        case let .messages(messages)?: messages.reduce(0) { $0 + $1.content.unicodeScalars.count }
        case let .tokens(ids)?: ids.count
        }
    }

    /// A record's content; what messages have besides role and content (`tool_calls`, `name`, …) is kept.
    public init(_ content: Content) {
        switch content {
        case let .text(text): self.init(kind: .text, text: text)
        case let .messages(messages): self.init(kind: .messages, text: JSON.array(messages.map(\.canonical)).text())
        case let .tokens(ids): self.init(kind: .tokens, text: JSON.array(ids.map { .integer(Int($0)) }).text())
        }
    }

    /// What a stage trains on; nil for a text that is not of its kind, and where there is none.
    public var content: Content? {
        switch kind {
        case .none: return nil
        case .text, .transcript: return .text(text)
        case .messages:
            guard let list = try? JSON.parse(text).array else { return nil }
            let messages = list.compactMap { value -> Message? in
                guard let role = value["role"]?.string, let content = value["content"]?.string else { return nil }
                return Message(role: role, content: content, raw: value)
            }
            return messages.count == list.count ? .messages(messages) : nil
        case .tokens:
            guard let list = try? JSON.parse(text).array else { return nil }
            let ids = list.compactMap { $0.int.flatMap(Int32.init(exactly:)) }
            return ids.count == list.count ? .tokens(ids) : nil
        }
    }

    /// What decides an id: a plain text is itself, all else says what it is.
    var parts: [String] { kind == .text ? [text] : [text, kind.rawValue] }
}

/// A prompt with what belongs to it.
public struct StoredPrompt: Sendable, Equatable {
    public var content: StoredContent
    /// JSON: the tools that the model may call.
    public var tools: String?
    public init(_ content: StoredContent, tools: String? = nil) {
        self.content = content
        self.tools = tools
    }
    /// SHA-256, 64 hexadecimal digits.
    public var id: String { ContentHash.of(content.parts + (tools.map { [$0] } ?? [])) }
    /// A sampled completion in the prompt's own form: ids of ids, an assistant's message of messages, a text of a text; nil for one that says
    /// nothing.
    public func completion(text: String, tokens: [Int32]) -> StoredContent? {
        if content.kind == .tokens { return tokens.isEmpty ? nil : StoredContent(.tokens(tokens)) }
        guard !text.allSatisfy(\.isWhitespace) else { return nil }
        guard content.kind == .messages else { return StoredContent(.text(text)) }
        return StoredContent(.messages([Message(role: "assistant", content: text, raw: ["role": "assistant", "content": .string(text)])]))
    }
    /// The id of a completion of this prompt.
    public func completionID(_ completion: StoredContent) -> String { ContentHash.of([id] + completion.parts, under: id) }
}

/// Ids: the same content has the same one wherever it comes from.
enum ContentHash {
    /// SHA-256 of the parts with their lengths, 64 hexadecimal digits.
    static func of(_ parts: [String]) -> String {
        var hasher = SHA256Hasher()
        for part in parts {
            let bytes = Array(part.utf8)
            hasher.update(Array("\(bytes.count):".utf8))
            hasher.update(bytes)
        }
        return hasher.hex
    }

    /// 16 digits of the prompt's id, then 48 of the hash: what belongs to a prompt lies together in every index.
    static func of(_ parts: [String], under prompt: String) -> String { String(prompt.prefix(16) + of(parts).prefix(48)) }
}

extension Message {
    /// Role, content, and the other members that the file had, under the names of chat templates.
    var canonical: JSON {
        var object = JSONObject([("role", .string(role)), ("content", .string(content))])
        for (key, value) in raw.object?.members ?? [] where !["role", "content", "from", "value"].contains(key) { object[key] = value }
        return .object(object)
    }
}
