import Serialization

/// One annotator's way through a list of items: pure state, with no terminal, no clock and no store in sight.
///
/// `apply` says which vote an action comes to; the caller puts it on the disk and tells `record`, and only then does anything advance:
/// what the annotator sees as done is done.
public struct LabelSession: Sendable {
    public struct Entry: Sendable, Equatable {
        public var item: LabelItem
        /// The known answer of a gold item.
        public var gold: Vote.Outcome?
        public init(item: LabelItem, gold: Vote.Outcome? = nil) {
            self.item = item
            self.gold = gold
        }
    }

    public struct Settings: Sendable, Equatable {
        public var annotator: String
        /// Of this sitting; votes carry it.
        public var session: String
        /// Which side a completion is shown on follows from it, the item and the annotator.
        public var seed: UInt64
        /// A decided vote says how much better.
        public var asksStrength = false
        public var grades: [LabelGrade] = []
        public init(annotator: String, session: String, seed: UInt64 = 0) {
            self.annotator = annotator
            self.session = session
            self.seed = seed
        }
    }

    /// What is said of the item on the screen and not yet cast.
    public struct Draft: Sendable, Equatable {
        public var strength: Int?
        public var note: String?
        /// By completion's id.
        public var grades: [String: [LabelGrade: Int]] = [:]
        public var edited: String?
        public init() {}
    }

    public let settings: Settings
    public private(set) var entries: [Entry]
    /// Of the item on the screen; `entries.count` when there is none left.
    public private(set) var position = 0
    public private(set) var draft = Draft()
    /// Own standing votes, by item's id.
    public private(set) var own: [String: Vote]
    /// Own votes that are not withdrawn, oldest first: what undo takes back.
    private var cast: [Vote]
    public var votes: [Vote] { cast }
    /// Items that others have judged often enough.
    private var overtaken: Set<String> = []

    /// - Parameter votes: All votes of the annotator, of this and earlier sittings, oldest first, withdrawals among them.
    public init(_ settings: Settings, entries: [Entry], votes: [Vote]) {
        self.settings = settings
        self.entries = entries
        let listed = Set(entries.map(\.item.id))
        let withdrawn = Set(votes.compactMap(\.withdraws))
        cast = votes.filter { $0.outcome != .withdrawal && listed.contains($0.item.id) && !withdrawn.contains($0.id) }
        own = Dictionary(cast.map { ($0.item.id, $0) }, uniquingKeysWith: { $1 })
        position = entries.firstIndex { own[$0.item.id] == nil } ?? entries.count
        show()
    }

    public var entry: Entry? { position < entries.count ? entries[position] : nil }
    /// Votes on items of the list, skips among them.
    public var done: Int { own.count }
    /// Items that want this annotator's vote, or have it.
    public var wanted: Int { entries.count - overtaken.count }

    /// The completions' ids as they are shown: an order that follows from item, annotator and seed, and tells nothing.
    public var shown: [String] { entry.map { shown($0.item) } ?? [] }
    private func shown(_ item: LabelItem) -> [String] {
        var random = SplitMix64(seed: SplitMix64.hash([item.id, settings.annotator], seed: settings.seed))
        return item.completions.shuffled(using: &random)
    }

    // MARK: Actions

    /// - Parameter time: `PreferenceStore.now()`.
    /// - Returns: The vote to be put on the disk; nil where the action only changes the screen.
    public mutating func apply(_ action: LabelAction, time: String) throws(LabelRefusal) -> Vote? {
        switch action {
        case .back:
            guard position > 0 else { throw .noItem(number: 0, count: entries.count) }
            move(to: position - 1)
            return nil
        case .forward:
            guard position < entries.count else { throw .nothingHere }
            move(to: position + 1)
            return nil
        case let .goTo(number):
            guard number >= 1, number <= entries.count else { throw .noItem(number: number, count: entries.count) }
            move(to: number - 1)
            return nil
        case .undo:
            guard let last = cast.last else { throw .nothingToUndo }
            return Vote(withdrawing: last, time: time, session: settings.session)
        default: break
        }
        guard let item = entry?.item else { throw .nothingHere }
        switch action {
        case let .choose(choice): return try vote(choice, on: item, time: time)
        case let .rank(tiers): return try ranking(tiers, of: item, time: time)
        case let .strength(value):
            if let value, !(1...4).contains(value) { throw .badStrength(value) }
            draft.strength = value
        case let .note(text): draft.note = text.isEmpty ? nil : text
        case let .grade(completion, criterion, value):
            guard shown.indices.contains(completion) else { throw .noCompletion(number: completion + 1, count: shown.count) }
            if let value, !LabelGrade.range.contains(value) { throw .badGrade(value) }
            draft.grades[shown[completion], default: [:]][criterion] = value
        case let .edited(completion, id):
            guard shown.indices.contains(completion) else { throw .noCompletion(number: completion + 1, count: shown.count) }
            draft.edited = id
            if item.isPair { return try vote(completion == 0 ? .left : .right, on: item, time: time) }
        case .back, .forward, .goTo, .undo: break
        }
        return nil
    }

    private func vote(_ choice: Vote.Choice, on item: LabelItem, time: String) throws(LabelRefusal) -> Vote {
        let isDecided = choice == .left || choice == .right
        if isDecided, !item.isPair { throw .needsRanking(count: item.completions.count) }
        if isDecided, settings.asksStrength, draft.strength == nil { throw .strengthWanted }
        var vote: Vote
        if item.isPair {
            vote = Vote(prompt: item.prompt, left: shown[0], right: shown[1], choice: choice, annotator: settings.annotator, time: time)
        } else {
            vote = Vote(item: item, annotator: settings.annotator, time: time, outcome: choice == .tie ? .tie : choice == .bothBad ? .bothBad : .skip)
        }
        if isDecided { vote.strength = draft.strength }
        return filled(vote, isSkip: choice == .skip)
    }

    private func ranking(_ tiers: [[Int]], of item: LabelItem, time: String) throws(LabelRefusal) -> Vote {
        if item.isPair { throw .isPair }
        let named = tiers.flatMap { $0 }
        for number in named where !shown.indices.contains(number) { throw .noCompletion(number: number + 1, count: shown.count) }
        let missing = shown.indices.filter { index in named.count { $0 == index } != 1 }
        guard missing.isEmpty else { throw .incompleteRanking(missing: missing) }
        var vote = Vote(item: item, annotator: settings.annotator, time: time, outcome: .ranking)
        vote.ranking = tiers.filter { !$0.isEmpty }.map { $0.map { shown[$0] } }
        return filled(vote, isSkip: false)
    }

    private func filled(_ vote: Vote, isSkip: Bool) -> Vote {
        var vote = vote
        (vote.shownFirst, vote.session, vote.note) = (shown[0], settings.session, draft.note)
        if !isSkip {
            vote.edited = draft.edited
            vote.grades = gradesText
        }
        return vote
    }

    /// `{"<completion>": {"truthfulness": 4}}`, keys sorted.
    private var gradesText: String? {
        let graded = draft.grades.filter { !$0.value.isEmpty }
        guard !graded.isEmpty else { return nil }
        let members = graded.keys.sorted().map { id in
            (id, JSON.object(JSONObject(LabelGrade.allCases.compactMap { grade in graded[id]?[grade].map { (grade.rawValue, .integer($0)) } })))
        }
        return JSON.object(JSONObject(members)).text()
    }

    // MARK: What has happened

    /// A vote that `apply` came to is on the disk: goes on to the next open item, or, after an undo, back to the item it was on.
    public mutating func record(_ vote: Vote) {
        if let target = vote.withdraws {
            guard let index = cast.lastIndex(where: { $0.id == target }) else { return }
            let withdrawn = cast.remove(at: index)
            // An earlier vote on the same item, if there is one, stands again.
            own[withdrawn.item.id] = cast.last { $0.item.id == withdrawn.item.id }
            if let place = entries.firstIndex(where: { $0.item == withdrawn.item }) { move(to: place) }
            draft = Self.draft(of: withdrawn)
        } else {
            cast.append(vote)
            own[vote.item.id] = vote
            advance()
        }
    }

    /// The item on the screen has enough votes of others: it is left out.
    public mutating func overtake() {
        guard let item = entry?.item, own[item.id] == nil else { return }
        overtaken.insert(item.id)
        advance()
    }

    /// The next item after this one that wants a vote; from the start when there is none after it.
    private mutating func advance() {
        let isOpen = { [self] (entry: Entry) in own[entry.item.id] == nil && !overtaken.contains(entry.item.id) }
        let next = entries.indices.first { $0 > position && isOpen(entries[$0]) } ?? entries.indices.first { isOpen(entries[$0]) }
        move(to: next ?? entries.count)
    }

    private mutating func move(to place: Int) {
        position = place
        show()
    }

    private mutating func show() { draft = entry.flatMap { own[$0.item.id] }.map(Self.draft) ?? Draft() }

    private static func draft(of vote: Vote) -> Draft {
        var draft = Draft()
        (draft.strength, draft.note, draft.edited) = (vote.strength, vote.note, vote.edited)
        for (id, grades) in vote.grades.flatMap({ try? JSON.parse($0).object })?.members ?? [] {
            for grade in LabelGrade.allCases { if let value = grades[grade.rawValue]?.int { draft.grades[id, default: [:]][grade] = value } }
        }
        return draft
    }

    /// Own votes on gold items, skips not counted, and how many say what is known.
    public var goldAccuracy: (right: Int, of: Int) {
        let judged = entries.compactMap { entry in entry.gold.flatMap { gold in own[entry.item.id].map { ($0.outcome, gold) } } }.filter { $0.0 != .skip }
        return (judged.count { $0.0 == $0.1 }, judged.count)
    }
}
