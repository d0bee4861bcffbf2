/// Why a chat template cannot be read or rendered.
public enum TemplateError: Error, Equatable, Sendable {
    /// The source breaks Jinja's grammar.
    case syntax(line: Int, found: String, expected: String)
    /// The source uses something of Jinja that is not implemented.
    case unsupported(line: Int, feature: String, found: String)
    /// A value that does not exist is used as if it did.
    case undefined(line: Int, message: String)
    /// An operation is given values it has no meaning for.
    case invalid(line: Int, message: String)
    /// The template called `raise_exception`.
    case raised(message: String)
    /// The template tried to change a value that it was given.
    case forbidden(line: Int, message: String)
    /// Rendering costs more than is allowed.
    case limit(line: Int, quantity: String, limit: Int)
    /// What is rendered for the first messages does not begin what is rendered for more of them, so turns have no fixed place.
    case notPrefixPreserving(turn: Int, rendered: String, found: String)
}

extension TemplateError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .syntax(line, found, expected):
            "chat template, line \(line): found \(found), expected \(expected)."
        case let .unsupported(line, feature, found):
            "chat template, line \(line): \(feature) '\(found)' is not implemented. Give another template."
        case let .undefined(line, message): "chat template, line \(line): \(message)."
        case let .invalid(line, message): "chat template, line \(line): \(message)."
        case let .raised(message): "the chat template refuses the conversation: \(message)"
        case let .forbidden(line, message): "chat template, line \(line): \(message)."
        case let .limit(line, quantity, limit):
            "chat template, line \(line): more than \(limit) \(quantity). Such a template is not rendered."
        case let .notPrefixPreserving(turn, rendered, found):
            "the chat template renders message \(turn) differently once more follows (\"\(rendered)\" became \"\(found)\"). "
                + "Train on the last turn only, or give a template that keeps earlier turns."
        }
    }
}

/// What rendering one template may cost at most.
public struct TemplateLimits: Sendable, Equatable {
    /// Evaluated nodes; work on long values counts by its length (16 bytes or one element a step).
    public var steps = 10_000_000
    /// Length of the result.
    public var outputBytes = 64 << 20
    /// Nesting of expressions, statements and calls while rendering.
    public var depth = 400
    public init() {}
}
