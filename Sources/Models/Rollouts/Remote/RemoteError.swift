/// What an OpenAI-compatible server does wrong, or refuses.
public enum RemoteError: Error, Equatable, Sendable {
    case http(HTTPError)
    /// The server answered with an error; `message` is its own.
    case refused(server: String, status: Int, message: String)
    case malformed(server: String, field: String, found: String, expected: String)
    /// The server has other models than the one asked for, or answered as another one.
    case wrongModel(server: String, asked: String, served: [String])
    /// No model was named, and the server has none or several.
    case ambiguousModel(server: String, served: [String])
    /// Busy for longer than we wait.
    case busy(server: String, seconds: Double, limit: Double)
    case gaveUp(attempts: Int, last: String)
    case badKey(variable: String)
    /// Some completions could not be had; the others were handed over.
    case incomplete(server: String, failed: Int, of: Int, first: String)

    /// Whether the same request may succeed later.
    var isTransient: Bool {
        switch self {
        case let .http(error):
            switch error {
            case .cannotConnect, .timedOut, .disconnected: true
            default: false
            }
        case let .refused(_, status, _): status == 408 || status == 409 || status == 425 || status == 429 || status >= 500
        default: false
        }
    }

    /// Whether no other request need be tried.
    var isFatal: Bool {
        switch self {
        case .http(.cannotConnect), .http(.unknownHost), .http(.badURL), .http(.insecure), .http(.cancelled): true
        case let .refused(_, status, _): [401, 402, 403, 404, 405].contains(status)
        case .wrongModel, .ambiguousModel, .badKey, .busy: true
        default: false
        }
    }

    var isCancelled: Bool { if case .http(.cancelled) = self { true } else { false } }
}

extension RemoteError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .http(error): return "\(error)"
        case let .refused(server, status, message):
            let remedy =
                switch status {
                case 401, 403: " Keys come from the environment: ALIGN_API_KEY, or OPENAI_API_KEY over https."
                case 404: " Check the address: it ends before /v1/…"
                case 429: " Ask for fewer completions at once."
                default: ""
                }
            return "\(server): the server refuses with status \(status): \(message.isEmpty ? "no reason given" : message)." + remedy
        case let .malformed(server, field, found, expected):
            return "\(server): in its answer \(field) is \(found), expected \(expected). Check that it speaks OpenAI's protocol."
        case let .wrongModel(server, asked, served):
            return "\(server): asked for the model \"\(asked)\", the server has \(Self.list(served)). Name one of these."
        case let .ambiguousModel(server, served):
            return served.isEmpty
                ? "\(server): the server lists no model. Name the one you want." : "\(server): the server has \(Self.list(served)). Name the one you want."
        case let .busy(server, seconds, limit):
            return "\(server): the server asks to wait \(Int(seconds)) seconds, more than the \(Int(limit)) this program waits. Try later."
        case let .gaveUp(attempts, last): return "given up after \(attempts) attempts; the last: \(last)"
        case let .badKey(variable): return "\(variable): the key has spaces, control characters or characters outside ASCII. Set it again, without line ends."
        case let .incomplete(server, failed, of, first): return "\(server): \(failed) of \(of) completions could not be had; the first: \(first)"
        }
    }

    private static func list(_ names: [String]) -> String {
        names.isEmpty ? "none" : names.prefix(8).map { "\"\($0)\"" }.joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
    }
}
