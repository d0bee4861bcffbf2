import Foundation
import Serialization

/// SHA-256 of a file, in hex, read in pieces.
func sha256(ofFile path: String) throws -> String {
    guard let handle = FileHandle(forReadingAtPath: path) else { throw CommandError.missingFile(path: path, what: "a file") }
    defer { try? handle.close() }
    var hasher = SHA256Hasher()
    do {
        while let piece = try handle.read(upToCount: 1 << 22), !piece.isEmpty { piece.withUnsafeBytes { hasher.update($0) } }
    } catch { throw CommandError.unreadable(path: path, reason: error.localizedDescription) }
    return hasher.hex
}
