import PreferenceData
import Serialization

/// Removes comparisons that say what others say.
struct DataDedupCommand: Command {
    static let usage = Usage(
        "data dedup", "Remove comparisons that differ from another in case, white space or punctuation alone.",
        [
            DataFlags.store, .switched("contradictions", "remove comparisons that are there both ways round, too"),
            .switched("dry-run", "count, and remove nothing"), DataFlags.json,
        ],
        example: "align data dedup --dry-run",
        notes: """
            Exact duplicates cannot be in a store: rows are known by the hash of their content. Of near-duplicates the first by
            id stays. Comparisons that a run trained on are kept, for its lineage, and counted; votes are never touched.
            """)

    let store: String
    let contradictions: Bool
    let isDryRun: Bool
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        store = DataFlags.path(arguments)
        contradictions = arguments.isOn("contradictions")
        isDryRun = arguments.isOn("dry-run")
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        let report = try DataFlags.existing(store).removeDuplicates(contradictions: contradictions, isDryRun: isDryRun)
        let rows = [
            ("comparisons", report.comparisons), ("near-duplicates", report.nearDuplicates), ("contradictions", report.contradictions),
            ("kept for a run", report.kept), ("removed", report.removed),
        ]
        if isJSON {
            try Output.line(JSON.object(JSONObject(rows.map { (String($0.0.map { $0 == " " ? "_" : $0 }), JSON.integer($0.1)) })).text(pretty: true))
        } else {
            try Output.write(Help.table(rows.map { ($0.0, grouped($0.1)) }))
        }
    }
}
