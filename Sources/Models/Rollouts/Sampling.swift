import Foundation

/// How tokens are drawn. Filters apply in the order temperature, top-k, top-p, min-p, as transformers applies them.
public struct Sampling: Sendable, Equatable, Codable {
    /// 0 is greedy: the most probable token, the lowest id among equals.
    public var temperature = 1.0
    /// Keeps the k most probable tokens (and those that tie with the k-th); 0: all.
    public var topK = 0
    /// Keeps the smallest set of most probable tokens whose mass reaches p; 1: all.
    public var topP = 1.0
    /// Keeps tokens at least this share as probable as the most probable one; 0: all.
    public var minP = 0.0
    public var maxNewTokens = 128
    /// Drawing one of these ends the completion; it stays part of it.
    public var stopIDs: [Int32] = []
    public var seed: UInt64 = 0
    /// Completions of each prompt.
    public var samplesPerPrompt = 1
    public init() {}
}
