import Glibc

/// TLS over a socket, to a server whose certificate has been verified: chain, dates and name. There is no way to leave that out.
///
/// Roots are the system's; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for every program that uses OpenSSL.
/// Used by one thread at a time, as its socket is.
final class TLSStream: ByteStream, @unchecked Sendable {
    private let library: TLSLibrary
    private let socket: Socket
    private var context: TLSLibrary.Pointer?
    private var connection: TLSLibrary.Pointer?

    /// From OpenSSL's headers.
    private enum Constant {
        static let verifyPeer: Int32 = 1
        static let wantRead: Int32 = 2, wantWrite: Int32 = 3, systemCall: Int32 = 5, zeroReturn: Int32 = 6
        static let setHostName: Int32 = 55, setMinimumVersion: Int32 = 123
        static let tls12 = 0x0303
        static let verified = 0
    }

    /// Shakes hands.
    /// - Parameter roots: A file of certificates to trust in place of the system's.
    /// - Throws: `HTTPError.insecure` for a server that is not who the address says, and where there is no OpenSSL.
    init(_ socket: Socket, host: String, peer: String, roots: String? = nil, by deadline: Deadline) throws(HTTPError) {
        do throws(TLSLibrary.Missing) { library = try TLSLibrary.shared.get() } catch { throw .insecure(peer: peer, reason: error.reason) }
        self.socket = socket
        func check(_ isDone: Bool, _ what: String) throws(HTTPError) {
            guard !isDone else { return }
            throw .insecure(peer: peer, reason: "\(what): \(library.message())")
        }
        context = library.newContext(library.clientMethod())
        try check(context != nil, "TLS cannot be set up")
        try check(library.contextControl(context, Constant.setMinimumVersion, Constant.tls12, nil) == 1, "TLS 1.2 cannot be asked for")
        library.setVerify(context, Constant.verifyPeer, nil)
        if let roots { try check(library.loadLocations(context, roots, nil) == 1, "\(roots) has no certificates") } else {
            try check(library.defaultPaths(context) == 1, "the system's root certificates cannot be read")
        }
        connection = library.newConnection(context)
        try check(connection != nil, "TLS cannot be set up")
        if Self.isAddress(host) {
            try check(library.setAddress(library.parameters(connection), host) == 1, "the address cannot be checked")
        } else {
            try check(library.setHost(connection, host) == 1, "the name cannot be checked")
            var name = host.utf8CString
            let sent = name.withUnsafeMutableBytes { library.control(connection, Constant.setHostName, 0, $0.baseAddress) }
            try check(sent == 1, "the name cannot be sent")
        }
        try check(library.setDescriptor(connection, socket.descriptor) == 1, "TLS cannot be set up")
        do throws(StreamFault) {
            guard try run(by: deadline, { library.connect(connection) }) == 1 else { throw .closed(reason: "the handshake was cut off") }
        } catch {
            switch error {
            case .timedOut: throw .timedOut(peer: peer, waitingFor: "TLS handshake", seconds: deadline.seconds)
            case .cancelled: throw .cancelled(peer: peer)
            case let .closed(reason):
                let code = library.verifyResult(connection)
                guard code != Constant.verified, let text = library.verifyText(code) else { throw .insecure(peer: peer, reason: reason) }
                throw .insecure(peer: peer, reason: "the server's certificate is refused: \(String(cString: text))")
            }
        }
        let code = library.verifyResult(connection)  // the handshake has failed by now if it is not; nothing is lost by asking
        try check(code == Constant.verified, "the server's certificate is refused (\(code))")
    }

    deinit {
        close()
        if let connection { library.freeConnection(connection) }
        if let context { library.freeContext(context) }
    }

    private static func isAddress(_ host: String) -> Bool {
        var four = in_addr(), six = in6_addr()
        return inet_pton(AF_INET, host, &four) == 1 || inet_pton(AF_INET6, host, &six) == 1
    }

    func close() {
        if let connection { _ = library.shutdown(connection) }
        socket.close()
    }

    /// Repeats what OpenSSL cannot finish before more bytes pass. Its result if positive, 0 at a proper end.
    private func run(by deadline: Deadline, _ operation: () -> Int32) throws(StreamFault) -> Int {
        while true {
            _ = library.takeError()
            let count = BrokenPipe.ignored(operation)
            if count > 0 { return Int(count) }
            switch library.error(connection, count) {
            case Constant.wantRead: try socket.wait(for: Int16(POLLIN), by: deadline)
            case Constant.wantWrite: try socket.wait(for: Int16(POLLOUT), by: deadline)
            case Constant.zeroReturn: return 0
            case Constant.systemCall: throw .closed(reason: "the connection ended without TLS's own end")
            default: throw .closed(reason: library.message())
            }
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, by deadline: Deadline) throws(StreamFault) -> Int {
        let room = Int32(clamping: buffer.count)
        return try run(by: deadline) { library.read(connection, buffer.baseAddress, room) }
    }

    func write(_ bytes: UnsafeRawBufferPointer, by deadline: Deadline) throws(StreamFault) {
        var done = 0
        while done < bytes.count {
            let start = UnsafeMutableRawPointer(mutating: bytes.baseAddress.map { $0 + done })
            let room = Int32(clamping: bytes.count - done)
            let count = try run(by: deadline) { library.write(connection, start, room) }
            guard count > 0 else { throw .closed(reason: "the other side has ended TLS") }
            done += count
        }
    }
}
