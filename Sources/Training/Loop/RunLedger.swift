import Foundation
import PreferenceData
import Serialization

/// Where runs and their lineage outlive their directories: the preference store.
public protocol RunLedger: Sendable {
    /// Remembers a run that starts, or goes on.
    /// - Parameter comparisons: Ids of those it trains on, where they came from the store.
    func begin(_ run: RunRecord, comparisons: ComparisonIDs) throws
    func finish(run id: String, status: String, at time: String) throws
}

extension PreferenceStore: RunLedger {}

extension RunRecord {
    /// The run whose run.json holds `record`.
    /// - Parameter models: Paths of the models it starts from; those that are another run's result make that run a parent.
    init(_ record: JSONObject, directory: String, models: [String]) {
        let inputs = record["inputs"]
        let parents = models.compactMap { path -> String? in
            let folder = URL(fileURLWithPath: path).standardizedFileURL.deletingLastPathComponent().path
            guard let parent = try? RunDirectory.record(at: folder) else { return nil }
            return parent["id"]?.string
        }
        self.init(
            id: record["id"]?.string ?? "", stage: record["stage"]?.string ?? "", settings: record["settings"]?.text() ?? "{}",
            directory: URL(fileURLWithPath: directory).standardizedFileURL.path, dataHash: inputs?["data"]?.string ?? "",
            modelHash: inputs?["model"]?.string ?? "", started: record["started"]?.string ?? "", parents: parents)
    }

    static var now: String { ISO8601DateFormatter().string(from: Date()) }
}
