import Serialization

/// What one row of a file comes to in the store.
public enum StoredRow: Sendable {
    case comparison(StoredComparison)
    /// A completion to imitate; the mask is of token ids only.
    case example(prompt: StoredPrompt, completion: StoredContent, lossMask: [Bool]?)
    /// Whether a completion is good, said of it alone.
    case label(prompt: StoredPrompt, completion: StoredContent, isGood: Bool)
    /// A prompt, and what its answer should come to.
    case task(prompt: StoredPrompt, answer: String?)
    /// A completion's score by a reward.
    case score(prompt: StoredPrompt, completion: StoredContent, reward: String, value: Double, model: String?)
    /// Completions to be compared.
    case item(Candidates)
    /// What somebody said of completions.
    case vote(Candidates, Vote, by: PreferenceStore.AnnotatorKind)

    /// What the row counts as in reports.
    public enum Kind: String, Sendable, CaseIterable {
        case comparisons, examples, labels, tasks, scores, items, votes
    }

    public var kind: Kind {
        switch self {
        case .comparison: .comparisons
        case .example: .examples
        case .label: .labels
        case .task: .tasks
        case .score: .scores
        case .item: .items
        case .vote: .votes
        }
    }

    /// Of a vote.
    var annotator: String? {
        get { if case let .vote(_, vote, _) = self { vote.annotator } else { nil } }
        set {
            guard case .vote(let candidates, var vote, let kind) = self, let newValue else { return }
            vote.annotator = newValue
            self = .vote(candidates, vote, by: kind)
        }
    }

    var prompt: StoredPrompt {
        switch self {
        case let .comparison(comparison): comparison.prompt
        case let .example(prompt, _, _), let .label(prompt, _, _), let .task(prompt, _), let .score(prompt, _, _, _, _): prompt
        case let .item(candidates), let .vote(candidates, _, _): candidates.prompt
        }
    }

    var completions: [StoredContent] {
        switch self {
        case let .comparison(comparison): [comparison.chosen, comparison.rejected]
        case let .example(_, completion, _), let .label(_, completion, _), let .score(_, completion, _, _, _): [completion]
        case .task: []
        case let .item(candidates), let .vote(candidates, _, _): candidates.completions
        }
    }
}

/// A row with its ids, ready to be written; making one is what takes time, so many are made at once.
struct AddressedRow: Sendable {
    let row: StoredRow
    let line: Int?
    let prompt: String
    let completions: [String]
    /// Of the comparison, example, label or vote.
    let id: String
    /// Whether it is a judgment that names nobody.
    let isUnnamed: Bool

    /// - Parameter unnamed: Whose a judgment is that names nobody.
    init(_ row: StoredRow, line: Int?, unnamed: String = "") {
        var row = row
        isUnnamed = row.annotator == VoteShapes.unnamed
        if isUnnamed { row.annotator = unnamed }
        self.row = row
        self.line = line
        let prompt = row.prompt
        let promptID = prompt.id
        self.prompt = promptID
        completions = row.completions.map { ContentHash.of([promptID] + $0.parts, under: promptID) }
        switch row {
        case .comparison: id = StoredComparison.id(prompt: promptID, chosen: completions[0], rejected: completions[1])
        case let .example(_, _, mask):
            id = ContentHash.of(["example", completions[0]] + (mask.map { [String(decoding: $0.map { $0 ? 49 : 48 }, as: UTF8.self)] } ?? []), under: promptID)
        case let .label(_, _, isGood): id = ContentHash.of(["label", completions[0], isGood ? "1" : "0"], under: promptID)
        case .task, .score: id = promptID
        case .item: id = LabelItem(prompt: promptID, completions: completions).id
        case let .vote(_, vote, _): id = vote.id
        }
    }

    /// Bytes of text, about.
    var size: Int {
        completions.count * 200 + 400 + row.prompt.content.text.utf8.count + row.completions.reduce(0) { $0 + $1.text.utf8.count }
    }
}
