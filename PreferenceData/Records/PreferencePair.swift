import Serialization

/// Two completions of one prompt, of which the first is preferred.
public struct PreferencePair: Sendable, Equatable {
    public var prompt: Content
    public var chosen: Content
    public var rejected: Content
    /// By how much `chosen` is better, in the units of the file; nil where the row does not say.
    public var margin: Double?
    public var origin: RowOrigin
    public var shape: RecordShape
    /// The text as written, where messages were parsed out of transcripts: for training without a chat template.
    public var raw: RawPair?
    /// The row's `tools`, as the file has them.
    public var tools: JSON?

    public init(
        prompt: Content, chosen: Content, rejected: Content, margin: Double?, origin: RowOrigin, shape: RecordShape,
        raw: RawPair? = nil, tools: JSON? = nil
    ) {
        self.prompt = prompt
        self.chosen = chosen
        self.rejected = rejected
        self.margin = margin
        self.origin = origin
        self.shape = shape
        self.raw = raw
        self.tools = tools
    }
}

/// A pair's transcripts, unparsed: `prompt + chosen` and `prompt + rejected` are the file's two strings, byte for byte.
public struct RawPair: Sendable, Equatable {
    /// What both have in common, up to the colon after the name of the turn in which they part.
    public var prompt: String
    public var chosen: String
    public var rejected: String

    public init(prompt: String, chosen: String, rejected: String) {
        self.prompt = prompt
        self.chosen = chosen
        self.rejected = rejected
    }
}

/// A text to imitate.
public struct SupervisedExample: Sendable, Equatable {
    /// What is not trained on; nil where the row is one text, one dialogue, or token ids.
    public var prompt: Content?
    public var completion: Content
    /// One entry a token of `completion`, of token ids only: whether it counts.
    public var lossMask: [Bool]?
    public var origin: RowOrigin
    public var shape: RecordShape
    /// The row's `tools`, as the file has them.
    public var tools: JSON?

    public init(
        prompt: Content?, completion: Content, lossMask: [Bool]?, origin: RowOrigin, shape: RecordShape, tools: JSON? = nil
    ) {
        self.prompt = prompt
        self.completion = completion
        self.lossMask = lossMask
        self.origin = origin
        self.shape = shape
        self.tools = tools
    }
}
