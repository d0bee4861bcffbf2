import Foundation

/// Text from a file or from standard input.
enum InputText {
    /// More than any prompt: a mistyped path must not fill the memory.
    static let limit = 1 << 28

    /// - Parameter file: nil or `-`: standard input.
    /// - Returns: The text and the place to name in errors.
    /// - Throws: `CommandError.missingFile`, `.unreadable`, `.badData` for what is too long or not UTF-8.
    static func read(_ file: String?) throws(CommandError) -> (text: String, place: String) {
        let place = file.map { $0 == "-" ? "standard input" : $0 } ?? "standard input"
        var handle = FileHandle.standardInput
        if let file, file != "-" {
            guard fileExists(file) else { throw .missingFile(path: file, what: "text") }
            guard !isFolder(file) else { throw .unreadable(path: file, reason: "it is a folder") }
            guard let opened = FileHandle(forReadingAtPath: file) else { throw .unreadable(path: file, reason: String(cString: strerror(errno))) }
            handle = opened
        }
        var data = Data()
        do {
            while let piece = try handle.read(upToCount: 1 << 20), !piece.isEmpty {
                data += piece
                if data.count > limit { break }
            }
        } catch { throw .unreadable(path: place, reason: error.localizedDescription) }
        guard data.count <= limit else { throw .badData(path: place, reason: "it has more than \(byteCount(limit)); give it in parts") }
        guard let text = String(validating: data, as: UTF8.self) else { throw .badData(path: place, reason: "found bytes that are not UTF-8, expected text") }
        return (text, place)
    }
}
