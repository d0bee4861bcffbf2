import Foundation
import Synchronization

/// Bytes that are written once and read back in parts: in memory while they are few, then in a file that has no name.
///
/// Without a name nobody finds the file, and nothing of it is left when the process ends, however it ends.
final class ScratchFile: Sendable {
    /// Where the file lies, or would.
    let folder: String
    /// Bytes in memory; beyond it they go to the file.
    let memoryLimit: Int
    private let state = Mutex(State())

    private struct State: Sendable {
        /// What is not in the file yet.
        var memory: [UInt8] = []
        /// Bytes in the file.
        var written = 0
        /// -1: there is no file.
        var descriptor: Int32 = -1
    }

    /// - Parameter path: The file lies in the nearest folder above this one that is there and can be written to, else where temporary files lie.
    init(near path: String, memoryLimit: Int) {
        var folder = URL(fileURLWithPath: path).standardizedFileURL.path
        while !FileManager.default.isWritableFile(atPath: folder), folder != "/" { folder = (folder as NSString).deletingLastPathComponent }
        self.folder = FileManager.default.isWritableFile(atPath: folder) ? folder : NSTemporaryDirectory()
        self.memoryLimit = memoryLimit
    }

    deinit { state.withLock { if $0.descriptor >= 0 { close($0.descriptor) } } }

    /// Bytes held in memory, and in the file.
    var sizes: (memory: Int, file: Int) { state.withLock { ($0.memory.count, $0.written) } }
    var descriptor: Int32 { state.withLock { $0.descriptor } }

    /// Writes `bytes` behind those that are there.
    /// - Returns: Where they begin.
    func append(_ bytes: [UInt8]) throws(RunError) -> Int {
        let result: Result<Int, RunError> = state.withLock { state in
            let offset = state.written + state.memory.count
            state.memory += bytes
            guard state.memory.count > memoryLimit else { return .success(offset) }
            do throws(RunError) {
                if state.descriptor < 0 { state.descriptor = try open() }
                try write(state.memory, to: state.descriptor, at: state.written)
                state.written += state.memory.count
                state.memory.removeAll(keepingCapacity: true)
            } catch { return .failure(error) }
            return .success(offset)
        }
        return try result.get()
    }

    /// - Throws: `RunError.lostRows` if the file has not what was written to it.
    func read(_ range: Range<Int>) throws(RunError) -> [UInt8] {
        let result: Result<[UInt8], RunError> = state.withLock { state in
            guard range.lowerBound < state.written else {
                let start = range.lowerBound - state.written
                return .success(Array(state.memory[start..<start + range.count]))
            }
            var (found, isFailure) = (0, false)
            let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, filled in
                while filled < range.count {
                    let count = pread(state.descriptor, buffer.baseAddress.map { $0 + filled }, range.count - filled, off_t(range.lowerBound + filled))
                    if count < 0 && errno == EINTR { continue }
                    isFailure = count < 0
                    if count <= 0 { break }
                    filled += count
                }
                found = filled
            }
            if isFailure { return .failure(DurableFiles.failure(name, "read token rows back")) }
            guard found == range.count else { return .failure(.lostRows(file: name, offset: range.lowerBound, needed: range.count, available: found)) }
            return .success(bytes)
        }
        return try result.get()
    }

    /// For messages.
    var name: String { "the scratch file in \(folder)" }

    private func open() throws(RunError) -> Int32 {
        var template = Array((folder + "/.align-rows-XXXXXX").utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0, fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 else { throw DurableFiles.failure(name, "create it") }
        unlink(template)
        return descriptor
    }

    private func write(_ bytes: [UInt8], to descriptor: Int32, at offset: Int) throws(RunError) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset + done)) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw DurableFiles.failure(name, "write \(bytes.count) bytes of token rows") }
            done += count
        }
    }
}
