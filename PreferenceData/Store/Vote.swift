import Serialization

/// Completions of one prompt that annotators compare; their order says nothing, so ids are sorted.
public struct LabelItem: Sendable, Hashable {
    /// The prompt's id.
    public let prompt: String
    /// Ids, sorted: `first` and `second` of two.
    public let completions: [String]

    public init(prompt: String, completions: [String]) {
        self.prompt = prompt
        self.completions = completions.sorted()
    }

    /// 16 digits of the prompt's id, 48 of a hash of the completions' ids.
    public var id: String { ContentHash.of(["item"] + completions, under: prompt) }
    public var first: String { completions[0] }
    public var second: String { completions[1] }
    public var isPair: Bool { completions.count == 2 }
}

/// What one annotator said of one item, at one time. Votes are only appended: an undo is a vote that withdraws another.
public struct Vote: Sendable, Equatable {
    /// Which is better: of the item's completions in the order of their ids, not of the screen.
    public enum Outcome: String, Sendable, CaseIterable {
        case first, second, tie
        case bothBad = "both_bad"
        /// Seen, and not judged.
        case skip
        /// See `ranking`.
        case ranking
        /// See `withdraws`.
        case withdrawal

        /// The same with the sides changed.
        public var swapped: Outcome { self == .first ? .second : self == .second ? .first : self }
    }

    public var item: LabelItem
    public var annotator: String
    /// ISO 8601, UTC, with milliseconds: `PreferenceStore.now()`.
    public var time: String
    public var outcome: Outcome
    /// By how much: 1 (hardly) to 4 (by far).
    public var strength: Int?
    public var note: String?
    /// The completion that was shown on the left.
    public var shownFirst: String?
    public var session: String?
    /// JSON: grades of completions, one by one.
    public var grades: String?
    /// The better completion as the annotator would have it: a completion's id.
    public var edited: String?
    /// Ids in tiers, the best first; those of one tier are tied. Of `outcome` `.ranking` alone.
    public var ranking: [[String]]?
    /// The vote that this one undoes. Of `outcome` `.withdrawal` alone.
    public var withdraws: String?

    public init(item: LabelItem, annotator: String, time: String, outcome: Outcome) {
        self.item = item
        self.annotator = annotator
        self.time = time
        self.outcome = outcome
    }

    /// What a screen with a left and a right side has to say.
    public enum Choice: Sendable, Equatable { case left, right, tie, bothBad, skip }

    /// A vote on two completions as they were shown.
    public init(prompt: String, left: String, right: String, choice: Choice, annotator: String, time: String) {
        let item = LabelItem(prompt: prompt, completions: [left, right])
        let isInOrder = item.first == left
        let outcome: Outcome =
            switch choice {
            case .left: isInOrder ? .first : .second
            case .right: isInOrder ? .second : .first
            case .tie: .tie
            case .bothBad: .bothBad
            case .skip: .skip
            }
        self.init(item: item, annotator: annotator, time: time, outcome: outcome)
        shownFirst = left
    }

    /// The undoing of `vote`.
    public init(withdrawing vote: Vote, time: String, session: String? = nil) {
        self.init(item: vote.item, annotator: vote.annotator, time: time, outcome: .withdrawal)
        self.session = session
        withdraws = vote.id
    }

    /// Hash of everything the vote says: the same vote is appended once.
    public var id: String {
        let texts: [String?] = [
            item.id, annotator, time, outcome.rawValue, strength.map(String.init), note, shownFirst, session, grades, edited, rankingText, withdraws,
        ]
        return ContentHash.of(["vote"] + texts.flatMap { $0.map { ["1", $0] } ?? ["0"] }, under: item.prompt)
    }

    /// The preferred completion's id, of a decided vote on two.
    public var preferred: String? { outcome == .first ? item.first : outcome == .second ? item.second : nil }

    var rankingText: String? { ranking.map { JSON.array($0.map { .array($0.map { .string($0) }) }).text() } }

    /// Why the vote cannot be kept; nil if it can.
    var fault: String? {
        if item.completions.count < 2 { return "the item has \(item.completions.count) completions, expected two or more" }
        if Set(item.completions).count < item.completions.count { return "the item names one completion twice" }
        if let strength, !(1...4).contains(strength) { return "the strength is \(strength), expected 1 to 4" }
        if let shownFirst, !item.completions.contains(shownFirst) { return "the completion shown first is not one of the item's" }
        if (outcome == .ranking) != (ranking != nil) { return "a ranking, and nothing else, lists completions" }
        if (outcome == .withdrawal) != (withdraws != nil) { return "a withdrawal, and nothing else, names a vote" }
        if [.first, .second].contains(outcome), !item.isPair { return "the item has \(item.completions.count) completions, expected a ranking of them" }
        if let ranking, ranking.flatMap({ $0 }).sorted() != item.completions { return "the ranking is not of the item's completions, each once" }
        return nil
    }

    /// The votes that hold: withdrawals done, and of several by one annotator on one item the last.
    ///
    /// A withdrawal may itself be withdrawn; the vote then stands again.
    /// - Returns: In the order of `votes`.
    public static func standing(_ votes: [Vote]) -> [Vote] {
        let ids = votes.map(\.id)
        var undoings: [String: [Int]] = [:]
        for (index, vote) in votes.enumerated() { if let target = vote.withdraws { undoings[target, default: []].append(index) } }
        // Ids are hashes of what a vote names, so that no chain comes back to its start.
        func stands(_ index: Int) -> Bool { !(undoings[ids[index]] ?? []).contains(where: stands) }
        var last: [String: Int] = [:]
        for (index, vote) in votes.enumerated() where vote.outcome != .withdrawal && stands(index) {
            let key = vote.item.id + " " + vote.annotator
            if let other = last[key], (votes[other].time, ids[other]) > (vote.time, ids[index]) { continue }
            last[key] = index
        }
        return last.values.sorted().map { votes[$0] }
    }
}
