/// One line of an annotator who has no screen: a script, or somebody with a screen reader.
public enum LabelLine: Sendable, Equatable {
    case action(LabelAction)
    /// Strength first, then the side.
    case graded(Int, Vote.Choice)
    /// A completion as shown, and its new text.
    case edit(completion: Int, text: String)
    case help, guidelines, show, quit
    case unknown(String)

    public static let instructions = """
        left, right     which is better; left 3: by how much, 1 (hardly) to 4 (by far)
        tie, bad, skip  neither; both are bad; not judged
        rank 2 1=3      of three or more: best first, = where they tie
        grade N CRITERION 1-5   of completion N: instruction_following, conciseness, truthfulness, harmlessness
        edit N TEXT     completion N is the better, and better still as TEXT (\\n is a new line)
        note TEXT       a note on the item, before the choice
        undo, back, forward, go N, show, guidelines, help, quit
        """

    public static func parse(_ line: String) -> LabelLine {
        let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        guard let first = words.first?.lowercased() else { return .show }
        let rest = line.drop { $0.isWhitespace }.dropFirst(words[0].count).drop { $0.isWhitespace }
        switch (first, words.count) {
        case ("left", 1), ("l", 1), ("a", 1): return .action(.choose(.left))
        case ("right", 1), ("r", 1), ("d", 1): return .action(.choose(.right))
        case ("left", 2), ("l", 2): return Int(words[1]).map { .graded($0, .left) } ?? .unknown(line)
        case ("right", 2), ("r", 2): return Int(words[1]).map { .graded($0, .right) } ?? .unknown(line)
        case ("tie", 1), ("t", 1): return .action(.choose(.tie))
        case ("bad", 1), ("b", 1): return .action(.choose(.bothBad))
        case ("skip", 1), ("s", 1): return .action(.choose(.skip))
        case ("undo", 1), ("u", 1): return .action(.undo)
        case ("back", 1), ("p", 1): return .action(.back)
        case ("forward", 1), ("f", 1): return .action(.forward)
        case ("go", 2): return Int(words[1]).map { .action(.goTo($0)) } ?? .unknown(line)
        case ("strength", 2): return Int(words[1]).map { .action(.strength($0)) } ?? .unknown(line)
        case ("note", _), ("n", _): return .action(.note(String(rest)))
        case ("rank", 2...): return rank(String(rest)).map { .action(.rank($0)) } ?? .unknown(line)
        case ("grade", 4):
            guard let number = Int(words[1]), let criterion = LabelGrade(rawValue: words[2].lowercased()), let value = Int(words[3]) else { return .unknown(line) }
            return .action(.grade(completion: number - 1, criterion: criterion, value: value))
        case ("edit", 3...):
            guard let number = Int(words[1]) else { return .unknown(line) }
            let text = rest.dropFirst(words[1].count).drop { $0.isWhitespace }
            return .edit(completion: number - 1, text: String(text).replacing("\\n", with: "\n"))
        case ("show", 1): return .show
        case ("help", 1), ("?", 1), ("h", 1): return .help
        case ("guidelines", 1), ("g", 1): return .guidelines
        case ("quit", 1), ("q", 1), ("exit", 1): return .quit
        default: return .unknown(line)
        }
    }

    /// `2 1=3`, also with > between tiers: from 1, as shown.
    private static func rank(_ text: String) -> [[Int]]? {
        let tiers = text.replacing(" = ", with: "=").split { $0.isWhitespace || $0 == ">" }
        let numbers = tiers.map { $0.split(separator: "=").map { Int($0) } }
        guard !numbers.isEmpty, numbers.allSatisfy({ $0.allSatisfy { $0 != nil } }) else { return nil }
        return numbers.map { $0.compactMap { $0.map { $0 - 1 } } }
    }
}
