/// The start line and the fields of an HTTP/1.1 message.
public struct HTTPHead: Sendable, Equatable {
    /// `HTTP/1.1 200 OK`, or `GET /v1/models HTTP/1.1`.
    public var startLine: String
    /// Names in lower case, in the order in which they came.
    public var fields: [(name: String, value: String)]

    public init(startLine: String, fields: [(name: String, value: String)]) {
        self.startLine = startLine
        self.fields = fields
    }

    /// The value of a field; of several of one name, joined as RFC 9110 §5.3 has it.
    public subscript(name: String) -> String? {
        let values = fields.filter { $0.name == name }.map(\.value)
        return values.isEmpty ? nil : values.joined(separator: ", ")
    }

    /// Whether a list field such as `connection` has the word.
    public func lists(_ word: String, in name: String) -> Bool {
        (self[name] ?? "").split(separator: ",").contains { $0.trimmingSpaces.lowercased() == word }
    }

    /// Status of a response; nil if the line is no status line.
    public var status: Int? {
        let parts = startLine.split(separator: " ", maxSplits: 2)
        guard parts.count >= 2, parts[0].hasPrefix("HTTP/1."), parts[1].utf8.count == 3, let status = Int(parts[1]), (100...599).contains(status) else { return nil }
        return status
    }

    /// Method and target of a request; nil if the line is no request line.
    public var request: (method: String, target: String)? {
        let parts = startLine.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2].hasPrefix("HTTP/1."), !parts[0].isEmpty, parts[1].hasPrefix("/") || parts[1] == "*" else { return nil }
        return (String(parts[0]), String(parts[1]))
    }

    /// Whether the connection may carry another message after this one.
    public var keepsAlive: Bool {
        if lists("close", in: "connection") { return false }
        return startLine.contains("HTTP/1.0") ? lists("keep-alive", in: "connection") : true
    }

    public static func == (a: HTTPHead, b: HTTPHead) -> Bool { a.startLine == b.startLine && a.fields.elementsEqual(b.fields, by: ==) }
}

/// How the end of a body is known (RFC 9112 §6.3).
public enum HTTPFraming: Sendable, Equatable {
    case length(Int)
    case chunked
    case untilClose
}

extension HTTPHead {
    struct FramingFault: Error { var found: String }

    /// The framing of a message's body; for requests without a length there is none.
    /// - Throws: Lengths that contradict each other, which requests are smuggled with.
    func framing(isRequest: Bool) throws(FramingFault) -> HTTPFraming {
        if !isRequest, let status, status < 200 || status == 204 || status == 304 { return .length(0) }
        let lengths = Set(fields.filter { $0.name == "content-length" }.flatMap { $0.value.split(separator: ",").map { String($0.trimmingSpaces) } })
        if let coding = self["transfer-encoding"] {
            guard coding.lowercased() == "chunked" else { throw FramingFault(found: "transfer-encoding \"\(coding.prefix(40))\"") }
            if isRequest, !lengths.isEmpty { throw FramingFault(found: "both a content-length and a transfer-encoding") }
            return .chunked
        }
        guard let length = lengths.first else { return isRequest ? .length(0) : .untilClose }
        guard lengths.count == 1, !length.isEmpty, length.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let count = Int(length) else {
            throw FramingFault(found: "content-length \"\(lengths.sorted().joined(separator: ", ").prefix(40))\"")
        }
        return .length(count)
    }
}

extension StringProtocol {
    /// Without spaces and tabs at both ends.
    var trimmingSpaces: SubSequence {
        var part = self[...]
        while let first = part.first, first == " " || first == "\t" { part.removeFirst() }
        while let last = part.last, last == " " || last == "\t" { part.removeLast() }
        return part
    }
}
