import Glibc

/// A TCP port that connections arrive at.
public final class ListeningSocket: Sendable {
    private let descriptor: Int32
    /// The port; the one the system chose where 0 was asked for.
    public let port: Int

    /// - Throws: `HTTPError.unknownHost`, `.cannotConnect` with the reason, such as an address in use.
    public init(host: String, port: Int) throws(HTTPError) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &list)
        guard code == 0, let address = list?.pointee else { throw .unknownHost(host: host, reason: String(cString: gai_strerror(code))) }
        defer { freeaddrinfo(list) }
        let descriptor = socket(address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        func fail() -> HTTPError {
            let reason = String(cString: strerror(errno))
            if descriptor >= 0 { close(descriptor) }
            return .cannotConnect(peer: "\(host):\(port)", reason: reason)
        }
        guard descriptor >= 0 else { throw fail() }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        guard bind(descriptor, address.ai_addr, address.ai_addrlen) == 0, listen(descriptor, 256) == 0 else { throw fail() }
        var bound = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let number = withUnsafeMutableBytes(of: &bound) { bytes -> UInt16? in
            guard let start = bytes.baseAddress, getsockname(descriptor, start.assumingMemoryBound(to: sockaddr.self), &size) == 0 else { return nil }
            // The port lies at the same place in IPv4's and IPv6's address, in network order.
            return UInt16(bytes[2]) << 8 | UInt16(bytes[3])
        }
        guard let number else { throw fail() }
        (self.descriptor, self.port) = (descriptor, Int(number))
    }

    deinit { close(descriptor) }

    /// The next connection; nil if there is none within a fraction of a second.
    public func accept() -> Socket? {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&request, 1, 100) > 0 else { return nil }
        let connection = Glibc.accept(descriptor, nil, nil)
        if connection >= 0 {
            _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
            return Socket(descriptor: connection)
        }
        // Out of descriptors, say: not to be asked again at once.
        if errno != EAGAIN, errno != EINTR { usleep(20_000) }
        return nil
    }
}
