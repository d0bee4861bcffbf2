import PreferenceData
import Serialization

/// Takes other stores into this one.
struct DataMergeCommand: Command {
    static let usage = Usage(
        "data merge", "Take everything of other stores into this one.",
        [DataFlags.store, DataFlags.json],
        positionals: [Positional(placeholder: "OTHER", help: "another store; it is only read", count: .any)],
        example: "align data merge laptop.sqlite --store runs/align.sqlite",
        notes: """
            Rows are known by the hash of their content: merging twice changes nothing, and votes of both stay. Where both say
            something else of one thing (a prompt's split, a run's status), this store's word stands. Reference log-probs are
            not taken over: they are computed again where they are needed.
            """)

    let others: [String]
    let store: String
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        guard !arguments.positionals.isEmpty else { throw .missingArgument(command: Self.usage.name, placeholder: "OTHER", help: "the store to take in") }
        others = arguments.positionals
        store = DataFlags.path(arguments)
        isJSON = arguments.isOn("json")
    }

    func run() async throws {
        for other in others where !fileExists(other) { throw CommandError.missingFile(path: other, what: "a preference store") }
        let store = try PreferenceStore(path: store)
        var documents: [JSON] = []
        for other in others {
            let new = try store.merge(other).filter { $0.new > 0 }
            documents.append(["store": .string(other), "new": .object(JSONObject(new.map { ($0.table, .integer($0.new)) }))])
            if !isJSON { try Output.write("\(other):" + (new.isEmpty ? " nothing new\n" : "\n" + Help.table(new.map { ($0.table, grouped($0.new)) }))) }
        }
        if isJSON { try Output.line(DataFlags.document(["merged": .array(documents)])) }
    }
}
