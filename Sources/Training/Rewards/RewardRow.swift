import Serialization

/// What a reward model is trained on, as token ids: completions of one prompt, each read at some of its tokens.
public struct RewardRow: Sendable, Equatable {
    public var prompt: [Int32]
    public var completions: [[Int32]]
    /// Per completion the tokens at which the head is read: its last one, or the last one of each step.
    public var points: [[Int]]
    public var label: RewardLabel
    /// Per completion: a grade for each aspect of `Grading`.
    public var grades: [[Int?]]
    /// Where the row came from, as `file:line`.
    public var origin: String

    public init(
        prompt: [Int32], completions: [[Int32]], points: [[Int]]? = nil, label: RewardLabel, grades: [[Int?]] = [], origin: String = ""
    ) {
        let points = points ?? completions.map { [$0.count - 1] }
        precondition(points.joined().count == label.points, "\(points.joined().count) read-outs, a label of \(label.points)")
        (self.prompt, self.completions, self.points, self.label, self.grades, self.origin) = (prompt, completions, points, label, grades, origin)
    }

    /// Tokens as a plain implementation counts them: the prompt with every completion.
    public var plainTokens: Int { completions.reduce(0) { $0 + prompt.count + $1.count } }
}

extension RewardRow: TokenRow {
    var splitKey: [Int32] { prompt }

    /// The label is part of the data: other margins are other data.
    var parts: [[Int32]] {
        [prompt] + completions + points.map { $0.map { Int32($0) } } + [RewardRow.bits(label.numbers)]
            + grades.map { $0.map { Int32($0 ?? -1) } }
    }

    var tokenCount: Int { plainTokens }

    func write(to bytes: inout RowBytes) {
        bytes.add(prompt)
        bytes.add(completions) { $0.add($1) }
        bytes.add(points) { $0.add($1) { $0.add($1) } }
        label.write(to: &bytes)
        bytes.add(grades) { $0.add($1) { $0.add($1) { $0.add($1) } } }
        bytes.add(origin)
    }

    init(from parts: inout RowParts) throws(RowParts.Damaged) {
        let prompt = try parts.tokens()
        let completions = try parts.list { part throws(RowParts.Damaged) in try part.tokens() }
        let points = try parts.list { part throws(RowParts.Damaged) in try part.list { part throws(RowParts.Damaged) in try part.integer() } }
        let label = try RewardLabel(from: &parts)
        guard points.joined().count == label.points else { throw RowParts.Damaged() }
        let grades = try parts.list { part throws(RowParts.Damaged) in
            try part.list { part throws(RowParts.Damaged) in try part.optional { part throws(RowParts.Damaged) in try part.integer() } }
        }
        self.init(prompt: prompt, completions: completions, points: points, label: label, grades: grades, origin: try parts.text())
    }

    private static func bits(_ numbers: [Double]) -> [Int32] {
        numbers.flatMap { number in
            let bits = number.bitPattern
            return [Int32(truncatingIfNeeded: bits), Int32(truncatingIfNeeded: bits >> 32)]
        }
    }

    /// The row in the record format that carries token ids.
    var record: JSON {
        func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }
        func numbers(_ values: [Double?]) -> JSON { .array(values.map { $0.map { .number($0) } ?? .null }) }
        var object = JSONObject([("prompt_ids", ids(prompt))])
        switch label {
        case let .preference(margin, probability):
            object["chosen_ids"] = ids(completions[0])
            object["rejected_ids"] = ids(completions[1])
            object["margin"] = .number(margin)
            object["probability"] = .number(probability)
            for (name, grades) in zip(["chosen_grades", "rejected_grades"], grades) where !grades.isEmpty {
                object[name] = .array(grades.map { $0.map { .integer($0) } ?? .null })
            }
        case let .ranking(ranks):
            object["completions_ids"] = .array(completions.map(ids))
            object["ranks"] = .array(ranks.map { .integer($0) })
        case let .scores(scores):
            object["completions_ids"] = .array(completions.map(ids))
            object["scores"] = .array(scores.map(numbers))
        case let .steps(labels):
            let bounds = [0] + points[0].map { $0 + 1 }
            object["completions_ids"] = .array(zip(bounds, bounds.dropFirst()).map { ids(Array(completions[0][$0..<$1])) })
            object["labels"] = numbers(labels)
        }
        return .object(object)
    }
}

extension RewardLabel {
    /// All that it says, as numbers; what is missing is not a number.
    var numbers: [Double] {
        switch self {
        case let .preference(margin, probability): [0, margin, probability]
        case let .ranking(ranks): [1] + ranks.map { Double($0) }
        case let .scores(scores): [2] + scores.joined().map { $0 ?? .nan }
        case let .steps(labels): [3] + labels.map { $0 ?? .nan }
        }
    }

    func write(to bytes: inout RowBytes) {
        switch self {
        case let .preference(margin, probability):
            bytes.add(0)
            bytes.add(margin)
            bytes.add(probability)
        case let .ranking(ranks):
            bytes.add(1)
            bytes.add(ranks) { $0.add($1) }
        case let .scores(scores):
            bytes.add(2)
            bytes.add(scores) { $0.add($1) { $0.add($1) { $0.add($1) } } }
        case let .steps(labels):
            bytes.add(3)
            bytes.add(labels) { $0.add($1) { $0.add($1) } }
        }
    }

    init(from parts: inout RowParts) throws(RowParts.Damaged) {
        func numbers(_ parts: inout RowParts) throws(RowParts.Damaged) -> [Double?] {
            try parts.list { part throws(RowParts.Damaged) in try part.optional { part throws(RowParts.Damaged) in try part.number() } }
        }
        switch try parts.integer() {
        case 0: self = .preference(margin: try parts.number(), probability: try parts.number())
        case 1: self = .ranking(try parts.list { part throws(RowParts.Damaged) in try part.integer() })
        case 2: self = .scores(try parts.list(numbers))
        case 3: self = .steps(try numbers(&parts))
        default: throw RowParts.Damaged()
        }
    }
}
