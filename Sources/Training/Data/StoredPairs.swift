import PreferenceData

/// Where pairs come from if no file is named: the preference store.
public protocol PairSource: Sendable {
    /// Hands over today's preferences in batches, by id; no batch is kept.
    func pairs(in split: SplitChoice, _ each: ([(id: String, pair: PreferencePair)]) throws -> Void) throws
    /// What a run trains on, in the same order: resumed, it goes on with the rows that it began with, whatever was labelled since.
    func pairs(ofRun run: String, _ each: ([(id: String, pair: PreferencePair)]) throws -> Void) throws
}

extension PreferenceStore: PairSource {
    public func pairs(in split: SplitChoice, _ each: ([(id: String, pair: PreferencePair)]) throws -> Void) throws {
        try preferences(in: split) { rows in try each(rows.map { ($0.id, try $0.comparison.pair()) }) }
    }

    public func pairs(ofRun run: String, _ each: ([(id: String, pair: PreferencePair)]) throws -> Void) throws {
        try preferences(ofRun: run) { rows in try each(rows.map { ($0.id, try $0.comparison.pair()) }) }
    }
}

/// Token rows of the store's pairs, and the ids of the comparisons behind them.
struct StoredPairs<Row: TokenRow> {
    var prepared: PreparedRows<Row>
    /// Of all comparisons that were read, those that were dropped among them.
    var ids = ComparisonIDs()

    /// The pairs that a stage without files trains on: of the run that it goes on with, or of the split.
    /// - Parameter encode: Takes a batch of pairs in.
    /// - Throws: `TrainingError.noPairs` if there are none.
    init(
        in context: StageContext, split: String?, into prepared: PreparedRows<Row>, encode: (inout PreparedRows<Row>, [PreferencePair]) throws -> Void
    ) throws {
        self.prepared = prepared
        guard let source = context.pairs else { throw TrainingError.noPairs(split: split) }
        var shapes: [RecordShape: Int] = [:]
        func take(_ rows: [(id: String, pair: PreferencePair)]) throws {
            for row in rows {
                shapes[row.pair.shape, default: 0] += 1
                ids.append(row.id)
            }
            try encode(&self.prepared, rows.map(\.pair))
        }
        let run = context.resumes ? try? RunDirectory.record(at: context.runPath)["id"]?.string : nil
        if let run { try source.pairs(ofRun: run, take) }
        if ids.isEmpty { try source.pairs(in: split.map { .named($0) } ?? .trainable, take) }
        guard !ids.isEmpty else { throw TrainingError.noPairs(split: split) }
        try self.prepared.finish()
        self.prepared.preflight.shapes = shapes.sorted { ($1.value, $0.key.rawValue) < ($0.value, $1.key.rawValue) }.map { ($0.key.rawValue, $0.value) }
    }
}
