/// What goes wrong between this process and an HTTP server, or a client.
public enum HTTPError: Error, Equatable, Sendable {
    case badURL(found: String, expected: String)
    case unknownHost(host: String, reason: String)
    case cannotConnect(peer: String, reason: String)
    case timedOut(peer: String, waitingFor: String, seconds: Double)
    /// The connection ended before the message did.
    case disconnected(peer: String, during: String, received: Int)
    case malformed(peer: String, found: String, expected: String)
    case tooLarge(peer: String, what: String, limit: Int)
    /// TLS could not be set up, or the server could not be verified; never gone around.
    case insecure(peer: String, reason: String)
    /// The caller asked to stop.
    case cancelled(peer: String)
}

extension HTTPError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .badURL(found, expected): "\"\(found)\" is no URL of a server; expected \(expected)."
        case let .unknownHost(host, reason): "\(host): the name cannot be resolved (\(reason)). Check its spelling and this machine's network."
        case let .cannotConnect(peer, reason): "\(peer): cannot connect (\(reason)). Check that the server runs and listens there."
        case let .timedOut(peer, waitingFor, seconds):
            "\(peer): no \(waitingFor) within \(seconds) seconds. The server is slow or stuck: give it more time, or fewer requests at once."
        case let .disconnected(peer, during, received):
            "\(peer): the connection ended during \(during), after \(received) bytes; the answer is incomplete. See the server's log."
        case let .malformed(peer, found, expected): "\(peer): found \(found), expected \(expected). Check that it is an HTTP server of the kind wanted."
        case let .tooLarge(peer, what, limit): "\(peer): \(what) has more than \(limit) bytes, which is the limit."
        case let .insecure(peer, reason): "\(peer): no secure connection: \(reason). Nothing was sent."
        case let .cancelled(peer): "\(peer): interrupted."
        }
    }
}
