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
struct StoredPairs {
    var prepared = PreparedRows<PairRow>()
    /// Of all comparisons that were read, those that were dropped among them.
    var ids: [String] = []

    /// - Parameter run: Given, its comparisons and no others.
    init(_ source: any PairSource, split: String?, run: String?, settings: TrainingSettings, encoder: RowEncoder, context: StageContext) throws {
        var shapes: [RecordShape: Int] = [:]
        func take(_ rows: [(id: String, pair: PreferencePair)]) throws {
            for row in rows { shapes[row.pair.shape, default: 0] += 1 }
            ids += rows.map(\.id)
            try prepared.encode(rows.map(\.pair), skipsBadRows: settings.onBadRow == .skip, on: context.compute, origin: { $0.origin.place }) {
                try encoder.encode($0)
            }
        }
        if let run { try source.pairs(ofRun: run, take) }
        if ids.isEmpty { try source.pairs(in: split.map { .named($0) } ?? .trainable, take) }
        prepared.preflight.shapes = shapes.sorted { ($1.value, $0.key.rawValue) < ($0.value, $1.key.rawValue) }.map { ($0.key.rawValue, $0.value) }
    }
}
