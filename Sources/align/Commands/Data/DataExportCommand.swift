import Foundation
import PreferenceData
import Serialization

/// Writes the store's rows as JSON lines.
struct DataExportCommand: Command {
    static let usage = Usage(
        "data export", "Write the store's rows as JSON lines in the shapes that other tools read.",
        [
            DataFlags.store,
            .optional("shape", ExportShape.allCases.map(\.rawValue).joined(separator: "|"), "which rows; pairs are today's preferences, as training takes them", default: "all"),
            .switched("votes", "one vote a line: the same as --shape votes"),
            DataFlags.split,
            .optional("out", "FILE", "a file that must not exist", default: "standard output"),
            .switched("json", "say on standard error, as JSON, how many rows were written"),
        ],
        example: "align data export --shape pairs --split train --out train.jsonl",
        notes: """
            {prompt, chosen, rejected, margin}, {prompt, completion}, {prompt, completion, label}, {prompt, completion, score},
            {messages}, {prompt, ground_truth} and {prompt, completions, outcome, annotator, …}, in the order of their ids, so
            that the same store gives the same bytes. What 'all' writes comes back by 'align data import' with the same ids.
            """)

    let store: String
    let shape: ExportShape
    let split: SplitChoice
    let out: String?
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        if arguments.isOn("votes"), arguments.optionalText("shape") != nil {
            throw .conflict(command: Self.usage.name, flags: ["votes", "shape"], reason: "both say what is written")
        }
        store = DataFlags.path(arguments)
        shape = try arguments.isOn("votes") ? .votes : arguments.choice("shape", default: .all)
        split = DataFlags.split(arguments)
        out = arguments.optionalText("out")
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        let store = try DataFlags.existing(store)
        let count: Int
        if let out {
            let file = try LineFile(out)
            do { count = try store.export(shape, split: split) { try file.write($0.text()) } } catch {
                file.discard()
                throw error
            }
            try file.finish()
        } else {
            var lines = ""
            count = try store.export(shape, split: split) { line in
                lines += line.text() + "\n"
                guard lines.utf8.count > 1 << 16 else { return }
                try Output.write(lines)
                lines = ""
            }
            try Output.write(lines)
        }
        if isJSON { Output.note((["rows": .integer(count)] as JSON).text()) } else if out != nil { Output.note("\(grouped(count)) rows written") }
    }
}

/// A file of lines that is there once it is whole.
private final class LineFile {
    private let path: String, part: String
    private let handle: FileHandle
    private var waiting: [UInt8] = []

    init(_ path: String) throws(CommandError) {
        (self.path, part) = (path, "\(path).part-\(getpid())")
        guard !fileExists(path) else { throw .cannotWrite(path: path, reason: "it exists; name another file with --out, or remove it") }
        guard FileManager.default.createFile(atPath: part, contents: nil), let handle = FileHandle(forWritingAtPath: part) else {
            throw .cannotWrite(path: path, reason: "its folder is not there or may not be written to")
        }
        self.handle = handle
    }

    func write(_ line: String) throws(CommandError) {
        waiting += line.utf8
        waiting.append(0x0A)
        if waiting.count > 1 << 20 { try flush() }
    }

    private func flush() throws(CommandError) {
        do { try handle.write(contentsOf: waiting) } catch { throw .cannotWrite(path: path, reason: "\(error)") }
        waiting.removeAll(keepingCapacity: true)
    }

    func finish() throws(CommandError) {
        try flush()
        do {
            try handle.synchronize()
            try handle.close()
            try FileManager.default.moveItem(atPath: part, toPath: path)
        } catch {
            discard()
            throw .cannotWrite(path: path, reason: "\(error)")
        }
    }

    func discard() { try? FileManager.default.removeItem(atPath: part) }
}
