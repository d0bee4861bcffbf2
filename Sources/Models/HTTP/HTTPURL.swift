/// Where a server is: `http://host:port/base` or `https://…`.
public struct HTTPURL: Sendable, Equatable {
    public let isSecure: Bool
    /// Without the brackets of an IPv6 address.
    public let host: String
    public let port: Int
    /// Begins with `/` and does not end with one; empty for the root.
    public let path: String

    static let expected = "http://HOST[:PORT][/PATH] or https://…"

    /// - Throws: `HTTPError.badURL`, for other schemes, user names in the address (keys come from the environment), queries and bad ports.
    public init(_ text: String) throws(HTTPError) {
        func bad(_ expected: String = HTTPURL.expected) -> HTTPError { .badURL(found: HTTPURL.hidingUser(text), expected: expected) }
        let lower = text.lowercased()
        let secure = lower.hasPrefix("https://")
        guard secure || lower.hasPrefix("http://") else { throw bad() }
        guard text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7F }) else { throw bad() }
        let rest = text.dropFirst(secure ? 8 : 7)
        guard !rest.contains("?"), !rest.contains("#") else { throw bad("an address without a query or fragment") }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var authority = rest[..<slash]
        guard !authority.contains("@") else { throw bad("an address without a user name; keys are taken from the environment") }
        var number: Substring?
        if authority.first == "[" {
            guard let close = authority.firstIndex(of: "]") else { throw bad("a closing ] after the IPv6 address") }
            let after = authority[authority.index(after: close)...]
            guard after.isEmpty || after.first == ":" else { throw bad() }
            number = after.isEmpty ? nil : after.dropFirst()
            authority = authority[authority.index(after: authority.startIndex)..<close]
        } else if let colon = authority.firstIndex(of: ":") {
            number = authority[authority.index(after: colon)...]
            authority = authority[..<colon]
        }
        guard !authority.isEmpty else { throw bad() }
        if let number {
            guard let value = Int(number), (1...65_535).contains(value) else { throw bad("a port from 1 to 65535") }
            port = value
        } else {
            port = secure ? 443 : 80
        }
        var path = String(rest[slash...])
        while path.hasSuffix("/") { path.removeLast() }
        (isSecure, host, self.path) = (secure, String(authority), path)
    }

    /// `host:port`, as the `Host` field and messages have it.
    public var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }

    /// What may stand in messages: an address with a key in it must not.
    private static func hidingUser(_ text: String) -> String {
        guard let at = text.lastIndex(of: "@") else { return text }
        return "…" + text[at...]
    }
}
