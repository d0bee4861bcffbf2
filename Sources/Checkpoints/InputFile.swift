import Glibc

/// A regular file open for reading at any offset, from any thread.
///
/// Reads go through `pread`, not a mapping: a file cut short by someone else then gives a short read, an error with a name,
/// where a mapping would end the process with SIGBUS. Warm, the extra copy costs about 10 ms for 100 MB.
final class InputFile: Sendable {
    let path: String
    let size: Int
    let identity: Identity
    private let descriptor: Int32

    /// What tells whether a path still holds the same bytes.
    struct Identity: Equatable, Sendable {
        var size: Int, seconds: Int, nanoseconds: Int, inode: UInt64, device: UInt64

        init(_ status: stat) {
            size = Int(status.st_size)
            seconds = status.st_mtim.tv_sec
            nanoseconds = status.st_mtim.tv_nsec
            inode = UInt64(status.st_ino)
            device = UInt64(status.st_dev)
        }
    }

    init(_ path: String) throws(CheckpointError) {
        // O_NONBLOCK: opening a pipe that nobody writes to must not hang.
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .system(file: path, operation: "open", code: errno) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw .system(file: path, operation: "examine", code: code)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .notACheckpoint(path: path, found: "something other than a regular file", expected: "a file")
        }
        self.path = path
        self.descriptor = descriptor
        identity = Identity(status)
        size = identity.size
    }

    deinit { close(descriptor) }

    /// Throws `.changed` if the file was written to since it was opened.
    func checkUnchanged() throws(CheckpointError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(file: path, operation: "examine", code: errno) }
        if Identity(status) != identity { throw .changed(file: path) }
    }

    /// Fills `destination` from `offset` on.
    func read(into destination: UnsafeMutableRawBufferPointer, at offset: Int, field: @autoclosure () -> String) throws(CheckpointError) {
        var done = 0
        while done < destination.count {
            let count = pread(descriptor, destination.baseAddress! + done, destination.count - done, offset + done)
            if count > 0 {
                done += count
            } else if count == 0 {
                throw .truncated(file: path, field: field(), offset: offset, needed: destination.count, available: done)
            } else if errno != EINTR {
                throw .system(file: path, operation: "read", code: errno)
            }
        }
    }

    func bytes(at offset: Int, count: Int, field: @autoclosure () -> String) throws(CheckpointError) -> [UInt8] {
        guard offset >= 0, count >= 0, offset <= size, count <= size - offset else {
            throw .truncated(file: path, field: field(), offset: offset, needed: count, available: max(0, size - max(0, offset)))
        }
        var fault: CheckpointError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            do throws(CheckpointError) {
                try read(into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[0..<count]), at: offset, field: field())
                initialized = count
            } catch { fault = error }
        }
        if let fault { throw fault }
        return bytes
    }

    /// All of a small file.
    static func contents(_ path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        let file = try InputFile(path)
        guard file.size <= limit else {
            throw .malformed(file: path, field: "the size", offset: 0, found: "\(file.size) bytes", expected: "at most \(limit)")
        }
        return try file.bytes(at: 0, count: file.size, field: "the file")
    }
}
