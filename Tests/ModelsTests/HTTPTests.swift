import Foundation
import Serialization
import Synchronization
import Testing

@testable import Models

/// A stream that gives what it was made with, a few bytes at a time.
private final class ScriptedStream: ByteStream {
    private var bytes: ArraySlice<UInt8>
    private let piece: Int
    init(_ text: String, piece: Int) { (bytes, self.piece) = (Array(text.utf8)[...], piece) }
    func read(into buffer: UnsafeMutableRawBufferPointer, by deadline: Deadline) throws(StreamFault) -> Int {
        let part = bytes.prefix(min(piece, buffer.count))
        buffer.copyBytes(from: part)
        bytes = bytes.dropFirst(part.count)
        return part.count
    }
    func write(_ bytes: UnsafeRawBufferPointer, by deadline: Deadline) throws(StreamFault) {}
    func close() {}
}

@Suite("HTTP messages") struct HTTPTests {
    private func read(_ text: String, piece: Int = 7, isRequest: Bool = false, limit: Int = 1000) throws -> (HTTPHead?, String) {
        let reader = HTTPReader(ScriptedStream(text, piece: piece), peer: "peer")
        let deadline = Deadline(seconds: 10)
        guard let head = try reader.head(by: deadline) else { return (nil, "") }
        return (head, String(decoding: try reader.body(of: head, isRequest: isRequest, limit: limit, by: deadline), as: UTF8.self))
    }

    @Test("bodies by length, in chunks and until the end read the same, however they are cut", arguments: [1, 2, 3, 5, 1000])
    func framings(piece: Int) throws {
        let heads = ["Content-Length: 11\r\n\r\nhello world", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n", "\r\nhello world"]
        for head in heads {
            let (found, body) = try read("HTTP/1.1 200 OK\r\nX-One:  a \r\n" + head, piece: piece)
            #expect(body == "hello world", "\(head): \(body)")
            #expect(found?.status == 200 && found?["x-one"] == "a", "\(String(describing: found))")
        }
    }

    @Test("a connection that ends before a message is none; one that ends inside it is an error") func ends() throws {
        #expect(try read("").0 == nil)
        for text in ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            #expect { try read(text) } throws: { if case HTTPError.disconnected(_, _, text.utf8.count) = $0 { true } else { false } }
        }
    }

    @Test("what is malformed or too large is refused", arguments: [
        "HTTP/1.1 200 OK\r\nno field\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "HTTP/1.1 200 \u{1} OK\r\n\r\n",
    ])
    func malformed(text: String) {
        #expect { try read(text) } throws: { if case HTTPError.malformed = $0 { true } else { false } }
    }

    @Test("sizes are bounded") func limits() {
        let long = String(repeating: "x", count: 70_000)
        for text in [
            "HTTP/1.1 200 OK\r\nX: \(long)\r\n\r\n", long, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n" + long,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", "HTTP/1.1 200 OK\r\n" + String(repeating: "A: b\r\n", count: 129) + "\r\n",
        ] {
            #expect(throws: HTTPError.self) { try read(text, piece: 4096) }
        }
    }

    @Test("a request with a length and chunks is refused: the two could be read differently") func smuggling() {
        #expect(throws: HTTPError.self) { try read("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", isRequest: true) }
    }

    @Test("addresses") func urls() throws {
        let url = try HTTPURL("http://127.0.0.1:8000/v1/")
        #expect(url.host == "127.0.0.1" && url.port == 8000 && url.path == "/v1" && !url.isSecure && url.authority == "127.0.0.1:8000")
        let secure = try HTTPURL("https://[::1]/x")
        #expect(secure.host == "::1" && secure.port == 443 && secure.isSecure && secure.authority == "[::1]", "\(secure)")
        for bad in ["", "localhost:8000", "ftp://x", "http://", "http://a:0", "http://a:70000", "http://a:b", "http://u:p@h", "http://h/?q=1", "http://h\r\nX: y", "http://[::1"] {
            #expect(throws: HTTPError.self, "\(bad)") { try HTTPURL(bad) }
        }
    }

    @Test("an address with a key in it is not repeated in the message") func hiddenUser() {
        #expect { try HTTPURL("http://sk-secret@h") } throws: { !"\($0)".contains("sk-secret") }
    }

    @Test("connections are used again, and one that the server closed is replaced") func keepAlive() throws {
        let server = try FakeServer { $0.number == 1 ? .raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") : .json(200, "ok") }
        defer { server.stop() }
        let client = HTTPClient(try HTTPURL(server.address))
        for _ in 0..<4 { #expect(try client.send(HTTPRequest("GET", "/x")).status == 200) }
        #expect(server.requests.count == 4, "\(server.requests.count)")
    }

    @Test("https to a server that speaks no TLS fails; nothing is sent in the clear") func tls() throws {
        let listener = try ListeningSocket(host: "127.0.0.1", port: 0)
        let heard = Mutex<[UInt8]>([])
        Thread.detachNewThread {
            var connection: Socket?
            while connection == nil { connection = listener.accept() }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = try? buffer.withUnsafeMutableBytes { try connection?.read(into: $0, by: Deadline(seconds: 60)) }
            heard.withLock { $0 = Array(buffer[..<(count ?? 0)]) }
            try? connection?.write(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), by: Deadline(seconds: 60))
            connection?.close()
        }
        let client = HTTPClient(try HTTPURL("https://127.0.0.1:\(listener.port)"))
        let body = Array("a secret".utf8)
        #expect { try client.send(HTTPRequest("POST", "/", body: body)) } throws: { if case HTTPError.insecure = $0 { true } else { false } }
        let bytes = heard.withLock { $0 }
        // A handshake record, TLS's first byte, and none of ours.
        #expect(bytes.first == 22 && bytes.firstRange(of: body) == nil, "\(bytes.prefix(20))")
    }
}
