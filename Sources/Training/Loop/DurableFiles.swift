import Foundation

/// Writing that survives `kill -9` and power loss: content reaches the disk before its name does.
enum DurableFiles {
    /// Writes `bytes` beside `path`, synced, and renames them onto it: readers see the old file or the new one.
    static func replace(_ path: String, with bytes: [UInt8]) throws(RunError) {
        let partial = path + ".partial"
        let file = try DurableFile(creating: partial)
        try file.write(bytes)
        try file.sync()
        file.close()
        try rename(partial, to: path)
    }

    /// Renames a file or folder and syncs the folder that holds it.
    static func rename(_ from: String, to: String) throws(RunError) {
        guard Foundation.rename(from, to) == 0 else { throw failure(to, "rename \(from) to it") }
        try syncFolder((to as NSString).deletingLastPathComponent)
    }

    /// Syncs a folder's entries.
    static func syncFolder(_ path: String) throws(RunError) {
        let descriptor = open(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY)
        guard descriptor >= 0 else { throw failure(path, "open the folder") }
        defer { _ = Foundation.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure(path, "sync the folder") }
    }

    static func makeFolder(_ path: String) throws(RunError) {
        do { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) } catch {
            throw .io(path: path, operation: "create the folder", reason: error.localizedDescription)
        }
    }

    /// Removes a file or folder, if it is there.
    static func remove(_ path: String) throws(RunError) {
        guard FileManager.default.fileExists(atPath: path) else { return }
        do { try FileManager.default.removeItem(atPath: path) } catch {
            throw .io(path: path, operation: "remove it", reason: error.localizedDescription)
        }
    }

    /// The whole of a small file.
    static func read(_ path: String) throws(RunError) -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: path) else { throw .io(path: path, operation: "read it", reason: "no such file") }
        return [UInt8](data)
    }

    static func failure(_ path: String, _ operation: String) -> RunError {
        .io(path: path, operation: operation, reason: String(cString: strerror(errno)))
    }
}

/// A file open for writing.
final class DurableFile {
    let path: String
    private var descriptor: Int32

    init(creating path: String) throws(RunError) {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard descriptor >= 0 else { throw DurableFiles.failure(path, "create it") }
    }

    /// Opens to append, creating the file if need be, after cutting it to `length` bytes. The file is locked until it is closed.
    /// - Throws: `RunError.busy` if another process has it open this way.
    init(appendingTo path: String, cutAt length: Int) throws(RunError) {
        self.path = path
        // A program that this process starts must not inherit the file, or the lock would live as long as it does.
        descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw DurableFiles.failure(path, "open it") }
        // Between its start and its first instruction it has the file all the same, and so has a process that is being killed.
        var patience = 100
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard patience > 0 else { throw .busy(path: path) }
            patience -= 1
            usleep(20_000)
        }
        let size = lseek(descriptor, 0, SEEK_END)
        guard size >= length else {
            throw .damaged(file: path, field: "length", found: "\(size) bytes", expected: "at least the \(length) of the checkpoint")
        }
        guard ftruncate(descriptor, off_t(length)) == 0, lseek(descriptor, 0, SEEK_END) == off_t(length) else {
            throw DurableFiles.failure(path, "cut it to \(length) bytes")
        }
    }

    deinit { close() }

    func write(_ bytes: UnsafeRawBufferPointer) throws(RunError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = Foundation.write(descriptor, rest.baseAddress, min(rest.count, 1 << 26))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw DurableFiles.failure(path, "write \(bytes.count) bytes") }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    func write(_ bytes: [UInt8]) throws(RunError) {
        // Array's closure is untyped in what it throws.
        let result: Result<Void, RunError> = bytes.withUnsafeBytes { buffer in
            do throws(RunError) { return .success(try write(buffer)) } catch { return .failure(error) }
        }
        try result.get()
    }

    func sync() throws(RunError) {
        guard fsync(descriptor) == 0 else { throw DurableFiles.failure(path, "sync it") }
    }

    func close() {
        if descriptor >= 0 { _ = Foundation.close(descriptor) }
        descriptor = -1
    }
}
