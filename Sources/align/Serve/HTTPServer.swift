import Foundation
import Models
import Synchronization

/// Accepts connections and hands their requests on, a thread for each connection. What clients may cost is bounded.
final class HTTPServer: Sendable {
    struct Limits: Sendable {
        var bodyBytes = 16 << 20
        var connections = 256
        /// Seconds that a connection may idle between requests, and that a request may take to arrive.
        var idleSeconds = 120.0
        var bodySeconds = 60.0
    }

    private let listener: ListeningSocket
    private let limits: Limits
    private let open = Atomic<Int>(0)
    private let stopping = Atomic<Bool>(false)
    private let handle: @Sendable (HTTPExchange) -> Void

    var port: Int { listener.port }

    /// - Parameter handle: Answers one exchange; called from many threads.
    init(_ listener: ListeningSocket, limits: Limits = Limits(), _ handle: @escaping @Sendable (HTTPExchange) -> Void) {
        (self.listener, self.limits, self.handle) = (listener, limits, handle)
    }

    private var isStopping: Bool { stopping.load(ordering: .relaxed) }

    /// Accepts until told to stop.
    /// - Parameter isStopped: Asked several times a second.
    func run(until isStopped: () -> Bool) {
        while !isStopped() {
            guard let connection = listener.accept() else { continue }
            let count = open.add(1, ordering: .relaxed).newValue
            Thread.detachNewThread { [self] in
                defer {
                    connection.close()
                    open.subtract(1, ordering: .relaxed)
                }
                serve(connection, isOneTooMany: count > limits.connections)
            }
        }
        stopping.store(true, ordering: .relaxed)
    }

    /// Waits until every connection has ended; idle ones do at once.
    /// - Returns: Whether they did within `seconds`.
    func drain(seconds: Double) -> Bool {
        let patience = Deadline(seconds: seconds)
        while open.load(ordering: .relaxed) > 0 {
            if patience.isOver { return false }
            usleep(5000)
        }
        return true
    }

    private func serve(_ connection: Socket, isOneTooMany: Bool) {
        let reader = HTTPReader(connection, peer: "the client")
        while true {
            do throws(HTTPError) {
                guard let head = try reader.head(by: Deadline(seconds: limits.idleSeconds) { [self] in isStopping }) else { return }
                guard try answer(head, reader, connection, isOneTooMany) else { return }
            } catch {
                refuse(error, connection)
                return
            }
        }
    }

    /// - Returns: Whether the connection may carry another request.
    private func answer(_ head: HTTPHead, _ reader: HTTPReader, _ connection: Socket, _ isOneTooMany: Bool) throws(HTTPError) -> Bool {
        guard let (method, target) = head.request else {
            throw .malformed(peer: "the client", found: "\"\(head.startLine.prefix(60))\"", expected: "METHOD PATH HTTP/1.1")
        }
        if head["expect"]?.lowercased() == "100-continue" {
            try? connection.write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), by: Deadline(seconds: limits.bodySeconds))
        }
        let body = try reader.body(of: head, isRequest: true, limit: limits.bodyBytes, by: Deadline(seconds: limits.bodySeconds))
        let exchange = HTTPExchange(
            connection, head: head, method: method, target: target, body: body, keepsAlive: head.keepsAlive && !isOneTooMany && !isStopping)
        if isOneTooMany { exchange.send(ServeError.unavailable("There are \(limits.connections) connections already.")) } else { handle(exchange) }
        return exchange.mayGoOn
    }

    /// Says what was wrong with a request that could not be read, where anybody is left to hear it.
    private func refuse(_ error: HTTPError, _ connection: Socket) {
        let status: Int
        switch error {
        case .malformed: status = 400
        case .tooLarge: status = 413
        default: return
        }
        let head = HTTPHead(startLine: "", fields: [])
        let exchange = HTTPExchange(connection, head: head, method: "", target: "", body: [], keepsAlive: false)
        exchange.send(ServeError(status: status, message: "\(error)"))
        // What the client still writes is read for a moment: closing on unread bytes would take the answer back.
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        let patience = Deadline(seconds: 5) { [self] in isStopping }
        while let count = try? buffer.withUnsafeMutableBytes({ try connection.read(into: $0, by: patience) }), count > 0, !patience.isOver { continue }
    }
}
