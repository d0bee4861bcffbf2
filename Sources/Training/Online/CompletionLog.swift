import Foundation
import Serialization

/// completions.jsonl of a run: what was sampled, by step, to be read.
///
/// A line is appended before its step is part of a checkpoint; on resume those of later steps are cut off.
final class CompletionLog {
    private let file: DurableFile

    /// Opens the log of the run in `folder`, keeping the lines of steps up to `step`.
    init(folder: String, keepingTo step: Int) throws(RunError) {
        let path = folder + "/" + RunDirectory.completionsName
        let bytes = FileManager.default.fileExists(atPath: path) ? try DurableFiles.read(path) : []
        var kept = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
            guard let found = (try? JSON.parse(Array(line)))?["step"]?.int, found <= step else { break }
            kept += line.count + 1
        }
        file = try DurableFile(appendingTo: path, cutAt: kept)
    }

    func append(_ lines: [JSON]) throws(RunError) { try file.write(Array(lines.map { $0.text() + "\n" }.joined().utf8)) }
    func sync() throws(RunError) { try file.sync() }
}
