/// Reads HTTP/1.1 messages (RFC 9112) from a stream whose other side may be broken or hostile: everything has a limit.
public final class HTTPReader {
    public static let headLimit = 64 << 10
    static let fieldLimit = 128

    private let stream: any ByteStream
    private let peer: String
    private var buffer = [UInt8](repeating: 0, count: 16 << 10)
    private var range = 0..<0
    /// Bytes of the message at hand that have come.
    private var received = 0

    /// - Parameter peer: The other side, for messages.
    public init(_ stream: any ByteStream, peer: String) {
        self.stream = stream
        self.peer = peer
    }

    /// Whether bytes that belong to no message read so far wait here.
    var hasLeftovers: Bool { !range.isEmpty }

    // MARK: Heads

    /// The next message's head; nil if the connection ended before its first byte.
    public func head(by deadline: Deadline) throws(HTTPError) -> HTTPHead? {
        received = 0
        var left = Self.headLimit
        var start = ""
        repeat {  // empty lines before a request are to be skipped (RFC 9112 §2.2)
            guard let line = try line(limit: &left, what: "the head", isFirst: true, by: deadline) else { return nil }
            start = line
        } while start.isEmpty
        var fields: [(name: String, value: String)] = []
        while true {
            guard let line = try line(limit: &left, what: "the head", isFirst: false, by: deadline), !line.isEmpty else { break }
            guard let colon = line.firstIndex(of: ":"), colon != line.startIndex, line.first != " ", line.first != "\t", !line[..<colon].contains(" ") else {
                throw .malformed(peer: peer, found: "the line \"\(line.prefix(60))\" in the head", expected: "a field, NAME: VALUE")
            }
            guard fields.count < Self.fieldLimit else { throw .tooLarge(peer: peer, what: "the head, with over \(Self.fieldLimit) fields,", limit: Self.headLimit) }
            fields.append((line[..<colon].lowercased(), String(line[line.index(after: colon)...].trimmingSpaces)))
        }
        return HTTPHead(startLine: start, fields: fields)
    }

    /// A line without its end; nil if the stream ended before its first byte and `isFirst`.
    private func line(limit: inout Int, what: String, isFirst: Bool, by deadline: Deadline) throws(HTTPError) -> String? {
        var bytes: [UInt8] = []
        while true {
            if range.isEmpty, try !fill(waitingFor: "answer", by: deadline) {
                if isFirst, bytes.isEmpty { return nil }
                throw .disconnected(peer: peer, during: what, received: received)
            }
            let end = buffer[range].firstIndex(of: 0x0A) ?? range.upperBound
            bytes += buffer[range.lowerBound..<end]
            let isWhole = end < range.upperBound
            limit -= end - range.lowerBound + (isWhole ? 1 : 0)
            guard limit >= 0 else { throw .tooLarge(peer: peer, what: what, limit: Self.headLimit) }
            range = (isWhole ? end + 1 : end)..<range.upperBound
            if isWhole { break }
        }
        if bytes.last == 0x0D { bytes.removeLast() }
        guard !bytes.contains(where: { $0 < 0x20 && $0 != 0x09 }) else {
            throw .malformed(peer: peer, found: "control characters in \(what)", expected: "an HTTP/1.1 message")
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// - Returns: false at the end of the stream.
    private func fill(waitingFor: String, by deadline: Deadline) throws(HTTPError) -> Bool {
        let result = buffer.withUnsafeMutableBytes { bytes in Result { () throws(StreamFault) in try stream.read(into: bytes, by: deadline) } }
        switch result {
        case let .success(count):
            range = 0..<count
            received += count
            return count > 0
        case .failure(.timedOut): throw .timedOut(peer: peer, waitingFor: waitingFor, seconds: deadline.seconds)
        case .failure(.cancelled): throw .cancelled(peer: peer)
        case .failure(.closed): throw .disconnected(peer: peer, during: "the answer", received: received)
        }
    }

    // MARK: Bodies

    /// The whole body.
    public func body(of head: HTTPHead, isRequest: Bool, limit: Int, by deadline: Deadline) throws(HTTPError) -> [UInt8] {
        let framing: HTTPFraming
        do throws(HTTPHead.FramingFault) { framing = try head.framing(isRequest: isRequest) } catch {
            throw .malformed(peer: peer, found: error.found, expected: "one content-length, or transfer-encoding chunked")
        }
        var body: [UInt8] = []
        switch framing {
        case let .length(count):
            guard count <= limit else { throw .tooLarge(peer: peer, what: "the body", limit: limit) }
            body.reserveCapacity(min(count, 1 << 20))
            try take(count, into: &body, by: deadline)
        case .untilClose:
            repeat {
                body += buffer[range]
                range = 0..<0
                guard body.count <= limit else { throw .tooLarge(peer: peer, what: "the body", limit: limit) }
            } while try fill(waitingFor: "rest of the answer", by: deadline)
        case .chunked: try chunks(into: &body, limit: limit, by: deadline)
        }
        return body
    }

    private func take(_ count: Int, into body: inout [UInt8], by deadline: Deadline) throws(HTTPError) {
        var left = count
        while left > 0 {
            if range.isEmpty, try !fill(waitingFor: "rest of the answer", by: deadline) {
                throw .disconnected(peer: peer, during: "the body", received: received)
            }
            let part = range.prefix(left)
            body += buffer[part]
            range = part.upperBound..<range.upperBound
            left -= part.count
        }
    }

    private func chunks(into body: inout [UInt8], limit: Int, by deadline: Deadline) throws(HTTPError) {
        while true {
            var room = 1024
            guard let line = try line(limit: &room, what: "a chunk's size", isFirst: false, by: deadline) else { return }
            let digits = line.prefix { $0 != ";" }.trimmingSpaces
            guard !digits.isEmpty, digits.utf8.count <= 15, digits.allSatisfy(\.isHexDigit), let count = Int(digits, radix: 16) else {
                throw .malformed(peer: peer, found: "the chunk size \"\(line.prefix(40))\"", expected: "a hexadecimal number")
            }
            if count == 0 { break }
            guard body.count + count <= limit else { throw .tooLarge(peer: peer, what: "the body", limit: limit) }
            try take(count, into: &body, by: deadline)
            var end = 1024
            guard let rest = try self.line(limit: &end, what: "a chunk's end", isFirst: false, by: deadline), rest.isEmpty else {
                throw .malformed(peer: peer, found: "bytes after a chunk", expected: "the end of a line")
            }
        }
        var left = Self.headLimit  // trailers say nothing we need
        while let line = try line(limit: &left, what: "the trailers", isFirst: false, by: deadline), !line.isEmpty { continue }
    }
}
