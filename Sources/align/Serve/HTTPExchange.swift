import Models
import Serialization

/// One request that came over a connection, and the way to answer it: once as a whole, or as a stream of events.
final class HTTPExchange {
    let method, target: String
    let body: [UInt8]
    private let socket: Socket
    private let keepsAlive: Bool
    private let isOldProtocol: Bool
    /// Whether a stream has begun: its status is sent.
    private(set) var isStreaming = false
    /// Whether the answer could be written whole, and the connection may carry another.
    private(set) var mayGoOn: Bool
    private static let seconds = 60.0

    init(_ socket: Socket, head: HTTPHead, method: String, target: String, body: [UInt8], keepsAlive: Bool) {
        (self.socket, self.method, self.body, self.keepsAlive) = (socket, method, body, keepsAlive)
        // A query says nothing here.
        self.target = String(target.prefix { $0 != "?" })
        isOldProtocol = head.startLine.hasSuffix("HTTP/1.0")
        mayGoOn = keepsAlive
    }

    /// Whether all that was written so far went out.
    private(set) var isWritable = true

    /// Whether nobody waits for the answer any more.
    var isAbandoned: Bool { socket.isEnded }

    func send(_ json: JSON, status: Int = 200, fields: [(name: String, value: String)] = []) {
        let bytes = Array(json.text().utf8)
        let lines = ([("Content-Type", "application/json"), ("Content-Length", "\(bytes.count)")] + fields).map { "\($0.0): \($0.1)\r\n" }.joined()
        write(Array(start(status, lines).utf8) + bytes)
    }

    func send(_ error: ServeError) {
        guard !isStreaming else { return event(error.json) }
        var fields: [(name: String, value: String)] = []
        if error.status == 429 || error.status == 503 { fields.append(("Retry-After", "1")) }
        if error.status == 401 { fields.append(("WWW-Authenticate", "Bearer")) }
        send(error.json, status: error.status, fields: fields)
    }

    // MARK: Server-sent events

    func beginStream() {
        isStreaming = true
        if isOldProtocol { mayGoOn = false }  // its end is the connection's
        let framing = isOldProtocol ? "" : "Transfer-Encoding: chunked\r\n"
        write(Array(start(200, "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n" + framing).utf8))
    }

    func event(_ json: JSON) { chunk("data: \(json.text())\n\n") }

    func endStream() {
        chunk("data: [DONE]\n\n")
        if !isOldProtocol { write(Array("0\r\n\r\n".utf8)) }
    }

    private func chunk(_ text: String) {
        let bytes = Array(text.utf8)
        write(isOldProtocol ? bytes : Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + Array("\r\n".utf8))
    }

    private func start(_ status: Int, _ lines: String) -> String {
        "HTTP/1.1 \(status) \(Self.reasons[status] ?? "Error")\r\n\(lines)Connection: \(mayGoOn ? "keep-alive" : "close")\r\n\r\n"
    }

    private static let reasons = [
        200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large",
        429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
    ]

    /// A client that has gone, or takes nothing for a minute, ends the connection and nothing else.
    private func write(_ bytes: [UInt8]) {
        do throws(StreamFault) { try socket.write(bytes, by: Deadline(seconds: Self.seconds)) } catch { (mayGoOn, isWritable) = (false, false) }
    }
}
