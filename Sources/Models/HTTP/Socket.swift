import Glibc

/// Why bytes did not pass.
public enum StreamFault: Error, Equatable, Sendable {
    case timedOut
    case cancelled
    /// The other side has gone.
    case closed(reason: String)
}

/// A connection that bytes pass over, every wait with an end.
public protocol ByteStream: AnyObject {
    /// - Returns: How many bytes were read, at least one; 0 when the other side has finished sending.
    func read(into buffer: UnsafeMutableRawBufferPointer, by deadline: Deadline) throws(StreamFault) -> Int
    /// Writes all of them.
    func write(_ bytes: UnsafeRawBufferPointer, by deadline: Deadline) throws(StreamFault)
    func close()
}

extension ByteStream {
    public func write(_ bytes: [UInt8], by deadline: Deadline) throws(StreamFault) {
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(StreamFault) in try write(bytes, by: deadline) } }
        try result.get()
    }
}

/// A TCP connection.
///
/// Used by one thread at a time: whoever takes a connection out of a pool, or accepted it, owns it. The descriptor itself never changes.
public final class Socket: ByteStream, @unchecked Sendable {
    let descriptor: Int32
    private var isOpen = true

    /// Takes a connected descriptor over.
    public init(descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit { close() }

    public func close() {
        guard isOpen else { return }
        isOpen = false
        _ = Glibc.close(descriptor)
    }

    /// Connects to the first of the host's addresses that answers.
    public static func connect(host: String, port: Int, peer: String, by deadline: Deadline) throws(HTTPError) -> Socket {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &list)
        guard code == 0 else { throw .unknownHost(host: host, reason: String(cString: gai_strerror(code))) }
        defer { freeaddrinfo(list) }
        var reason = "no address"
        var next = list
        while let address = next?.pointee {
            next = address.ai_next
            let descriptor = socket(address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), address.ai_protocol)
            guard descriptor >= 0 else {
                reason = String(cString: strerror(errno))
                continue
            }
            let connection = Socket(descriptor: descriptor)
            var failure = Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno
            if failure == EINPROGRESS {
                do throws(StreamFault) { try connection.wait(for: Int16(POLLOUT), by: deadline) } catch {
                    if error == .cancelled { throw .cancelled(peer: peer) }
                    throw .timedOut(peer: peer, waitingFor: "connection", seconds: deadline.seconds)
                }
                var size = socklen_t(MemoryLayout<Int32>.size)
                failure = getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size) == 0 ? failure : errno
            }
            if failure == 0 { return connection }
            reason = String(cString: strerror(failure))
        }
        throw .cannotConnect(peer: peer, reason: reason)
    }

    /// Waits until the descriptor is ready for `events` (or has failed, which the next call then tells).
    func wait(for events: Int16, by deadline: Deadline) throws(StreamFault) {
        while true {
            if deadline.wasCancelled { throw .cancelled }
            var request = pollfd(fd: descriptor, events: events, revents: 0)
            let count = poll(&request, 1, deadline.pollMilliseconds)
            if count > 0 { return }
            if count < 0, errno != EINTR { throw .closed(reason: String(cString: strerror(errno))) }
            if deadline.isOver { throw .timedOut }
        }
    }

    /// Whether the other side has closed an idle connection (or sent what nobody asked for).
    var isStale: Bool {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&request, 1, 0) != 0
    }

    /// Whether the other side has ended the connection; what it sent before stays to be read.
    public var isEnded: Bool {
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, by deadline: Deadline) throws(StreamFault) -> Int {
        while true {
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count >= 0 { return count }
            switch errno {
            case EINTR: continue
            case EAGAIN: try wait(for: Int16(POLLIN), by: deadline)
            default: throw .closed(reason: String(cString: strerror(errno)))
            }
        }
    }

    public func write(_ bytes: UnsafeRawBufferPointer, by deadline: Deadline) throws(StreamFault) {
        var done = 0
        while done < bytes.count {
            let count = send(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
            if count >= 0 {
                done += count
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN: try wait(for: Int16(POLLOUT), by: deadline)
            default: throw .closed(reason: String(cString: strerror(errno)))
            }
        }
    }
}
