import Foundation

/// How tokens are drawn, and when a completion ends.
///
/// The order is transformers': penalties and what is forbidden change the logits, then temperature, top-k, top-p, min-p, typical,
/// epsilon and eta each drop tokens of what the one before left, renormalised. Greedy takes the largest of the changed logits.
public struct Sampling: Sendable, Equatable, Codable {
    /// Divides the logits. 0 is greedy: the most probable token, the lowest id among equals.
    public var temperature = 1.0
    /// Keeps the k most probable tokens (and those that tie with the k-th); 0: all.
    public var topK = 0
    /// Keeps the smallest set of most probable tokens whose mass reaches p; 1: all.
    public var topP = 1.0
    /// Keeps tokens at least this share as probable as the most probable one; 0: all.
    public var minP = 0.0
    /// Keeps the tokens whose surprise −log p lies nearest to the entropy, until their mass reaches this; 1: all.
    /// Source: Meister et al. 2022, "Locally Typical Sampling".
    public var typicalP = 1.0
    /// Keeps tokens of at least this probability; 0: all. Source: Hewitt et al. 2022.
    public var epsilonCutoff = 0.0
    /// Keeps tokens of at least min(η, √η·e^(−entropy)); 0: all. Source: Hewitt et al. 2022, eq. 6.
    public var etaCutoff = 0.0
    /// ρ: logits of tokens seen, in the prompt too, are divided by it where positive, multiplied where negative; 1: unchanged.
    /// Source: Keskar et al. 2019, section 4.1.
    public var repetitionPenalty = 1.0
    /// Taken off the logits of tokens that the completion has; 0: unchanged.
    public var presencePenalty = 0.0
    /// Taken off a token's logit once for each time that the completion has it; 0: unchanged.
    public var frequencyPenalty = 0.0
    /// No run of this many tokens appears twice in prompt and completion; 0: no such rule.
    public var noRepeatNgram = 0
    public var maxNewTokens = 128
    /// No completion ends before it has this many tokens: until then stop tokens are not drawn, stop strings do not count.
    public var minNewTokens = 0
    /// Drawing one of these ends the completion; it stays part of it.
    public var stopIDs: [Int32] = []
    /// Text that ends the completion as soon as it appears; the text is cut before it, the tokens keep it.
    public var stopStrings: [String] = []
    public var seed: UInt64 = 0
    /// Completions of each prompt.
    public var samplesPerPrompt = 1
    public init() {}

    /// Whether logits are changed before the temperature divides them.
    var changesLogits: Bool { repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0 || noRepeatNgram > 0 || minNewTokens > 0 }
    /// Whether some tokens cannot be drawn, or not as the model would: ratios of such completions are biased.
    public var isTruncated: Bool {
        changesLogits || topK > 0 || topP < 1 || minP > 0 || typicalP < 1 || epsilonCutoff > 0 || etaCutoff > 0
    }
}
