import Serialization

/// How much better a preferred completion is, in the words that annotators chose from (Llama 2, AFM).
public enum PreferenceStrength: String, Sendable, CaseIterable {
    case significantly = "significantly better"
    case better
    case slightly = "slightly better"
    case negligibly = "negligibly better"

    /// Words of data sets that mean the same.
    init?(words text: String) {
        let words = text.lowercased().split(whereSeparator: { $0 == " " || $0 == "_" || $0 == "-" }).joined(separator: " ")
        switch words {
        case "significantly", "significantly better", "much better": self = .significantly
        case "better", "moderately better": self = .better
        case "slightly", "slightly better": self = .slightly
        case "negligibly", "negligibly better", "unsure", "negligibly better unsure", "negligibly better / unsure": self = .negligibly
        default: return nil
        }
    }
}

/// What a reward model learns from: completions of one prompt, or the steps of one, and how they were judged.
public struct RewardExample: Sendable, Equatable {
    public enum Judgement: Sendable, Equatable {
        /// Of two completions the first is better: by how much, in words or as the row's `margin`, and with what probability.
        case preferred(margin: Double?, strength: PreferenceStrength?, probability: Double?)
        /// A rank for each completion: 1 is the best, equal ranks are ties.
        case ranked([Int])
        /// For each completion its scores, one an attribute; nil where one is missing.
        case scored([[Double?]])
        /// The completions are the steps of one: for each the probability that it is right, nil where that is not known.
        case steps([Double?])
    }

    /// What completions are graded for, one by one (AFM).
    public static let gradeAspects = ["instruction_following", "verbosity", "truthfulness", "harmlessness"]

    public var prompt: Content
    public var completions: [Content]
    public var judgement: Judgement
    /// For each completion: grades of 0, 1 or 2, one an aspect, nil where one is missing; empty where there are none.
    public var grades: [[Int?]]
    public var origin: RowOrigin
    public var shape: RecordShape
    /// A pair's texts as written, where messages were parsed out of transcripts.
    public var raw: RawPair?
    public var tools: JSON?
    /// The row's `subset`: the part of a benchmark it belongs to.
    public var subset: String?

    public init(
        prompt: Content, completions: [Content], judgement: Judgement, grades: [[Int?]] = [], origin: RowOrigin, shape: RecordShape,
        raw: RawPair? = nil, tools: JSON? = nil, subset: String? = nil
    ) {
        self.prompt = prompt
        self.completions = completions
        self.judgement = judgement
        self.grades = grades
        self.origin = origin
        self.shape = shape
        self.raw = raw
        self.tools = tools
        self.subset = subset
    }
}

extension RewardExample {
    /// A pair, with what else is known of it.
    public init(_ pair: PreferencePair, strength: PreferenceStrength? = nil, probability: Double? = nil, grades: [[Int?]] = [], subset: String? = nil) {
        self.init(
            prompt: pair.prompt, completions: [pair.chosen, pair.rejected],
            judgement: .preferred(margin: pair.margin, strength: strength, probability: probability), grades: grades, origin: pair.origin,
            shape: pair.shape, raw: pair.raw, tools: pair.tools, subset: subset)
    }
}

extension Records {
    /// What reward models learn from: preference pairs, ranked or scored completions, labelled steps.
    public static func rewards(
        _ files: [RecordFile], columns: [String: String] = [:], onBadRow: OnBadRow = .stop, seed: UInt64 = 0
    ) throws(RecordError) -> (rows: [RewardExample], report: ReadReport) {
        try read(.rewards, files, columns, onBadRow, seed)
    }
}
