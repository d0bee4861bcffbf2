import Foundation
import Serialization

/// Files outside the project, if the environment names their folder.
enum SharedFiles {
    static let folder = ProcessInfo.processInfo.environment["ALIGN_SHARED"]
    static var isThere: Bool { folder.map { FileManager.default.fileExists(atPath: $0 + "/data/evaluation") } ?? false }

    /// The rows of a file of JSON lines, plain or gzipped.
    static func rows(_ name: String) throws -> [JSON] {
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: (folder ?? "") + "/data/evaluation/" + name)))
        if Inflate.isGzip(bytes) { bytes = try Inflate.gunzip(bytes, limit: 1 << 28) }
        return try bytes.split(separator: 0x0A).map { try JSON.parse(Array($0)) }
    }
}
