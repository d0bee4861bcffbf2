import Synchronization

/// What is asked of a server.
public struct HTTPRequest: Sendable {
    public var method: String
    /// Path after the server's own, beginning with `/`.
    public var path: String
    public var fields: [(name: String, value: String)]
    public var body: [UInt8]

    public init(_ method: String, _ path: String, fields: [(name: String, value: String)] = [], body: [UInt8] = []) {
        (self.method, self.path, self.fields, self.body) = (method, path, fields, body)
    }
}

public struct HTTPResponse: Sendable {
    public var status: Int
    public var head: HTTPHead
    public var body: [UInt8]
}

/// A client of one server: HTTP/1.1 over connections that are kept and used again, plain or TLS. Calls block; threads may share it.
public final class HTTPClient: Sendable {
    public struct Limits: Sendable, Equatable {
        /// Seconds until there is a connection, TLS included.
        public var connectSeconds = 10.0
        /// Seconds from a request's first byte to its answer's last.
        public var answerSeconds = 600.0
        /// Bytes of an answer.
        public var bodyBytes = 64 << 20
        public init() {}
    }

    public let server: HTTPURL
    private let limits: Limits
    /// A file of certificates to trust in place of the system's.
    private let roots: String?
    private let idle = Mutex<[Connection]>([])

    /// A connection and the reader that holds what has come over it. One thread at a time has it: it is taken out of `idle`.
    private final class Connection: @unchecked Sendable {
        let socket: Socket
        let stream: any ByteStream
        let reader: HTTPReader
        init(socket: Socket, stream: any ByteStream, peer: String) {
            (self.socket, self.stream) = (socket, stream)
            reader = HTTPReader(stream, peer: peer)
        }
    }

    public init(_ server: HTTPURL, limits: Limits = Limits(), roots: String? = nil) { (self.server, self.limits, self.roots) = (server, limits, roots) }

    /// Sends a request and reads the whole answer, of whatever status.
    /// - Parameter isCancelled: Asked while waiting; true ends the call with `HTTPError.cancelled`.
    public func send(_ request: HTTPRequest, isCancelled: @escaping @Sendable () -> Bool = { false }) throws(HTTPError) -> HTTPResponse {
        // A server may close an idle connection at the moment we write to it: then nothing was answered, and a new one is tried.
        while let connection = kept() {
            do throws(HTTPError) { return try exchange(request, over: connection, isCancelled) } catch {
                guard case let .disconnected(_, _, received) = error, received == 0 else { throw error }
            }
        }
        return try exchange(request, over: try connect(isCancelled), isCancelled)
    }

    private func kept() -> Connection? {
        while let connection = idle.withLock({ $0.popLast() }) {
            if !connection.reader.hasLeftovers, !connection.socket.isStale { return connection }
            connection.stream.close()
        }
        return nil
    }

    private func connect(_ isCancelled: @escaping @Sendable () -> Bool) throws(HTTPError) -> Connection {
        let deadline = Deadline(seconds: limits.connectSeconds, isCancelled: isCancelled)
        let peer = server.authority
        let socket = try Socket.connect(host: server.host, port: server.port, peer: peer, by: deadline)
        let stream: any ByteStream = server.isSecure ? try TLSStream(socket, host: server.host, peer: peer, roots: roots, by: deadline) : socket
        return Connection(socket: socket, stream: stream, peer: peer)
    }

    private func exchange(_ request: HTTPRequest, over connection: Connection, _ isCancelled: @escaping @Sendable () -> Bool) throws(HTTPError) -> HTTPResponse {
        let peer = server.authority
        let deadline = Deadline(seconds: limits.answerSeconds, isCancelled: isCancelled)
        var isKept = false
        defer { if !isKept { connection.stream.close() } }
        // An answer may come, and the connection end, before the request is all written: a server that refuses a body does that.
        do throws(StreamFault) { try connection.stream.write(bytes(of: request), by: deadline) } catch {
            switch error {
            case .timedOut: throw .timedOut(peer: peer, waitingFor: "room for the request", seconds: deadline.seconds)
            case .cancelled: throw .cancelled(peer: peer)
            case .closed: break
            }
        }
        while true {
            guard let head = try connection.reader.head(by: deadline) else { throw .disconnected(peer: peer, during: "the wait for an answer", received: 0) }
            guard let status = head.status else {
                throw .malformed(peer: peer, found: "\"\(head.startLine.prefix(60))\"", expected: "HTTP/1.1 and a status")
            }
            if status < 200 { continue }
            let body = try connection.reader.body(of: head, isRequest: false, limit: limits.bodyBytes, by: deadline)
            isKept = head.keepsAlive && (head["content-length"] != nil || head["transfer-encoding"] != nil)
            if isKept { idle.withLock { $0.append(connection) } }
            return HTTPResponse(status: status, head: head, body: body)
        }
    }

    private func bytes(of request: HTTPRequest) -> [UInt8] {
        let path = server.path + request.path
        var head = "\(request.method) \(path.isEmpty ? "/" : path) HTTP/1.1\r\nHost: \(server.authority)\r\n"
        for (name, value) in request.fields {
            precondition(!(name + value).unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F }, "a field has control characters")
            head += "\(name): \(value)\r\n"
        }
        if !request.body.isEmpty || request.method == "POST" { head += "Content-Length: \(request.body.count)\r\n" }
        return Array((head + "\r\n").utf8) + request.body
    }
}
