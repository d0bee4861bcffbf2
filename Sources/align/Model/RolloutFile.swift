import Foundation
import Models
import Serialization

/// A file of completions, one JSON object a line, appended as they finish; what is in it already is not sampled again.
final class RolloutFile {
    let path: String
    private let handle: FileHandle
    /// Samples in the file, by prompt.
    private(set) var done: [Int: Set<Int>] = [:]
    var doneCount: Int { done.values.reduce(0) { $0 + $1.count } }

    /// Opens or makes a file for a request, and reads which completions of it are there. Half a last line, of a run that was killed, is cut off.
    /// - Throws: `CommandError.badLine` for a row of another request, `.unreadable`, `.cannotWrite`.
    init(_ path: String, prompts: [JSON], model: RolloutModel, sampling: Sampling) throws {
        self.path = path
        if !fileExists(path), !FileManager.default.createFile(atPath: path, contents: nil) {
            throw CommandError.cannotWrite(path: path, reason: "it cannot be made; is its folder there?")
        }
        guard let handle = FileHandle(forUpdatingAtPath: path) else { throw CommandError.cannotWrite(path: path, reason: "it cannot be opened") }
        self.handle = handle
        let settings = Self.settings(model, sampling)
        do {
            let data = try handle.readToEnd() ?? Data()
            let whole = (data.lastIndex(of: UInt8(ascii: "\n")) ?? data.startIndex - 1) + 1
            for (index, line) in data[data.startIndex..<whole].split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().enumerated() {
                try take(line, number: index + 1, prompts: prompts, settings: settings)
            }
            try handle.truncate(atOffset: UInt64(whole - data.startIndex))
            try handle.seekToEnd()
        } catch let error as CommandError {
            throw error
        } catch {
            throw CommandError.unreadable(path: path, reason: error.localizedDescription)
        }
    }

    private func take(_ line: Data, number: Int, prompts: [JSON], settings: JSON) throws(CommandError) {
        func bad(_ found: String, _ expected: String) -> CommandError { .badLine(path: path, line: number, found: found, expected: expected) }
        let other = "a completion of these prompts under these settings; name another --out"
        let row: JSON
        do throws(JSONError) { row = try JSON.parse(line) } catch { throw bad("\(error)", "a row that this command wrote") }
        guard let prompt = row["prompt_index"]?.int, let sample = row["sample"]?.int, sample >= 0 else { throw bad("a row without prompt_index and sample", other) }
        guard prompts.indices.contains(prompt), row["prompt"] == prompts[prompt] else { throw bad("another prompt \(prompt)", other) }
        guard row["sampling"] == settings else { throw bad("other settings (\((row["sampling"] ?? .null).text()))", "\(settings.text()), or another --out") }
        done[prompt, default: []].insert(sample)
    }

    /// Who sampled and how, as every row says it.
    static func settings(_ model: RolloutModel, _ sampling: Sampling) -> JSON {
        let who: [(String, JSON)] = [("model", .string(model.name)), ("arithmetic", model.arithmetic.map { .string($0) } ?? .null)]
        return .object(JSONObject(who + rules(sampling)))
    }

    /// Everything of `sampling` that a completion's draws follow from.
    static func rules(_ sampling: Sampling) -> [(String, JSON)] {
        [
            ("temperature", .number(sampling.temperature)), ("top_k", .integer(sampling.topK)), ("top_p", .number(sampling.topP)),
            ("min_p", .number(sampling.minP)), ("typical_p", .number(sampling.typicalP)), ("epsilon_cutoff", .number(sampling.epsilonCutoff)),
            ("eta_cutoff", .number(sampling.etaCutoff)), ("repetition_penalty", .number(sampling.repetitionPenalty)),
            ("presence_penalty", .number(sampling.presencePenalty)), ("frequency_penalty", .number(sampling.frequencyPenalty)),
            ("no_repeat_ngram", .integer(sampling.noRepeatNgram)), ("max_new_tokens", .integer(sampling.maxNewTokens)),
            ("min_new_tokens", .integer(sampling.minNewTokens)), ("stop", .array(sampling.stopStrings.map { .string($0) })),
            ("stop_token_ids", .array(sampling.stopIDs.map { .integer(Int($0)) })), ("seed", .string("\(sampling.seed)")),
        ]
    }

    /// Writes a row at once: what is finished survives whatever happens next.
    func append(_ row: JSON) throws {
        do { try handle.write(contentsOf: Data((row.text() + "\n").utf8)) } catch {
            throw CommandError.cannotWrite(path: path, reason: error.localizedDescription)
        }
    }

    func close() throws {
        do {
            try handle.synchronize()
            try handle.close()
        } catch { throw CommandError.cannotWrite(path: path, reason: error.localizedDescription) }
    }
}
