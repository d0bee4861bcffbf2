import Foundation
import Serialization

/// The text of a file of records, read in parts: from the disk where it lies there as text, from memory where it was packed or came
/// through a pipe.
final class RecordText: Sendable {
    let path: String
    /// SHA-256 of the file as it lies on the disk; empty if nobody asked for it.
    let hash: String
    private let storage: Storage

    private enum Storage {
        case memory([UInt8])
        case file(descriptor: Int32, status: Status)
    }

    /// What tells that a file was written to.
    private struct Status: Equatable {
        var size: Int, seconds: Int, nanoseconds: Int

        init?(of descriptor: Int32) {
            var status = stat()
            guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
            size = Int(status.st_size)
            (seconds, nanoseconds) = (Int(status.st_mtim.tv_sec), Int(status.st_mtim.tv_nsec))
        }
    }

    /// - Parameter hashes: Whether the hash is wanted, for which the file is read once more.
    /// - Throws: `RecordError` for a file that cannot be read, or is of a format that is no JSON.
    init(_ path: String, hashes: Bool = false) throws(RecordError) {
        self.path = path
        if let (descriptor, status) = try RecordText.file(path) {
            storage = .file(descriptor: descriptor, status: status)
            // Closed by deinit, which does not run for what was not made.
            do throws(RecordError) { hash = try hashes ? RecordText.hash(descriptor, status, path) : "" } catch {
                close(descriptor)
                throw error
            }
        } else {
            var hash = ""
            storage = .memory(try RecordBytes.load(path) { if hashes { hash = SHA256.hex(of: $0) } })
            self.hash = hash
        }
    }

    deinit { if case let .file(descriptor, _) = storage { close(descriptor) } }

    /// A file that can be read in parts, open; nil for one that must be read whole: packed, a pipe, or of no stated size.
    private static func file(_ path: String) throws(RecordError) -> (Int32, Status)? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unreadable(file: path, reason: RecordBytes.systemReason()) }
        do throws(RecordError) {
            guard let status = Status(of: descriptor), status.size > 0 else {
                close(descriptor)
                return nil
            }
            guard status.size <= RecordBytes.fileLimit else { throw .tooLarge(file: path, bytes: status.size, limit: RecordBytes.fileLimit) }
            let head = try part(of: descriptor, path, at: 0, count: 65_536)
            guard !Inflate.isGzip(head) else {
                close(descriptor)
                return nil
            }
            try RecordBytes.checkMagic(head, file: path)
            try RecordBytes.checkText(head, file: path)
            return (descriptor, status)
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Up to `count` bytes from `offset` on, as many as there are; none at the end.
    /// - Throws: `.unreadable` for a file that was written to after it was opened: its parts would not be of one file.
    func read(at offset: Int, count: Int) throws(RecordError) -> [UInt8] {
        switch storage {
        case let .memory(bytes): return Array(bytes[min(offset, bytes.count)..<min(bytes.count, offset + count)])
        case let .file(descriptor, status):
            let part = try RecordText.part(of: descriptor, path, at: offset, count: min(count, max(0, status.size - offset)))
            if part.isEmpty { try check(descriptor, status) }
            return part
        }
    }

    private func check(_ descriptor: Int32, _ status: Status) throws(RecordError) {
        guard Status(of: descriptor) == status else {
            throw .unreadable(file: path, reason: "it was written to while it was read. Wait for whoever writes it, and try again.")
        }
    }

    private static func part(of descriptor: Int32, _ path: String, at offset: Int, count: Int) throws(RecordError) -> [UInt8] {
        var failure = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let count = pread(descriptor, buffer.baseAddress.map { $0 + filled }, count - filled, off_t(offset + filled))
                if count < 0 && errno == EINTR { continue }
                failure = count < 0
                if count <= 0 { return }
                filled += count
            }
        }
        if failure { throw .unreadable(file: path, reason: RecordBytes.systemReason()) }
        return bytes
    }

    private static func hash(_ descriptor: Int32, _ status: Status, _ path: String) throws(RecordError) -> String {
        var hasher = SHA256Hasher()
        var offset = 0
        while offset < status.size {
            let part = try part(of: descriptor, path, at: offset, count: min(1 << 20, status.size - offset))
            if part.isEmpty { break }
            hasher.update(part)
            offset += part.count
        }
        return hasher.hex
    }
}
