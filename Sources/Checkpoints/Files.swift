import Glibc
import Serialization

/// Paths and folders.
enum Files {
    static func join(_ folder: String, _ name: String) -> String { folder.hasSuffix("/") ? folder + name : folder + "/" + name }

    /// The last part of a path.
    static func name(of path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Whether `name` names something directly in a folder.
    static func isPlain(_ name: String) -> Bool {
        !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0) && name.utf8.count <= 255
    }

    /// The names in a folder, sorted.
    static func names(in folder: String) throws(CheckpointError) -> [String] {
        guard let stream = opendir(folder) else { throw .system(file: folder, operation: "list", code: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    static func parse(_ bytes: [UInt8], _ file: String) throws(CheckpointError) -> JSON {
        do throws(JSONError) { return try JSON.parse(bytes) } catch { throw .invalidJSON(file: file, fault: error) }
    }

    /// `path` without links and `..`; `path` itself where it does not exist.
    static func absolute(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }

    static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Makes a folder and those above it.
    static func makeFolder(_ path: String) throws(CheckpointError) {
        if mkdir(path, 0o777) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, parent(of: path) != path else { throw .system(file: path, operation: "make the folder", code: errno) }
        try makeFolder(parent(of: path))
        guard mkdir(path, 0o777) == 0 || errno == EEXIST else { throw .system(file: path, operation: "make the folder", code: errno) }
    }

    /// Removes a file or a folder with all it holds, without following links; what cannot be removed stays.
    static func remove(_ path: String) {
        if isFolder(path) {
            for name in (try? names(in: path)) ?? [] { remove(join(path, name)) }
            rmdir(path)
        } else {
            unlink(path)
        }
    }

    /// Makes names in a folder durable.
    static func syncFolder(_ path: String) throws(CheckpointError) {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(file: path, operation: "open", code: errno) }
        defer { close(descriptor) }
        // Some file systems (network mounts) refuse to sync a folder; the rename has happened all the same.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw .system(file: path, operation: "sync", code: errno) }
    }
}
