/// A preference pair as token ids. Both sides continue the very same prompt tokens.
public struct PairRow: Sendable, Equatable {
    public var prompt: [Int32], chosen: [Int32], rejected: [Int32]
    /// Which completion tokens count, one entry each; nil: all.
    public var chosenMask: [Bool]?, rejectedMask: [Bool]?
    /// Where the row came from, as `file:line`.
    public var origin: String

    public init(prompt: [Int32], chosen: [Int32], rejected: [Int32], origin: String = "") {
        self.prompt = prompt
        self.chosen = chosen
        self.rejected = rejected
        self.origin = origin
    }

    /// Tokens of both sides as a plain implementation counts them: the prompt twice.
    public var plainTokens: Int { 2 * prompt.count + chosen.count + rejected.count }
}

/// A completion of a prompt as token ids, and whether it is desirable.
public struct UnpairedRow: Sendable, Equatable {
    public var prompt: [Int32], completion: [Int32]
    public var isDesirable: Bool
    /// Which completion tokens count, one entry each; nil: all.
    public var mask: [Bool]?
    public var origin: String

    public init(prompt: [Int32], completion: [Int32], isDesirable: Bool, origin: String = "") {
        (self.prompt, self.completion, self.isDesirable, self.origin) = (prompt, completion, isDesirable, origin)
    }
}

/// A supervised example as token ids.
public struct SupervisedRow: Sendable, Equatable {
    public var tokens: [Int32]
    /// Which tokens the loss counts. The first never has a log-prob, whatever stands here.
    public var mask: [Bool]
    public var origin: String

    public init(tokens: [Int32], mask: [Bool], origin: String = "") {
        precondition(tokens.count == mask.count, "\(tokens.count) tokens, a mask of \(mask.count)")
        self.tokens = tokens
        self.mask = mask
        self.origin = origin
    }

    /// Tokens that have a log-prob and count.
    public var lossTokens: Int { mask.dropFirst().count { $0 } }
}
