import Glibc
import Serialization

extension Checkpoint {
    /// The folder of cached files: `ALIGN_CACHE`, else `~/.cache/align`.
    public static var cacheFolder: String? {
        if let folder = getenv("ALIGN_CACHE").map({ String(cString: $0) }), !folder.isEmpty { return folder }
        return getenv("HOME").map { Files.join(String(cString: $0), ".cache/align") }
    }

    /// The cached SmolLM2-135M-Instruct, where it is there.
    public static func defaultModel() -> String? {
        guard let folder = cacheFolder else { return nil }
        let path = Files.join(folder, "models/SmolLM2-135M-Instruct.Q4_1.gguf")
        return access(path, R_OK) == 0 ? path : nil
    }

    /// A cached model by its name without ending, or by the beginning of it up to a hyphen or dot (SmolLM2 for SmolLM2-135M-Instruct.Q4_1.gguf);
    /// capitals do not count. nil if none or several are called so.
    public static func cachedModel(named name: String) -> String? {
        guard !name.isEmpty, !name.contains("/"), let folder = cacheFolder.map({ Files.join($0, "models") }), let files = try? Files.names(in: folder) else { return nil }
        let wanted = name.lowercased()
        let found = files.filter { file in
            let file = file.lowercased()
            return file == wanted || file.hasPrefix(wanted + ".") || file.hasPrefix(wanted + "-")
        }
        return found.count == 1 ? Files.join(folder, found[0]) : nil
    }

    /// SHA-256 (hexadecimal) over config and weights: two checkpoints with the same hash compute the same.
    ///
    /// The digest of a weights file is remembered in `hashes.json` of the cache folder under the file's path, size, time of change and inode,
    /// so a file is read once; a damaged or unwritable cache costs time, nothing else.
    /// - Throws: `.system`, `.truncated`, `.changed` while reading the weights.
    public func contentHash() throws(CheckpointError) -> String {
        let cachePath = Self.cacheFolder.map { Files.join($0, "hashes.json") }
        var cache = cachePath.flatMap { try? Files.parse(try InputFile.contents($0, limit: 4 << 20), $0).object } ?? JSONObject()
        var lines = "config \(SHA256.hex(of: Array(config.raw.text().utf8)))\n", isNew = false
        var model = self
        while let adapter = model.adapter, let base = model.base {
            var config = adapter.config
            config.base = nil  // where it lies is not what it says
            lines += "adapter \(SHA256.hex(of: Array(config.json(scoresSequences: false).text().utf8)))\n"
            model = base
        }
        for file in files.sorted(by: { $0.path < $1.path }) {
            let key = Files.absolute(file.path), identity = file.identity.text
            let known = cache[key]?["sha256"]?.string
            if let known, known.utf8.count == 64, cache[key]?["identity"]?.string == identity {
                try file.checkUnchanged()
                lines += "weights \(known)\n"
                continue
            }
            let hash = try file.sha256()
            if cache.count >= 1000 { cache = JSONObject() }
            cache[key] = ["identity": .string(identity), "sha256": .string(hash)]
            lines += "weights \(hash)\n"
            isNew = true
        }
        if isNew, let cachePath {
            try? Files.makeFolder(Files.parent(of: cachePath))
            try? AtomicFolder.writeFile(cachePath, Array(JSON.object(cache).text(pretty: true).utf8))
        }
        return SHA256.hex(of: Array(lines.utf8))
    }
}

extension InputFile.Identity {
    var text: String { "\(size) \(seconds).\(nanoseconds) \(device):\(inode)" }
}

extension InputFile {
    /// SHA-256 of the whole file, in hexadecimal.
    func sha256() throws(CheckpointError) -> String {
        var hasher = SHA256Hasher()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        var offset = 0
        while offset < size {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<min(buffer.count, size - offset)])
            try read(into: part, at: offset, field: "the file")
            hasher.update(UnsafeRawBufferPointer(part))
            offset += part.count
        }
        try checkUnchanged()
        return hasher.hex
    }
}
