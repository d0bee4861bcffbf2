import Foundation
import Serialization

/// One training run on disk.
///
///     run.json            settings, versions, hashes of data and model, seeds, lineage, status, outcome
///     metrics.jsonl       one line per logged optimizer step and per evaluation
///     completions.jsonl   of online stages: what was sampled, by step
///     checkpoints/step-N/ Hugging Face layout with F32 weights; `training/`: optimizer moments, loop state
///     checkpoints/best/   weights of the best evaluation
///     nonfinite/          batches whose loss or gradient was not finite, as replayable rows
///     model/              the result, Hugging Face layout
///
/// Everything is written under a temporary name, synced and renamed; what a killed run left half-written is removed on resume.
/// `metrics.jsonl` is synced with each checkpoint and cut back to it on resume.
public final class RunDirectory {
    public let path: String
    /// The record in run.json.
    public private(set) var record: JSONObject
    private var metrics: DurableFile?
    private(set) var metricsBytes = 0

    public static let recordName = "run.json", metricsName = "metrics.jsonl", modelName = "model", completionsName = "completions.jsonl"
    /// In a checkpoint: beside the weights, but out of the sight of tools that read every safetensors file of a folder.
    static let stateName = "training/state.json", optimizerName = "training/optimizer.safetensors"
    static let referenceName = "training/reference"

    public var modelPath: String { path + "/" + RunDirectory.modelName }
    public var metricsPath: String { path + "/" + RunDirectory.metricsName }
    public var checkpointsPath: String { path + "/checkpoints" }
    public var bestPath: String { checkpointsPath + "/best" }

    /// Whether a run was started in the directory `path`.
    public static func exists(at path: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + recordName) }

    /// Whether a run may be written to `path`: one that is there is gone on with or left alone, and a folder with other things in it is
    /// not ours to fill.
    /// - Throws: `RunError.exists`.
    public static func check(_ path: String, resumes: Bool) throws(RunError) {
        let content = exists(at: path) ? [] : (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        guard exists(at: path) ? resumes : content.allSatisfy({ $0.hasSuffix(".partial") }) else { throw .exists(path: path) }
    }

    /// run.json of a run.
    public static func record(at path: String) throws(RunError) -> JSONObject {
        let file = path + "/" + recordName
        let bytes = try DurableFiles.read(file)
        guard let object = (try? JSON.parse(bytes))?.object else {
            throw .damaged(file: file, field: "run", found: "no JSON object", expected: "a run record")
        }
        return object
    }

    /// Starts a run, or goes on with the one in `path`.
    /// - Parameters:
    ///   - record: What run.json will hold; `"settings"` and `"inputs"` are compared member by member with the run's own on resume.
    ///   - resumes: Go on with an existing run; where there is none, one is started.
    /// - Throws: `RunError.exists`, `RunError.changedSettings`.
    public init(_ path: String, record: JSONObject, resumes: Bool) throws(RunError) {
        self.path = path
        try RunDirectory.check(path, resumes: resumes)
        if RunDirectory.exists(at: path) {
            let old = try RunDirectory.record(at: path)
            let changed = ["settings", "inputs"].flatMap { RunDirectory.changes(from: old[$0], to: record[$0]) }
            guard changed.isEmpty else { throw .changedSettings(path: path, fields: changed) }
            self.record = old
            try removeLeftovers()
        } else {
            self.record = record
            try DurableFiles.makeFolder(path)
            try writeRecord()
            try DurableFiles.makeFolder(checkpointsPath)
        }
    }

    /// Names of the members in which two objects differ.
    static func changes(from old: JSON?, to new: JSON?) -> [String] {
        let (old, new) = (old?.object ?? JSONObject(), new?.object ?? JSONObject())
        return (new.keys + old.keys.filter { new[$0] == nil }).filter { old[$0] != new[$0] }
    }

    /// Sets members of run.json and writes it.
    public func update(_ members: [(String, JSON)]) throws(RunError) {
        for (key, value) in members { record[key] = value }
        try writeRecord()
    }

    private func writeRecord() throws(RunError) {
        try DurableFiles.replace(path + "/" + RunDirectory.recordName, with: Array((JSON.object(record).text(pretty: true) + "\n").utf8))
    }

    // MARK: Metrics

    /// Opens metrics.jsonl to append after `bytes` bytes; what lies beyond is cut off.
    func openMetrics(cutAt bytes: Int) throws(RunError) {
        metrics = try DurableFile(appendingTo: metricsPath, cutAt: bytes)
        metricsBytes = bytes
    }

    /// Appends one line.
    func append(_ line: JSON) throws(RunError) {
        let bytes = Array((line.text() + "\n").utf8)
        try metrics?.write(bytes)
        metricsBytes += bytes.count
    }

    func syncMetrics() throws(RunError) { try metrics?.sync() }

    // MARK: Checkpoints

    /// Complete checkpoints, oldest first.
    public func checkpoints() -> [(step: Int, path: String)] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: checkpointsPath)) ?? []
        return names.compactMap { name in
            guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)) else { return nil }
            return (step, checkpointsPath + "/" + name)
        }.sorted { $0.step < $1.step }
    }

    /// Writes a checkpoint and removes the oldest ones beyond `limit`.
    /// - Parameter content: Creates the folder it is given and fills it.
    func saveCheckpoint(step: Int, limit: Int, content: (_ folder: String) throws -> Void) throws {
        try metrics?.sync()
        try replaceFolder(checkpointsPath + "/step-\(step)", content: content)
        for old in checkpoints().dropLast(limit) { try DurableFiles.remove(old.path) }
    }

    /// Writes a folder under a temporary name, syncs it, and puts it in the place of `target`.
    func replaceFolder(_ target: String, content: (_ folder: String) throws -> Void) throws {
        let partial = target + ".partial", old = target + ".old.partial"
        try DurableFiles.remove(partial)
        try content(partial)
        try DurableFiles.syncFolder(partial)
        if FileManager.default.fileExists(atPath: target) { try DurableFiles.rename(target, to: old) }
        try DurableFiles.rename(partial, to: target)
        try DurableFiles.remove(old)
    }

    /// Removes what a killed run left under a temporary name.
    private func removeLeftovers() throws(RunError) {
        for folder in [path, checkpointsPath] {
            for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] where name.hasSuffix(".partial") {
                try DurableFiles.remove(folder + "/" + name)
            }
        }
        try DurableFiles.makeFolder(checkpointsPath)
    }

    /// Keeps the rows of a step that was not applied, as records of token ids.
    /// - Returns: Where they are.
    func dump(_ rows: [JSON], step: Int) throws(RunError) -> String {
        try DurableFiles.makeFolder(path + "/nonfinite")
        let file = path + "/nonfinite/step-\(step).jsonl"
        try DurableFiles.replace(file, with: Array(rows.map { $0.text() + "\n" }.joined().utf8))
        return file
    }
}
