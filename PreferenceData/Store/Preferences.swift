/// What the store's preferences come to: comparisons of files and runs, and what the majority of votes says.
public struct ItemVerdict: Sendable, Equatable {
    public var item: LabelItem
    /// Of standing votes: for the first, for the second, ties (both bad among them); skips are left out.
    public var first = 0, second = 0, ties = 0
    /// Σ ±strength over decided votes, positive for the first; nil if one of them says none.
    public var strength: Double? = 0
    /// A better version of the preferred completion that an annotator of the majority wrote.
    public var edits: [String] = []

    public var votes: Int { first + second + ties }
    /// The preferred completion, of strictly more votes than any other outcome has together: a majority, not a plurality, breaks no tie.
    public var preferred: String? { 2 * first > votes ? item.first : 2 * second > votes ? item.second : nil }
    /// Share of votes for the more frequent side; nil without votes.
    public var agreement: Double? { votes == 0 ? nil : Double(max(first, second)) / Double(votes) }

    /// Counts standing votes by item; a ranking votes on every two of its completions. In the order of items' ids.
    public static func of(_ standing: [Vote]) -> [ItemVerdict] {
        var verdicts: [String: ItemVerdict] = [:]
        func count(_ item: LabelItem, _ outcome: Vote.Outcome, _ vote: Vote) {
            var verdict = verdicts[item.id] ?? ItemVerdict(item: item)
            switch outcome {
            case .first: verdict.first += 1
            case .second: verdict.second += 1
            case .tie, .bothBad: verdict.ties += 1
            case .skip, .ranking, .withdrawal: return
            }
            if outcome == .first || outcome == .second {
                let signed = vote.strength.map { Double(outcome == .first ? $0 : -$0) }
                verdict.strength = verdict.strength.flatMap { sum in signed.map { sum + $0 } }
            }
            if let edited = vote.edited { verdict.edits.append(edited) }
            verdicts[item.id] = verdict
        }
        for vote in standing {
            guard let ranking = vote.ranking else {
                if vote.item.isPair || vote.outcome == .tie || vote.outcome == .bothBad { for pair in vote.item.pairs { count(pair, vote.outcome, vote) } }
                continue
            }
            for (better, tier) in ranking.enumerated() {
                for (i, winner) in tier.enumerated() {
                    for loser in tier[(i + 1)...] { count(LabelItem(prompt: vote.item.prompt, completions: [winner, loser]), .tie, vote) }
                    for loser in ranking[(better + 1)...].flatMap({ $0 }) {
                        let pair = LabelItem(prompt: vote.item.prompt, completions: [winner, loser])
                        count(pair, pair.first == winner ? .first : .second, vote)
                    }
                }
            }
        }
        return verdicts.keys.sorted().compactMap { verdicts[$0] }
    }

    /// Chosen and rejected ids that a decided verdict comes to: the better one over the other, and an edited one over both.
    var pairs: [(chosen: String, rejected: String, margin: Double?)] {
        guard let preferred else { return [] }
        let other = preferred == item.first ? item.second : item.first
        let margin = strength.map { abs($0) / Double(max(1, first + second)) }
        let edited = Set(edits).sorted().filter { !item.completions.contains($0) }
        return [(preferred, other, margin)] + edited.flatMap { [($0, preferred, nil), ($0, other, nil)] }
    }
}

extension LabelItem {
    /// Every two of the completions.
    var pairs: [LabelItem] {
        completions.indices.flatMap { i in completions[(i + 1)...].map { LabelItem(prompt: prompt, completions: [completions[i], $0]) } }
    }
}

/// Which of the store's rows are meant.
public enum SplitChoice: Sendable, Equatable {
    /// Everything.
    case all
    /// What is in no split, or in `train`: what may be trained on if nobody said otherwise.
    case trainable
    case named(String)
}

extension PreferenceStore {
    /// What the standing votes come to, item by item, by id; gold items too.
    public func verdicts() throws(StoreError) -> [ItemVerdict] { ItemVerdict.of(try standingVotes()) }

    /// Writes what the standing votes come to into the table of comparisons, so that a run can name what it trained on.
    ///
    /// Gold items measure annotators and are left out. A comparison that votes once came to stays in the table after they changed; what counts
    /// today is `preferences`.
    /// - Returns: Ids of the comparisons that today's votes come to, and of all pairs of completions that were voted on: votes overrule files.
    func settleVotes(at time: String) throws(StoreError) -> (comparisons: Set<String>, judged: Set<String>) {
        let verdicts = try verdicts()
        guard !verdicts.isEmpty else { return ([], []) }
        let gold = try gold()
        let source = StoredSource(named: "votes")
        var (comparisons, judged) = (Set<String>(), Set<String>())
        var settled: [(id: String, prompt: String, chosen: String, rejected: String, margin: Double?)] = []
        for verdict in verdicts where gold[verdict.item.id] == nil {
            judged.insert(verdict.item.id)
            for pair in verdict.pairs {
                let id = StoredComparison.id(prompt: verdict.item.prompt, chosen: pair.chosen, rejected: pair.rejected)
                if comparisons.insert(id).inserted { settled.append((id, verdict.item.prompt, pair.chosen, pair.rejected, pair.margin)) }
            }
        }
        try withDatabase { database throws(StoreError) in try database.add(source, at: time) }
        _ = try inPieces(settled) { (database, pair) throws(StoreError) in
            try database.run(
                """
                INSERT INTO comparison (id, prompt, chosen, rejected, margin, origin, source, added)
                SELECT ?1, ?2, ?3, ?4, ?5, 'votes', ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM comparison WHERE id = ?1)
                """,
                .text(pair.id), .text(pair.prompt), .text(pair.chosen), .text(pair.rejected), .optional(pair.margin), .text(source.id), .text(time)) > 0
        }
        return (comparisons, judged)
    }

    /// Today's preferences, by id, handed over in batches: imported comparisons, but for those whose completions were voted on, and the
    /// majority of votes; ties prefer nothing.
    /// - Parameter each: Gets ids and rows; no lock is held while it works.
    public func preferences(
        in split: SplitChoice = .trainable, batch: Int = 2000, _ each: ([(id: String, comparison: StoredComparison)]) throws -> Void
    ) throws {
        let (voted, judged) = try settleVotes(at: Self.now())
        let (condition, name) = split.condition(of: "c.prompt")
        try scan(condition, name, batch: batch) { rows in
            let kept = rows.filter { row in
                if voted.contains(row.id) { return true }
                if row.comparison.origin == .votes { return false }
                return judged.isEmpty || !judged.contains(row.item.id)
            }
            if !kept.isEmpty { try each(kept.map { ($0.id, $0.comparison) }) }
        }
    }

    /// The comparisons that a run noted as its own, by id, in batches.
    public func preferences(
        ofRun run: String, batch: Int = 2000, _ each: ([(id: String, comparison: StoredComparison)]) throws -> Void
    ) throws {
        try scan("c.id IN (SELECT comparison FROM run_comparison WHERE run = ?3) AND EXISTS (SELECT 1 FROM run WHERE id = ?3 AND status <> 'starting')", run, batch: batch) { rows in
            try each(rows.map { ($0.id, $0.comparison) })
        }
    }

    typealias Scanned = (id: String, item: LabelItem, comparison: StoredComparison)

    /// The table in the order of ids, batch by batch, each a transaction of its own.
    /// - Parameter condition: In which `?3` is `name`.
    func scan(_ condition: String, _ name: String?, batch: Int = 2000, _ each: ([Scanned]) throws -> Void) throws {
        var last = ""
        while true {
            let rows = try withDatabase { database throws(StoreError) in
                var rows: [Scanned] = []
                try database.query(
                    StoredComparison.columns + " WHERE c.id > ?1 AND \(condition) ORDER BY c.id LIMIT ?2",
                    [.text(last), .integer(batch)] + (name.map { [.text($0)] } ?? [])
                ) { row throws(StoreError) in
                    rows.append((row.text(12), LabelItem(prompt: row.text(13), completions: [row.text(14), row.text(15)]), try StoredComparison(row)))
                }
                return rows
            }
            guard let end = rows.last else { return }
            last = end.id
            try each(rows)
        }
    }
}

extension SplitChoice {
    /// A condition on a column of prompts' ids, in which `?3` is the split's name.
    func condition(of column: String) -> (sql: String, name: String?) {
        switch self {
        case .all: ("1", nil)
        case .trainable: ("\(column) NOT IN (SELECT prompt FROM prompt_split WHERE split <> 'train')", nil)
        case let .named(name): ("\(column) IN (SELECT prompt FROM prompt_split WHERE split = ?3)", name)
        }
    }
}
