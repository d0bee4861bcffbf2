import Serialization

/// One turn of a dialogue.
public struct Message: Sendable, Equatable {
    /// `system`, `user`, `assistant` or `tool`; other names are kept as they are.
    public var role: String
    public var content: String
    /// The message as the file has it, with members such as `tool_calls` that a chat template may use.
    public var raw: JSON

    public init(role: String, content: String, raw: JSON) {
        self.role = role
        self.content = content
        self.raw = raw
    }

    /// A message that no file has: made of a string.
    init(role: String, content: String) {
        self.init(role: role, content: content, raw: ["role": .string(role), "content": .string(content)])
    }

    /// Whether both say the same: role and content, whatever else the file has.
    func isSame(as other: Message) -> Bool { role == other.role && content == other.content && raw["tool_calls"] == other.raw["tool_calls"] }

    /// Whether there is nothing to train on.
    var isEmpty: Bool { content.allSatisfy(\.isWhitespace) && (raw["tool_calls"]?.array ?? []).isEmpty }
}

/// A prompt or a completion, in the form the file gave it.
public enum Content: Sendable, Equatable {
    case text(String)
    case messages([Message])
    /// Token ids, used as they are.
    case tokens([Int32])

    var isEmpty: Bool {
        switch self {
        case let .text(text): text.allSatisfy(\.isWhitespace)
        case let .messages(messages): messages.allSatisfy(\.isEmpty)
        case let .tokens(ids): ids.isEmpty
        }
    }

    /// The messages; a text becomes one of the given role.
    func messages(role: String) -> [Message] {
        switch self {
        case let .text(text): [Message(role: role, content: text)]
        case let .messages(messages): messages
        case .tokens: []
        }
    }
}

/// The place a row was read from.
public struct RowOrigin: Sendable, Equatable {
    public var file: String
    /// From 1; of an item of a JSON array the line it begins on.
    public var line: Int

    public init(file: String, line: Int) {
        self.file = file
        self.line = line
    }
}
