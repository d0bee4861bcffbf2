import Serialization

/// A completion with its score.
public struct ScoredCompletion: Sendable, Equatable {
    public var id: String
    public var text: String
    public var score: Double
    /// Cut off by the token limit, so that its score is of half an answer.
    public var isTruncated: Bool
    public init(id: String, text: String, score: Double, isTruncated: Bool = false) {
        (self.id, self.text, self.score, self.isTruncated) = (id, text, score, isTruncated)
    }
}

/// Makes a preference pair of a prompt's scored completions: the best against the worst.
///
///     y_w = argmax r(y),  y_l = argmin r(y),  kept if r(y_w) − r(y_l) ≥ gap
///
/// Source: Qwen 2 report §4.3 (most and least preferred of several samples). Truncated completions are left out first; then of pairs the
/// nearly equal and the unequally long are dropped. Ties of scores go to the smaller id.
public struct PairBuilding: Sendable, Equatable {
    public enum Rejected: String, Sendable, CaseIterable {
        case worst
        /// Drawn from the lower half, by seed and prompt.
        case lowerHalf = "lower-half"
    }
    public var rejected = Rejected.worst
    /// Smallest difference of scores, in the reward's units.
    public var minGap = 0.0
    /// Largest difference of lengths, in characters; nil for any.
    public var maxLengthDifference: Int?
    /// Smallest edit distance, as a share of the longer text, in [0, 1]: below it two completions are near-duplicates.
    public var minDistance = 0.1
    public var seed: UInt64 = 0

    public init() {}

    public enum Drop: String, Sendable, CaseIterable {
        case tooFew = "fewer than two completions that are whole"
        case gap = "the scores lie too close together"
        case length = "the lengths differ too much"
        case nearDuplicate = "the two are near-duplicates"
    }
    public enum Outcome: Sendable, Equatable {
        case pair(chosen: ScoredCompletion, rejected: ScoredCompletion)
        case dropped(Drop)
    }

    public func pair(of completions: [ScoredCompletion], prompt: String) -> Outcome {
        let whole = completions.filter { !$0.isTruncated && $0.score.isFinite }.sorted { ($1.score, $0.id) < ($0.score, $1.id) }
        guard whole.count > 1 else { return .dropped(.tooFew) }
        let best = whole[0]
        let worst: ScoredCompletion
        switch rejected {
        case .worst: worst = whole[whole.count - 1]
        case .lowerHalf:
            let half = whole[max(1, whole.count / 2)...]
            let hash = ContentHash.of(["lower-half", "\(seed)", prompt])
            worst = half[half.startIndex + Int(UInt64(hash.prefix(15), radix: 16) ?? 0) % half.count]
        }
        guard best.score > worst.score, best.score - worst.score >= minGap else { return .dropped(.gap) }
        if let maxLengthDifference, abs(best.text.unicodeScalars.count - worst.text.unicodeScalars.count) > maxLengthDifference { return .dropped(.length) }
        guard Self.distance(best.text, worst.text) >= minDistance else { return .dropped(.nearDuplicate) }
        return .pair(chosen: best, rejected: worst)
    }

    /// Levenshtein distance over the first 2000 characters, as a share of the longer text's.
    static func distance(_ a: String, _ b: String) -> Double {
        let (a, b) = (Array(a.unicodeScalars.prefix(2000)), Array(b.unicodeScalars.prefix(2000)))
        let longer = max(a.count, b.count)
        guard longer > 0 else { return 0 }
        var previous = Array(0...b.count)
        for i in a.indices {
            var current = [i + 1]
            current.reserveCapacity(b.count + 1)
            for j in b.indices { current.append(min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))) }
            previous = current
        }
        return Double(previous[b.count]) / Double(longer)
    }
}

extension PreferenceStore {
    /// What building pairs came to.
    public struct BuildReport: Sendable {
        public var reward = ""
        /// Prompts with scores.
        public var prompts = 0
        public var new = 0, known = 0
        public var dropped: [PairBuilding.Drop: Int] = [:]
        public init() {}
    }

    /// Rewards of which the store has scores, with their number, by name.
    public func rewards() throws(StoreError) -> [(name: String, scores: Int)] {
        try withDatabase { database throws(StoreError) in
            var result: [(name: String, scores: Int)] = []
            try database.query("SELECT reward, count(*) FROM score GROUP BY reward ORDER BY reward") { row throws(StoreError) in result.append((row.text(0), row.integer(1))) }
            return result
        }
    }

    /// Makes a comparison of every prompt's scored completions that come to one; of several scores of a completion the latest counts.
    public func buildPairs(_ building: PairBuilding, reward: String, split: SplitChoice = .trainable, at time: String) throws(StoreError) -> BuildReport {
        var report = BuildReport()
        report.reward = reward
        let source = StoredSource(named: "scores of \(reward)")
        var last = ""
        while true {
            let prompts = try scored(reward, after: last, split)
            guard let end = prompts.last else { return report }
            last = end.prompt
            report.prompts += prompts.count
            var pairs: [(prompt: String, chosen: ScoredCompletion, rejected: ScoredCompletion)] = []
            for (prompt, completions) in prompts {
                switch building.pair(of: completions, prompt: prompt) {
                case let .dropped(drop): report.dropped[drop, default: 0] += 1
                case let .pair(chosen, rejected): pairs.append((prompt, chosen, rejected))
                }
            }
            let new = try inPieces(pairs) { (database, pair) throws(StoreError) in
                try database.add(source, at: time)
                return try database.run(
                    """
                    INSERT OR IGNORE INTO comparison (id, prompt, chosen, rejected, margin, origin, source, added)
                    VALUES (?1, ?2, ?3, ?4, ?5, 'scores', ?6, ?7)
                    """,
                    .text(StoredComparison.id(prompt: pair.prompt, chosen: pair.chosen.id, rejected: pair.rejected.id)), .text(pair.prompt),
                    .text(pair.chosen.id), .text(pair.rejected.id), .real(pair.chosen.score - pair.rejected.score), .text(source.id), .text(time)) > 0
            }
            report.new += new
            report.known += pairs.count - new
        }
    }

    /// Scored completions of up to 500 prompts, by prompt's id.
    private func scored(_ reward: String, after last: String, _ split: SplitChoice) throws(StoreError) -> [(prompt: String, completions: [ScoredCompletion])] {
        let (condition, name) = split.condition(of: "c.prompt")
        return try withDatabase { database throws(StoreError) in
            var result: [(prompt: String, completions: [ScoredCompletion])] = []
            // Of one completion the last row is the latest score.
            try database.query(
                """
                WITH wanted AS (SELECT DISTINCT c.prompt FROM score s JOIN completion c ON c.id = s.completion
                    WHERE s.reward = ?1 AND c.prompt > ?2 AND \(condition) ORDER BY c.prompt LIMIT 500)
                SELECT c.prompt, c.id, c.kind, c.content, s.value,
                    (SELECT count(*) FROM generation g WHERE g.completion = c.id AND g.finish = 'length')
                FROM wanted w JOIN completion c ON c.prompt = w.prompt AND c.id >= substr(w.prompt, 1, 16) AND c.id < substr(w.prompt, 1, 16) || 'g'
                JOIN score s ON s.completion = c.id AND s.reward = ?1 ORDER BY c.prompt, c.id, s.time, s.run
                """, [.text(reward), .text(last)] + (name.map { [.text($0)] } ?? [])
            ) { row throws(StoreError) in
                let completion = ScoredCompletion(id: row.text(1), text: try row.content(2).text, score: row.real(4), isTruncated: row.integer(5) > 0)
                if result.last?.prompt != row.text(0) { result.append((row.text(0), [])) }
                let index = result.count - 1
                if result[index].completions.last?.id == completion.id { result[index].completions.removeLast() }
                result[index].completions.append(completion)
            }
            return result
        }
    }
}
