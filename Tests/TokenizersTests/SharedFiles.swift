import Foundation
import Serialization

/// Files of the shared folder, which a checkout may lack.
enum SharedFiles {
    static let root: String? = {
        let beside = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("shared").path
        let path = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? beside
        return FileManager.default.fileExists(atPath: path + "/fixtures") ? path : nil
    }()

    static func bytes(_ path: String) -> [UInt8]? {
        guard let root, let data = FileManager.default.contents(atPath: root + "/" + path) else {
            print("skipped: \(path) is not there (ALIGN_SHARED names the folder it is looked for in)")
            return nil
        }
        return [UInt8](data)
    }

    static func text(_ path: String) -> String? { bytes(path).map { String(decoding: $0, as: UTF8.self) } }
    static func json(_ path: String) throws -> JSON? { try bytes(path).map { try JSON.parse($0) } }

    static func names(in folder: String, suffix: String) -> [String] {
        guard let root, let all = try? FileManager.default.contentsOfDirectory(atPath: root + "/" + folder) else {
            print("skipped: \(folder) is not there (ALIGN_SHARED names the folder it is looked for in)")
            return []
        }
        return all.filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }.sorted()
    }
}

/// Byte for byte: `String`'s own equality takes canonically equivalent texts for the same.
func same(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }
