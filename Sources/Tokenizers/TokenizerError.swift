/// What a tokenizer file holds that cannot be used.
public enum TokenizerError: Error, Equatable, Sendable {
    /// A field is absent or of another kind.
    case malformed(file: String, field: String, found: String, expected: String)
    /// A field names something that is not implemented.
    case unsupported(file: String, field: String, found: String, supported: [String])
    /// An id or a count lies outside what is accepted.
    case outOfRange(file: String, field: String, found: Int, limit: Int)
    /// A merge or a template names a token that the vocabulary lacks.
    case unknownToken(file: String, field: String, token: String)
}

extension TokenizerError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .malformed(file, field, found, expected):
            "\(file): \(field) is \(found), expected \(expected). Take the file from the model's own repository again."
        case let .unsupported(file, field, found, supported):
            "\(file): \(field) is \"\(found)\"; this build reads \(supported.joined(separator: ", ")). Use a model with one of these."
        case let .outOfRange(file, field, found, limit):
            "\(file): \(field) is \(found), accepted are 0..<\(limit). The file is damaged or not a tokenizer."
        case let .unknownToken(file, field, token):
            "\(file): \(field) names the token \"\(token)\", which the vocabulary lacks. Keep vocabulary and merges of one model together."
        }
    }
}
