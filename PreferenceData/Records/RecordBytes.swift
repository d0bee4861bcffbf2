import Foundation
import Serialization

/// A file's bytes, unpacked, known not to be of a format that is no JSON.
enum RecordBytes {
    static let fileLimit = 4 << 30
    static let unpackedLimit = 8 << 30

    /// - Parameter packed: Sees the bytes as they lie on the disk.
    static func load(_ path: String, fileLimit: Int = fileLimit, unpackedLimit: Int = unpackedLimit, packed: ([UInt8]) -> Void = { _ in }) throws(RecordError) -> [UInt8] {
        var bytes = try contents(of: path, limit: fileLimit)
        packed(bytes)
        try checkMagic(bytes, file: path)
        if Inflate.isGzip(bytes) {
            do throws(InflateError) {
                bytes = try Inflate.gunzip(bytes, limit: unpackedLimit)
            } catch {
                if case .tooLarge(let limit) = error { throw .tooLarge(file: path, bytes: limit, limit: limit) }
                throw .unreadable(file: path, reason: error.description)
            }
            try checkMagic(bytes, file: path)
            if Inflate.isGzip(bytes) {
                throw .unsupportedFormat(file: path, found: "gzip data inside gzip data", remedy: "Unpack it once with gunzip.")
            }
        }
        try checkText(bytes, file: path)
        return bytes
    }

    /// Reads until the end rather than to the size the system states, so that pipes work and growing files stay bounded.
    private static func contents(of path: String, limit: Int) throws(RecordError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unreadable(file: path, reason: systemReason()) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .unreadable(file: path, reason: systemReason()) }
        guard status.st_mode & S_IFMT != S_IFDIR else {
            throw .unreadable(file: path, reason: "it is a folder. Name the files in it.")
        }
        let size = Int(status.st_size)
        guard size <= limit else { throw .tooLarge(file: path, bytes: size, limit: limit) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size + 1)
        while true {
            let room = min(max(size - bytes.count, 0) + 1, 64 << 20)
            let start = bytes.count
            bytes.append(contentsOf: repeatElement(0, count: max(room, 65_536)))
            let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress.map { $0 + start }, $0.count - start) }
            if count < 0 {
                bytes.removeLast(bytes.count - start)
                if errno == EINTR { continue }
                throw .unreadable(file: path, reason: systemReason())
            }
            bytes.removeLast(bytes.count - start - count)
            if count == 0 { return bytes }
            guard bytes.count <= limit else { throw .tooLarge(file: path, bytes: bytes.count, limit: limit) }
        }
    }

    static func systemReason() -> String { String(cString: strerror(errno)) }

    /// Formats known by their first bytes.
    private static let magics: [(bytes: [UInt8], found: String, remedy: String)] = [
        (Array("PAR1".utf8), "Parquet", "Convert it: duckdb -c \"COPY 'file.parquet' TO 'file.jsonl'\", or to_json(\"file.jsonl\") of Hugging Face datasets."),
        (Array("ARROW1".utf8), "an Arrow file", "Convert it with to_json(\"file.jsonl\") of Hugging Face datasets."),
        ([0xFF, 0xFF, 0xFF, 0xFF], "an Arrow stream", "Convert it with to_json(\"file.jsonl\") of Hugging Face datasets."),
        (Array("PK\u{3}\u{4}".utf8), "a zip archive", "Unpack it with unzip and name the file inside."),
        ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "xz data", "Unpack it with xz -dk."),
        ([0x28, 0xB5, 0x2F, 0xFD], "zstd data", "Unpack it with zstd -dk."),
        (Array("BZh".utf8), "bzip2 data", "Unpack it with bzip2 -dk."),
        (Array("SQLite format 3".utf8), "an SQLite database", "Export its rows to JSON lines: sqlite3 -json."),
        (Array("GGUF".utf8), "a GGUF model", "Name the file with the rows; models go after --model."),
        ([0xFF, 0xFE], "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8."),
        ([0xFE, 0xFF], "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8."),
    ]

    static func checkMagic(_ bytes: [UInt8], file: String) throws(RecordError) {
        for magic in magics where bytes.starts(with: magic.bytes) {
            throw .unsupportedFormat(file: file, found: magic.found, remedy: magic.remedy)
        }
    }

    /// A text of which no early line begins like JSON is of another kind; one of which some do has bad rows.
    static func checkText(_ bytes: [UInt8], file: String) throws(RecordError) {
        var head = bytes.prefix(65_536)
        if head.starts(with: [0xEF, 0xBB, 0xBF]) { head = head.dropFirst(3) }
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
        let lines = head.split(separator: 0x0A).map { $0.drop(while: isSpace) }.filter { !$0.isEmpty }
        guard let first = lines.first else { return }
        if String(decoding: first, as: UTF8.self).allSatisfy({ $0.isWhitespace || $0 == "{" }), first.contains(UInt8(ascii: "{")) {
            throw .unsupportedFormat(
                file: file, found: "an object over several lines",
                remedy: "Write each object on one line (jq -c . FILE), or put all of them into one array.")
        }
        guard !lines.contains(where: { $0.first == UInt8(ascii: "{") || $0.first == UInt8(ascii: "[") }) else { return }
        let start = String(decoding: first.prefix(200), as: UTF8.self)
        if first.contains(0) {
            throw .unsupportedFormat(file: file, found: "binary data", remedy: "Check that the right file was named.")
        }
        let name = file.lowercased()
        if name.hasSuffix(".tsv") || start.contains("\t") {
            throw .unsupportedFormat(file: file, found: "tab-separated values", remedy: csvRemedy(", sep=\"\\t\""))
        }
        if start.hasPrefix("---") || start.hasPrefix("- ") || name.hasSuffix(".yaml") || name.hasSuffix(".yml") || isYAMLPair(start) {
            throw .unsupportedFormat(file: file, found: "YAML", remedy: "Convert it: yq -o=json -I=0 FILE.")
        }
        if start.hasPrefix("<") {
            throw .unsupportedFormat(file: file, found: "HTML or XML", remedy: "A web page was saved in place of the file: fetch the raw file.")
        }
        if start.hasPrefix("version https://git-lfs") {
            throw .unsupportedFormat(file: file, found: "a Git LFS pointer", remedy: "Fetch the file itself: git lfs pull.")
        }
        if name.hasSuffix(".csv") || start.contains(",") {
            throw .unsupportedFormat(file: file, found: "comma-separated values", remedy: csvRemedy(""))
        }
        throw .unsupportedFormat(
            file: file, found: "text that begins \"\(start.prefix(40))\"", remedy: "Write each row as an object: {\"prompt\": …, \"chosen\": …, \"rejected\": …}.")
    }

    private static func csvRemedy(_ argument: String) -> String {
        "Convert it with pandas: read_csv(FILE\(argument)).to_json(\"file.jsonl\", orient=\"records\", lines=True)."
    }

    /// `key: …` at the start of a line.
    private static func isYAMLPair(_ line: String) -> Bool {
        guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else { return false }
        let rest = line[line.index(after: colon)...]
        return line[..<colon].allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" } && (rest.isEmpty || rest.first == " " || rest.first == "\r")
    }
}
