import Foundation
import Serialization

@testable import PreferenceData

/// A file that is deleted when the test lets go of it.
final class TemporaryFile {
    let path: String

    init(_ bytes: [UInt8], name: String = "rows.jsonl") throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("records-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        path = folder.appendingPathComponent(name).path
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    convenience init(_ text: String, name: String = "rows.jsonl") throws { try self.init(Array(text.utf8), name: name) }

    deinit { try? FileManager.default.removeItem(atPath: (path as NSString).deletingLastPathComponent) }

    var files: [RecordFile] { [RecordFile(path: path)] }
}

/// Gzip data of stored blocks: a packer small enough to check by eye.
func gzipped(_ bytes: [UInt8]) -> [UInt8] {
    var crc: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0xEDB8_8320 : crc >> 1 }
    }
    func little(_ value: UInt32, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) } }
    precondition(bytes.count < 65_536, "\(bytes.count) bytes, at most 65535 fit")
    let size = UInt32(bytes.count)
    return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1] + little(size, 2) + little(~size, 2) + bytes + little(~crc, 4) + little(size, 4)
}

func pairs(_ text: String, columns: [String: String] = [:], onBadRow: OnBadRow = .stop) throws -> [PreferencePair] {
    let file = try TemporaryFile(text)
    return try Records.pairs(file.files, columns: columns, onBadRow: onBadRow).rows
}

func pair(_ text: String, columns: [String: String] = [:]) throws -> PreferencePair {
    let rows = try pairs(text, columns: columns)
    guard rows.count == 1 else { throw CocoaError(.fileReadCorruptFile) }
    return rows[0]
}

func example(_ text: String) throws -> SupervisedExample {
    let file = try TemporaryFile(text)
    return try Records.supervised(file.files).rows[0]
}

/// The reason for which a lone row is bad; nil if it is not.
func badPair(_ text: String) throws -> String? {
    do { _ = try pairs(text) } catch let RecordError.badRows(rows, _) { return rows.first?.reason }
    return nil
}

func badExample(_ text: String) throws -> String? {
    do { _ = try example(text) } catch let RecordError.badRows(rows, _) { return rows.first?.reason }
    return nil
}

/// Role and content of messages, for comparison without what the file had beside them.
func turns(_ content: Content?) -> [String] {
    if case let .messages(messages)? = content { messages.map { "\($0.role): \($0.content)" } } else { [] }
}

/// A file of the shared folder; nil, with a note, where it is missing.
func shared(_ name: String) -> [RecordFile]? {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let folder = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? root.deletingLastPathComponent().appendingPathComponent("shared").path
    let path = "\(folder)/data/\(name)"
    guard FileManager.default.fileExists(atPath: path) else {
        print("skipped: \(path) is not there")
        return nil
    }
    return [RecordFile(path: path)]
}
