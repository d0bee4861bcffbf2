import Foundation
import Serialization

/// Small files of a study: whole or not there.
enum StudyFiles {
    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    static func makeFolder(_ path: String) throws {
        do { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) } catch {
            throw CommandError.cannotWrite(path: path, reason: error.localizedDescription)
        }
    }

    static func write(_ text: String, to path: String) throws {
        do { try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw CommandError.cannotWrite(path: path, reason: error.localizedDescription)
        }
    }

    static func writeLines(_ lines: some Sequence<JSON>, to path: String) throws { try write(lines.map { $0.text() + "\n" }.joined(), to: path) }

    /// JSON values of a file's lines.
    static func lines(_ path: String) throws -> [JSON] {
        guard let data = FileManager.default.contents(atPath: path) else { throw CommandError.missingFile(path: path, what: "lines of a study") }
        return try [UInt8](data).split(separator: UInt8(ascii: "\n")).enumerated().map { number, line in
            do throws(JSONError) { return try JSON.parse(Array(line)) } catch {
                throw CommandError.badLine(path: path, line: number + 1, found: "\(error.found)", expected: "a JSON value")
            }
        }
    }

    static func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }
    static func ids(_ json: JSON?) -> [Int32]? { json?.array?.compactMap { $0.int.flatMap(Int32.init(exactly:)) } }
}
