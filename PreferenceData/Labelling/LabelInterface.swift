/// Keys to actions: which question is open, what is typed so far, how far the text is scrolled. Pure, as `LabelSession` is.
public struct LabelInterface: Sendable {
    public enum Mode: Sendable, Equatable {
        case judging
        case help
        case guidelines
        /// Text of the note, as typed so far.
        case note(String)
        /// Digits of an item's number.
        case goTo(String)
        /// Which of the two is to be edited.
        case editSide
        /// How much better the chosen side is.
        case strength(Vote.Choice)
        /// The nth grade: criteria of the first completion, then of the next.
        case grading(Int)
    }

    public enum Effect: Sendable, Equatable {
        case none
        /// To be put on the disk, and then told to `didCast`.
        case cast(Vote)
        /// A completion, as shown, to be opened in an editor; then `edited`.
        case edit(completion: Int)
        case quit
    }

    public private(set) var session: LabelSession
    public private(set) var mode: Mode
    /// What the last key came to, for the status line.
    public private(set) var message = ""
    public var scroll = 0
    /// Lines of text that fit the screen.
    public var page = 10
    /// The ranking so far, of an item with more than two completions.
    public private(set) var tiers: [[Int]] = []
    private var tiesNext = false
    public let guidelines: String?

    public init(_ session: LabelSession, guidelines: String?) {
        self.session = session
        self.guidelines = guidelines
        mode = guidelines == nil ? .judging : .guidelines
        if mode == .judging { begin() }
    }

    /// A new item is on the screen.
    private mutating func begin() {
        (scroll, tiers, tiesNext) = (0, [], false)
        let open = (0..<gradeCount).first { grade($0) == nil }
        mode = open.map { .grading($0) } ?? .judging
    }

    // MARK: Keys

    public mutating func handle(_ key: TerminalKey, time: String) -> Effect {
        message = ""
        switch mode {
        case .help, .guidelines: return read(key)
        case let .note(text): return note(text, key, time)
        case let .goTo(digits): return goTo(digits, key, time)
        case .editSide: return editSide(key)
        case let .strength(choice):
            mode = .judging
            guard case let .character(character) = key, let value = character.wholeNumberValue, (1...4).contains(value) else { return .none }
            _ = apply(.strength(value), time)
            return apply(.choose(choice), time)
        case let .grading(place):
            if let effect = grade(place, key, time) { return effect }
            return judge(key, time)
        case .judging: return judge(key, time)
        }
    }

    private mutating func judge(_ key: TerminalKey, _ time: String) -> Effect {
        let isRanking = session.shown.count > 2
        switch key {
        case .left, .character("a"): return apply(.choose(.left), time)
        case .right, .character("d"): return apply(.choose(.right), time)
        case .character("t"): return apply(.choose(.tie), time)
        case .character("b"): return apply(.choose(.bothBad), time)
        case .character("s"): return apply(.choose(.skip), time)
        case .character("u"): return apply(.undo, time)
        case .backspace where isRanking && !tiers.isEmpty: unrank()
        case .character("p"), .backspace: return apply(.back, time)
        case .character("f"): return apply(.forward, time)
        case .character("#"), .character(":"): mode = .goTo("")
        case .character("n"): mode = session.entry == nil ? mode : .note(session.draft.note ?? "")
        case .character("e"): return startEdit()
        case .character("?"), .character("h"): open(.help)
        case .character("g"): if guidelines == nil { message = "no guidelines were given: --guidelines FILE" } else { open(.guidelines) }
        case .character("r") where gradeCount > 0: mode = .grading(0)
        case .character("q"): return .quit
        case .character("=") where isRanking: tiesNext = !tiers.isEmpty
        case .character("="): return apply(.choose(.tie), time)
        case .enter where isRanking: return apply(.rank(tiers), time)
        case let .character(digit) where digit.wholeNumberValue != nil:
            let value = digit.wholeNumberValue ?? 0
            if isRanking { rank(value - 1) } else { return apply(.strength(value == 0 ? nil : value), time) }
        default: scrolled(key)
        }
        return .none
    }

    private mutating func scrolled(_ key: TerminalKey) {
        switch key {
        case .up, .character("k"): scroll -= 1
        case .down, .character("j"): scroll += 1
        case .pageUp: scroll -= max(1, page - 1)
        case .pageDown, .character(" "): scroll += max(1, page - 1)
        case .home: scroll = 0
        case .end: scroll = .max / 2
        default: break
        }
        scroll = max(0, scroll)
    }

    private mutating func open(_ text: Mode) { (mode, scroll) = (text, 0) }

    /// Pages of text: scrolling keys scroll, any other goes back to the item.
    private mutating func read(_ key: TerminalKey) -> Effect {
        switch key {
        case .up, .down, .pageUp, .pageDown, .home, .end, .character(" "), .character("j"), .character("k"): scrolled(key)
        case .character("q"): return .quit
        default: begin()
        }
        return .none
    }

    // MARK: Questions

    private mutating func note(_ text: String, _ key: TerminalKey, _ time: String) -> Effect {
        switch key {
        case .enter:
            mode = .judging
            return apply(.note(text), time)
        case .escape: mode = .judging
        case .backspace: mode = .note(String(text.dropLast()))
        case let .character(character): if text.count < 1000 { mode = .note(text + String(character)) }
        default: break
        }
        return .none
    }

    private mutating func goTo(_ digits: String, _ key: TerminalKey, _ time: String) -> Effect {
        switch key {
        case .enter:
            mode = .judging
            if let number = Int(digits) { return apply(.goTo(number), time) }
        case .escape: mode = .judging
        case .backspace: mode = .goTo(String(digits.dropLast()))
        case let .character(character) where character.isNumber && character.isASCII && digits.count < 9: mode = .goTo(digits + String(character))
        default: break
        }
        return .none
    }

    private mutating func startEdit() -> Effect {
        guard session.entry != nil else { return .none }
        mode = .editSide
        return .none
    }

    private mutating func editSide(_ key: TerminalKey) -> Effect {
        mode = .judging
        let isPair = session.shown.count == 2
        switch key {
        case .left where isPair, .character("a") where isPair: return .edit(completion: 0)
        case .right where isPair, .character("d") where isPair: return .edit(completion: 1)
        case let .character(digit):
            guard let number = digit.wholeNumberValue, session.shown.indices.contains(number - 1) else { return .none }
            return .edit(completion: number - 1)
        default: return .none
        }
    }

    // MARK: Grades

    /// How many grades an item asks for.
    public var gradeCount: Int { session.settings.grades.count * session.shown.count }

    public func gradePlace(_ place: Int) -> (completion: Int, criterion: LabelGrade) {
        (place / session.settings.grades.count, session.settings.grades[place % session.settings.grades.count])
    }

    private func grade(_ place: Int) -> Int? {
        let (completion, criterion) = gradePlace(place)
        return session.draft.grades[session.shown[completion]]?[criterion]
    }

    /// nil for keys that mean the same as without grades.
    private mutating func grade(_ place: Int, _ key: TerminalKey, _ time: String) -> Effect? {
        let (completion, criterion) = gradePlace(place)
        var next = place + 1
        switch key {
        case let .character(digit) where digit.wholeNumberValue.map { LabelGrade.range.contains($0) } ?? false:
            _ = apply(.grade(completion: completion, criterion: criterion, value: digit.wholeNumberValue), time)
        case .enter, .tab, .character("0"): break
        case .backspace where place > 0: next = place - 1
        case .escape: next = gradeCount
        default: return nil
        }
        mode = next < gradeCount ? .grading(next) : .judging
        return Effect.none
    }

    // MARK: Ranking

    private mutating func rank(_ completion: Int) {
        guard session.shown.indices.contains(completion), !tiers.joined().contains(completion) else { return }
        if tiesNext, !tiers.isEmpty { tiers[tiers.count - 1].append(completion) } else { tiers.append([completion]) }
        tiesNext = false
        // The last one left has but one place.
        if tiers.joined().count == session.shown.count { message = "Enter casts the ranking, Backspace takes back" }
    }

    private mutating func unrank() {
        tiers[tiers.count - 1].removeLast()
        if tiers[tiers.count - 1].isEmpty { tiers.removeLast() }
    }

    /// `2 > 1 = 3`
    public var rankingText: String {
        tiers.map { $0.map { "\($0 + 1)" }.joined(separator: " = ") }.joined(separator: " > ") + (tiesNext ? " = " : tiers.isEmpty ? "" : " > ")
    }

    // MARK: Outcomes

    /// An action that came without a key.
    public mutating func perform(_ action: LabelAction, time: String) -> Effect {
        message = ""
        defer { if case .strength = mode { mode = .judging } }
        return apply(action, time)
    }

    private mutating func apply(_ action: LabelAction, _ time: String) -> Effect {
        let before = session.position
        do throws(LabelRefusal) {
            if let vote = try session.apply(action, time: time) { return .cast(vote) }
        } catch {
            if error == .strengthWanted, case let .choose(choice) = action { mode = .strength(choice) }
            message = error.description
            return .none
        }
        if session.position != before { begin() }
        return .none
    }

    /// The vote is on the disk.
    public mutating func didCast(_ vote: Vote) {
        let before = session.position
        session.record(vote)
        if vote.withdraws != nil {
            begin()
            message = "taken back; the item is open again"
        } else if session.position != before || session.entry == nil {
            begin()
            message = "kept: \(describe(vote)); u takes it back"
        }
    }

    /// What the editor came back with.
    /// - Parameter id: Of the stored completion; nil if nothing was changed.
    public mutating func edited(completion: Int, id: String?, time: String) -> Effect {
        guard let id else {
            message = "nothing was changed"
            return .none
        }
        let effect = apply(.edited(completion: completion, id: id), time)
        if effect == .none, case .strength = mode { return .none }
        return effect
    }

    public mutating func say(_ text: String) { message = text }

    /// Others have judged the item on the screen.
    public mutating func overtake() {
        session.overtake()
        if mode != .guidelines { begin() }
    }

    /// A vote in a few words, from the annotator's side of the screen.
    public func describe(_ vote: Vote) -> String {
        var words: String
        switch vote.outcome {
        case .first, .second: words = vote.preferred == vote.shownFirst ? "left" : "right"
        case .tie: words = "tie"
        case .bothBad: words = vote.item.isPair ? "both bad" : "all bad"
        case .skip: words = "skipped"
        case .ranking: words = "ranking"
        case .withdrawal: words = "taken back"
        }
        if let strength = vote.strength { words += " by \(strength)" }
        if vote.edited != nil { words += ", edited" }
        if vote.note != nil { words += ", with a note" }
        return words
    }
}
