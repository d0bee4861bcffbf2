import Foundation

/// A key for a server, known from the environment alone, and never shown: its descriptions hide it.
public struct APIKey: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let secret: String

    /// The key for a server: `ALIGN_API_KEY` for any, else `OPENAI_API_KEY` where nobody on the way can read it (https, or this machine).
    /// - Throws: `RemoteError.badKey` for one with characters that no header may have.
    public static func fromEnvironment(for server: HTTPURL, _ environment: [String: String] = ProcessInfo.processInfo.environment) throws(RemoteError) -> APIKey? {
        var names = ["ALIGN_API_KEY"]
        if server.isSecure || server.isLoopback { names.append("OPENAI_API_KEY") }
        for name in names {
            guard let value = environment[name], !value.isEmpty else { continue }
            guard value.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7F }) else { throw .badKey(variable: name) }
            return APIKey(secret: value)
        }
        return nil
    }

    /// The header that carries it.
    var field: (name: String, value: String) { ("Authorization", "Bearer " + secret) }

    /// A server's message with the key taken out, should it repeat it.
    func hidden(in text: String) -> String { text.replacingOccurrences(of: secret, with: "…") }

    public var description: String { "an API key (hidden)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension HTTPURL {
    /// Whether the address is this machine's own.
    public var isLoopback: Bool { host == "localhost" || host == "::1" || (host.hasPrefix("127.") && host.allSatisfy { $0.isNumber || $0 == "." }) }
}
