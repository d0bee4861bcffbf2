import Foundation
import Models
import Serialization
import Synchronization

/// A server on 127.0.0.1 that answers as a test says, well or badly.
final class FakeServer: Sendable {
    enum Reply: Sendable {
        case json(Int, JSON, [(name: String, value: String)] = [])
        /// These bytes, and then the connection ends.
        case raw(String)
        /// The connection stays open, and nothing comes.
        case silence
    }
    struct Request: Sendable {
        var number: Int
        var head: HTTPHead
        var body: JSON?
        var path: String { head.request?.target ?? "" }
    }

    let port: Int
    private let socket: ListeningSocket
    private let stopped = Atomic<Bool>(false)
    private let seen = Mutex<[Request]>([])
    private let open = Atomic<Int>(0)
    private let mostOpen = Mutex<Int>(0)

    var requests: [Request] { seen.withLock { $0 } }
    /// The most requests that were under way at once.
    var mostAtOnce: Int { mostOpen.withLock { $0 } }
    var address: String { "http://127.0.0.1:\(port)" }

    /// - Parameter answer: Called from several threads.
    init(_ answer: @escaping @Sendable (Request) -> Reply) throws {
        socket = try ListeningSocket(host: "127.0.0.1", port: 0)
        port = socket.port
        Thread.detachNewThread { [self] in
            while !isStopped {
                guard let connection = socket.accept() else { continue }
                Thread.detachNewThread { [self] in serve(connection, answer) }
            }
        }
    }

    func stop() { stopped.store(true, ordering: .relaxed) }
    private var isStopped: Bool { stopped.load(ordering: .relaxed) }

    private func serve(_ connection: Socket, _ answer: @Sendable (Request) -> Reply) {
        defer { connection.close() }
        let reader = HTTPReader(connection, peer: "client")
        let deadline = Deadline(seconds: 60) { [self] in isStopped }
        while let head = try? reader.head(by: deadline), let body = try? reader.body(of: head, isRequest: true, limit: 1 << 24, by: deadline) {
            let request = seen.withLock { seen in
                seen.append(Request(number: seen.count, head: head, body: body.isEmpty ? nil : try? JSON.parse(body)))
                return seen[seen.count - 1]
            }
            let count = open.add(1, ordering: .relaxed).newValue
            mostOpen.withLock { $0 = max($0, count) }
            let reply = answer(request)
            open.subtract(1, ordering: .relaxed)
            switch reply {
            case let .json(status, json, fields):
                let text = json.text()
                let lines = fields.map { "\($0.name): \($0.value)\r\n" }.joined()
                guard (try? connection.write(Array("HTTP/1.1 \(status) Status\r\nContent-Length: \(text.utf8.count)\r\n\(lines)\r\n\(text)".utf8), by: deadline)) != nil else { return }
            case let .raw(text):
                try? connection.write(Array(text.utf8), by: deadline)
                return
            case .silence:
                while !isStopped { usleep(5000) }
                return
            }
        }
    }

    // MARK: Answers

    static let models: JSON = ["object": "list", "data": [["id": "tiny", "object": "model", "owned_by": "test"]]]

    /// A whole completion that echoes the prompt.
    static func completion(_ request: Request, model: String = "tiny", text: String? = nil, finish: JSON = "stop", extra: [(String, JSON)] = []) -> JSON {
        let text = text ?? "re: " + (request.body?["prompt"]?.string ?? request.body?["messages"]?[0]?["content"]?.string ?? "")
        let said: (String, JSON) = request.path.hasSuffix("/chat/completions") ? ("message", ["role": "assistant", "content": .string(text)]) : ("text", .string(text))
        return ["id": "c", "object": "completion", "model": .string(model), "choices": [.object(JSONObject([("index", 0), said, ("finish_reason", finish)] + extra))]]
    }
}

/// A client of a fake server that does not wait between attempts.
func openAI(_ server: FakeServer, path: String = "", attempts: Int = 4, answerSeconds: Double = 20, key: APIKey? = nil, slept: @escaping @Sendable (Double) -> Void = { _ in }) throws -> OpenAIServer {
    var (limits, retry) = (HTTPClient.Limits(), RetryPolicy())
    limits.answerSeconds = answerSeconds
    retry.attempts = attempts
    return OpenAIServer(try HTTPURL(server.address + path), key: key, limits: limits, retry: retry, sleep: slept)
}
