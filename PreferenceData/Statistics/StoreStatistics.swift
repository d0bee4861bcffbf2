/// What a store holds, in numbers.
public struct StoreStatistics: Sendable {
    /// Of one kind of text, in characters; of token ids in tokens.
    public struct Lengths: Sendable, Equatable {
        public var count = 0, minimum = 0, median = 0, maximum = 0
        public var mean = 0.0

        init(_ lengths: [Int32]) {
            let sorted = lengths.sorted()
            guard let first = sorted.first, let last = sorted.last else { return }
            (count, minimum, median, maximum) = (sorted.count, Int(first), Int(sorted[sorted.count / 2]), Int(last))
            mean = Double(sorted.reduce(0) { $0 + Int($1) }) / Double(sorted.count)
        }
    }

    /// Rows of each table, in the order in which they are listed.
    public var counts: [(name: String, count: Int)] = []
    public var lengths: [(name: String, lengths: Lengths)] = []
    /// Prompts and today's preferences of each split; nil for those of none.
    public var splits: [(name: String?, prompts: Int)] = []
    /// Good and bad completions (KTO).
    public var goodLabels = 0, badLabels = 0
    /// Of today's preferences: the chosen one is longer, shorter, as long.
    public var longerChosen = 0, shorterChosen = 0, equallyLong = 0
    /// Items with votes: decided for one of two, or not.
    public var decidedItems = 0, undecidedItems = 0
    /// Two comparisons of the same completions with the sides changed.
    public var contradictions = 0

    /// How often the longer completion is preferred, of preferences whose sides differ in length; nil without any.
    public var longerWins: Double? {
        let all = longerChosen + shorterChosen
        return all == 0 ? nil : Double(longerChosen) / Double(all)
    }
}

extension PreferenceStore {
    private static let tables = [
        ("prompts", "prompt"), ("completions", "completion"), ("comparisons", "comparison"), ("examples", "example"), ("labels", "label"),
        ("tasks", "task"), ("scores", "score"), ("items", "item"), ("votes", "vote"), ("annotators", "annotator"), ("generations", "generation"),
        ("sources", "source"), ("runs", "run"), ("reference log-probs", "reference_log_prob"),
    ]

    /// Counts everything once; texts are read in batches, and only their lengths are kept.
    public func statistics() throws -> StoreStatistics {
        var statistics = StoreStatistics()
        try withDatabase { database throws(StoreError) in
            try database.snapshot { () throws(StoreError) in
                for (name, table) in Self.tables { statistics.counts.append((name, try database.integer("SELECT count(*) FROM \(table)"))) }
                statistics.goodLabels = try database.integer("SELECT count(*) FROM label WHERE label = 1")
                statistics.badLabels = try database.integer("SELECT count(*) FROM label WHERE label = 0")
                statistics.contradictions = try database.integer("""
                    SELECT count(*) FROM comparison a JOIN comparison b ON b.prompt = a.prompt AND b.chosen = a.rejected AND b.rejected = a.chosen
                        AND b.id >= substr(a.prompt, 1, 16) AND b.id < substr(a.prompt, 1, 16) || 'g' WHERE a.id < b.id AND a.origin <> 'votes' AND b.origin <> 'votes'
                    """)
                try database.query(
                    "SELECT s.split, count(*) FROM prompt p LEFT JOIN prompt_split s ON s.prompt = p.id GROUP BY s.split ORDER BY s.split IS NULL, s.split"
                ) { row throws(StoreError) in statistics.splits.append((row.optionalText(0), row.integer(1))) }
            }
        }
        var (prompts, chosen, rejected, examples) = ([Int32](), [Int32](), [Int32](), [Int32]())
        try scanPrompts { _, prompt, _ throws(StoreError) in if prompt.content.kind != .none { prompts.append(Int32(clamping: prompt.content.length)) } }
        try preferences(in: .all) { rows in
            for (_, row) in rows {
                let (a, b) = (row.chosen.length, row.rejected.length)
                chosen.append(Int32(clamping: a))
                rejected.append(Int32(clamping: b))
                if a > b { statistics.longerChosen += 1 } else if a < b { statistics.shorterChosen += 1 } else { statistics.equallyLong += 1 }
            }
        }
        try scanExamples { completion in examples.append(Int32(clamping: completion.length)) }
        let named = [("prompts", prompts), ("chosen", chosen), ("rejected", rejected), ("examples", examples)]
        statistics.lengths = named.filter { !$0.1.isEmpty }.map { (name: $0.0, lengths: StoreStatistics.Lengths($0.1)) }
        let verdicts = try verdicts()
        statistics.decidedItems = verdicts.count { $0.preferred != nil }
        statistics.undecidedItems = verdicts.count - statistics.decidedItems
        return statistics
    }

    private func scanExamples(_ each: (StoredContent) -> Void) throws(StoreError) {
        var last = ""
        while true {
            let rows = try withDatabase { database throws(StoreError) in
                var rows: [(String, StoredContent)] = []
                try database.query(
                    "SELECT e.id, c.kind, c.content FROM example e JOIN completion c ON c.id = e.completion WHERE e.id > ?1 ORDER BY e.id LIMIT 2000", [.text(last)]
                ) { row throws(StoreError) in rows.append((row.text(0), try row.content(1))) }
                return rows
            }
            guard let end = rows.last else { return }
            last = end.0
            for row in rows { each(row.1) }
        }
    }
}
