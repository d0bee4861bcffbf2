import Foundation
import PreferenceData
import Serialization
import Training

/// Flags that the commands about data share.
enum DataFlags {
    static let store = Flag.optional("store", "FILE", "the preference store", default: "runs/align.sqlite")
    static let json = Flag.switched("json", "print one JSON object")
    static let split = Flag.optional("split", "NAME", "rows of this split alone")
    static let reading: [Flag] = [
        .optional("format", ImportFormat.allCases.map(\.rawValue).joined(separator: "|"), "what kind of rows the files have", default: "auto: found row by row"),
        .optional("columns", "prompt=A,chosen=B", "names of the columns in the files"),
    ]
    static let shapes = """
        Files are JSON lines or one JSON array, gzipped or not. Known are pairs (with a prompt, or with one shared beginning;
        texts, messages, Human/Assistant transcripts, token ids), judgments of two answers with ties, rankings and trees of
        ranked replies, completions with a true/false label or a score, examples (Alpaca, ShareGPT, OpenAI messages,
        prompt and answer), prompts with or without an expected answer, and exported votes.
        """

    static func path(_ arguments: Arguments) -> String { arguments.optionalText("store") ?? "runs/align.sqlite" }

    /// The store, which must be there: a command that only looks makes no file.
    static func existing(_ path: String) throws -> PreferenceStore {
        guard fileExists(path) else { throw CommandError.missingFile(path: path, what: "a preference store (align data import makes one)") }
        return try PreferenceStore(path: path)
    }

    static func reader(_ arguments: Arguments) throws(UsageError) -> RowReader {
        var reader = RowReader()
        reader.format = try arguments.choice("format", default: .auto)
        var settings = TrainingSettings(learningRate: 0)
        settings.columns = arguments.optionalText("columns")
        do throws(SettingError) { reader.columns = try settings.columnNames() } catch { throw UsageError(error, command: arguments.usage.name) }
        return reader
    }

    static func split(_ arguments: Arguments) -> SplitChoice { arguments.optionalText("split").map { .named($0) } ?? .all }

    static func problems(_ problems: [DataProblem]) -> JSON {
        .array(problems.map { ["place": .string($0.place), "reason": .string($0.reason), "remedy": .string($0.remedy)] })
    }

    static func counts(_ counts: [StoredRow.Kind: Int]) -> JSON {
        .object(JSONObject(StoredRow.Kind.allCases.compactMap { kind in counts[kind].map { (kind.rawValue, .integer($0)) } }))
    }

    /// `3 comparisons, 1 votes`
    static func text(_ counts: [StoredRow.Kind: Int]) -> String {
        let parts = StoredRow.Kind.allCases.compactMap { kind in counts[kind].map { "\(grouped($0)) \(kind.rawValue)" } }
        return parts.isEmpty ? "nothing" : parts.joined(separator: ", ")
    }

    static func document(_ json: JSON) -> String { json.text(pretty: true) }

    static var now: String { PreferenceStore.now() }
}
