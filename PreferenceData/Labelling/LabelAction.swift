/// What an annotator does, whether by a key or by a line of text.
public enum LabelAction: Sendable, Equatable {
    case choose(Vote.Choice)
    /// How much better: 1 (hardly) to 4 (by far); nil takes it back.
    case strength(Int?)
    case note(String)
    /// Of a completion as it is shown, from 0; nil takes the grade back.
    case grade(completion: Int, criterion: LabelGrade, value: Int?)
    /// Completions as they are shown, from 0, the best tier first.
    case rank([[Int]])
    /// The better one as the annotator would have it: a completion's id, already stored.
    case edited(completion: Int, id: String)
    /// Takes back the newest vote that stands, and shows its item again.
    case undo
    case back
    case forward
    /// By its number on the screen, from 1.
    case goTo(Int)
}

/// What a completion is graded for, alone; the criteria of AFM's single-sided grading (Gunter et al. 2024, §4.2).
public enum LabelGrade: String, Sendable, CaseIterable {
    case instructionFollowing = "instruction_following"
    case conciseness, truthfulness, harmlessness

    public var words: String { rawValue.split(separator: "_").joined(separator: " ") }
    /// 1: bad … 5: good.
    public static let range = 1...5
}

/// Why an action does nothing. The text is for the annotator.
public enum LabelRefusal: Error, Equatable, CustomStringConvertible {
    case nothingHere
    case nothingToUndo
    case noItem(number: Int, count: Int)
    case badStrength(Int)
    case badGrade(Int)
    case noCompletion(number: Int, count: Int)
    case needsRanking(count: Int)
    case isPair
    case incompleteRanking(missing: [Int])
    case strengthWanted

    public var description: String {
        switch self {
        case .nothingHere: "every item has your vote; go back to one, or quit"
        case .nothingToUndo: "there is no vote to take back"
        case let .noItem(number, count): "there is no item \(number); they are 1 to \(count)"
        case let .badStrength(value): "a strength is 1 to 4, found \(value)"
        case let .badGrade(value): "a grade is 1 to 5, found \(value)"
        case let .noCompletion(number, count): "there is no completion \(number); they are 1 to \(count)"
        case let .needsRanking(count): "rank the \(count) completions, best first"
        case .isPair: "this item has two completions: choose left or right"
        case let .incompleteRanking(missing): "the ranking lacks \(missing.map { "\($0 + 1)" }.joined(separator: ", "))"
        case .strengthWanted: "how much better? 1 (hardly) to 4 (by far)"
        }
    }
}
