import Glibc
import Serialization

/// A folder that appears complete or not at all.
///
/// Files are written into a hidden sibling of the target, each synced to disk. `commit` writes `manifest.json` (`{file: {size, sha256}}`)
/// last, syncs, and renames the sibling to the target. Without a commit the sibling is removed; one left by a process that was killed is
/// removed when the next folder for the same target is begun.
public final class AtomicFolder {
    public let target: String
    /// Where the files are until the commit.
    public let temporary: String
    private let replaces: Bool
    private var entries: [String: (size: Int, sha256: String)] = [:]
    private var isOpen = true

    public static let manifestName = "manifest.json"

    /// Begins a folder; folders above the target are made.
    /// - Parameter replaces: Whether a folder that is there may be replaced. Only one with a manifest is: it was made here.
    /// - Throws: `.alreadyExists`, `.system`.
    public init(_ target: String, replaces: Bool = false) throws(CheckpointError) {
        var target = target
        while target.count > 1 && target.hasSuffix("/") { target.removeLast() }
        let parent = Files.parent(of: target), name = String(target.split(separator: "/").last ?? "")
        guard Files.isPlain(name) else {
            throw .notACheckpoint(path: target, found: "no name for a folder", expected: "a path that ends in a new folder's name")
        }
        self.target = target
        self.replaces = replaces
        try Self.checkTarget(target, replaces: replaces)
        try Files.makeFolder(parent)
        let prefix = ".\(name.utf8.count > 200 ? String(name.prefix(50)) : name)."
        for stale in try Files.names(in: parent) where stale.hasPrefix(prefix) && stale.hasSuffix(".partial") {
            let pid = stale.dropFirst(prefix.count).split(separator: ".").first.flatMap { Int32($0) }
            if let pid, pid > 0, kill(pid, 0) != 0, errno == ESRCH { Files.remove(Files.join(parent, stale)) }
        }
        var attempt = 0
        while true {
            let candidate = Files.join(parent, "\(prefix)\(getpid()).\(attempt).partial")
            if mkdir(candidate, 0o777) == 0 {
                temporary = candidate
                return
            }
            guard errno == EEXIST, attempt < 1000 else { throw .system(file: candidate, operation: "make the folder", code: errno) }
            attempt += 1
        }
    }

    deinit { discard() }

    /// Removes what was written; nothing after a commit.
    public func discard() {
        guard isOpen else { return }
        isOpen = false
        Files.remove(temporary)
    }

    private static func checkTarget(_ target: String, replaces: Bool) throws(CheckpointError) {
        guard Files.exists(target) else { return }
        let isOurs = Files.isFolder(target) && Files.exists(Files.join(target, manifestName))
        guard replaces && isOurs else { throw .alreadyExists(path: target) }
    }

    /// Begins a file to be written piece by piece; it counts once `OutputFile.finish` was called.
    public func create(_ name: String) throws(CheckpointError) -> OutputFile {
        precondition(Files.isPlain(name) && name != Self.manifestName && entries[name] == nil, "'\(name)' is not a new plain file name")
        precondition(isOpen, "'\(name)' comes after the folder was committed or discarded")
        return try OutputFile(Files.join(temporary, name)) { [self] size, hash in entries[name] = (size, hash) }
    }

    /// Writes a whole file.
    public func write(_ name: String, _ bytes: [UInt8]) throws(CheckpointError) {
        let file = try create(name)
        try file.append(bytes)
        try file.finish()
    }

    /// Writes a JSON file, indented.
    public func write(_ name: String, _ json: JSON) throws(CheckpointError) {
        try write(name, Array((json.text(pretty: true) + "\n").utf8))
    }

    /// Completes the folder and puts it in the target's place; on an error the target is as before and what was written is removed.
    public func commit() throws(CheckpointError) {
        precondition(isOpen, "\(target) was committed or discarded already")
        defer { discard() }
        let manifest = JSONObject(entries.keys.sorted().map { name in
            (name, ["size": .integer(entries[name]!.size), "sha256": .string(entries[name]!.sha256)])
        })
        let file = try OutputFile(Files.join(temporary, Self.manifestName)) { _, _ in }
        try file.append(Array((JSON.object(manifest).text(pretty: true) + "\n").utf8))
        try file.finish()
        try Files.syncFolder(temporary)
        try Self.checkTarget(target, replaces: replaces)
        if Files.exists(target) {
            // The old folder steps aside under a name that the clean-up of later runs knows.
            let old = temporary.dropLast(".partial".utf8.count) + ".old.partial"
            guard rename(target, String(old)) == 0 else { throw .system(file: target, operation: "replace", code: errno) }
            guard rename(temporary, target) == 0 else {
                let code = errno
                rename(String(old), target)
                throw .system(file: target, operation: "rename to", code: code)
            }
            isOpen = false
            try Files.syncFolder(Files.parent(of: target))
            Files.remove(String(old))
        } else {
            guard rename(temporary, target) == 0 else {
                if errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR { throw .alreadyExists(path: target) }
                throw .system(file: target, operation: "rename to", code: errno)
            }
            isOpen = false
            try Files.syncFolder(Files.parent(of: target))
        }
    }

    /// Writes one file so that readers see the old or the new one, whole.
    public static func writeFile(_ path: String, _ bytes: [UInt8]) throws(CheckpointError) {
        try writeFile(path) { (file) throws(CheckpointError) in try file.append(bytes) }
    }

    /// Writes one file piece by piece, likewise.
    static func writeFile(_ path: String, _ write: (OutputFile) throws(CheckpointError) -> Void) throws(CheckpointError) {
        let temporary = path + ".\(getpid()).\(pthread_self()).partial"
        var isDone = false
        defer { if !isDone { unlink(temporary) } }
        let file = try OutputFile(temporary) { _, _ in }
        try write(file)
        try file.finish()
        guard rename(temporary, path) == 0 else { throw .system(file: path, operation: "rename to", code: errno) }
        isDone = true
        try Files.syncFolder(Files.parent(of: path))
    }

    /// Checks that a saved folder holds what its manifest lists; files beyond the list do not matter.
    /// - Throws: `.incomplete` naming the first file (in the order of names) that is missing, of another size or of other content;
    ///   `.invalidJSON` or `.invalidValue` for a damaged manifest.
    public static func verifyManifest(_ folder: String) throws(CheckpointError) {
        let path = Files.join(folder, manifestName)
        guard Files.exists(path) else { throw .incomplete(file: path, found: "no manifest", expected: "one, written last") }
        let json = try Files.parse(try InputFile.contents(path, limit: 16 << 20), path)
        guard let object = json.object else {
            throw .invalidValue(file: path, line: 1, key: "manifest", found: json.kind, expected: "an object of files")
        }
        for name in object.keys.sorted() {
            guard let size = object[name]?["size"]?.int, let hash = object[name]?["sha256"]?.string, Files.isPlain(name) else {
                throw .invalidValue(file: path, line: 0, key: String(name.prefix(200)), found: String((object[name] ?? .null).text().prefix(80)), expected: "a file's size and sha256")
            }
            let filePath = Files.join(folder, name)
            guard Files.exists(filePath) else { throw .incomplete(file: filePath, found: "no such file", expected: "\(size) bytes") }
            let file = try InputFile(filePath)
            guard file.size == size else { throw .incomplete(file: filePath, found: "\(file.size) bytes", expected: "\(size) bytes") }
            let found = try file.sha256()
            guard found == hash else { throw .incomplete(file: filePath, found: "SHA-256 \(found)", expected: "SHA-256 \(hash)") }
        }
    }
}

/// A file being written, from front to back; its SHA-256 is taken on the way.
public final class OutputFile {
    public let path: String
    private var descriptor: Int32
    private var hasher = SHA256Hasher()
    private var size = 0
    private let onFinish: (Int, String) -> Void

    init(_ path: String, onFinish: @escaping (Int, String) -> Void) throws(CheckpointError) {
        self.path = path
        self.onFinish = onFinish
        descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw .system(file: path, operation: "create", code: errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Appends bytes.
    /// - Throws: `.system` with the operating system's reason, such as a full disk.
    public func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        precondition(descriptor >= 0, "\(path) was finished already")
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
            if count >= 0 {
                done += count
            } else if errno != EINTR {
                throw .system(file: path, operation: "write", code: errno)
            }
        }
        hasher.update(bytes)
        size += bytes.count
    }

    /// Appends bytes.
    public func append(_ bytes: [UInt8]) throws(CheckpointError) {
        var fault: CheckpointError?
        bytes.withUnsafeBytes { bytes in
            do throws(CheckpointError) { try append(bytes) } catch { fault = error }
        }
        if let fault { throw fault }
    }

    /// Puts everything on disk and closes the file.
    public func finish() throws(CheckpointError) {
        precondition(descriptor >= 0, "\(path) was finished already")
        let synced = fsync(descriptor) == 0, code = errno
        let closed = close(descriptor) == 0
        descriptor = -1
        guard synced else { throw .system(file: path, operation: "sync", code: code) }
        guard closed else { throw .system(file: path, operation: "close", code: errno) }
        onFinish(size, hasher.hex)
    }
}
