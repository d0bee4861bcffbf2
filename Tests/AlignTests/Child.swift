import Foundation
import Serialization
import Testing

@testable import align

/// The built program, run as its users run it.
final class Child {
    struct Result {
        var code: Int32
        var out: String
        var err: String

        var lines: [String] { out.split(separator: "\n").map(String.init) }
        /// Standard output as JSON lines.
        func json() throws -> [JSON] { try lines.map { try JSON.parse(Array($0.utf8)) } }
    }

    struct Missing: Error, CustomStringConvertible {
        var path: String
        var description: String { "\(path) was not built; run 'swift build' with the tests' flags" }
    }

    private let process = Process()
    private let folder: String
    var processID: Int32 { process.processIdentifier }

    /// It is built beside the test bundle.
    static func program() throws -> String {
        let path = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent().path + "/align"
        guard FileManager.default.isExecutableFile(atPath: path) else { throw Missing(path: path) }
        return path
    }

    /// Starts it; its streams are files, so that no pipe fills up.
    init(_ words: [String], input: String = "") throws {
        folder = FileManager.default.temporaryDirectory.path + "/align-child-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        process.executableURL = URL(fileURLWithPath: try Child.program())
        process.arguments = words
        func handle(_ name: String, _ text: String = "") throws -> FileHandle {
            let file = URL(fileURLWithPath: "\(folder)/\(name)")
            try Data(text.utf8).write(to: file)
            return try name == "in" ? FileHandle(forReadingFrom: file) : FileHandle(forWritingTo: file)
        }
        process.standardInput = try handle("in", input)
        process.standardOutput = try handle("out")
        process.standardError = try handle("err")
        try process.run()
    }

    deinit {
        if process.isRunning { process.terminate() }
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// What it has printed so far.
    var out: String { (try? String(contentsOfFile: folder + "/out", encoding: .utf8)) ?? "" }

    /// What it has said on standard error so far.
    var err: String { (try? String(contentsOfFile: folder + "/err", encoding: .utf8)) ?? "" }

    func wait() throws -> Result {
        process.waitUntilExit()
        return Result(code: process.terminationStatus, out: out, err: try String(contentsOfFile: folder + "/err", encoding: .utf8))
    }

    /// Runs it to its end.
    static func run(_ words: String..., input: String = "") throws -> Result { try Child(words, input: input).wait() }
}

extension [JSON] {
    /// Those that are numbers, for comparing lists in one expression.
    var numbers: [Double] { compactMap(\.double) }
    var integers: [Int] { compactMap(\.int) }
}
