/// What a pair's lengths alone say of it: the baseline that a reward has to beat.
public struct PairLengths: Sendable, Equatable {
    /// Tokens of the two completions.
    public var chosen: Int, rejected: Int
    public init(chosen: Int, rejected: Int) { (self.chosen, self.rejected) = (chosen, rejected) }

    /// How right "the longer one wins" is: 1, 0, or ½ where both are as long.
    public var longerWins: Double { chosen > rejected ? 1 : chosen == rejected ? 0.5 : 0 }

    /// Whether the longer one has at most `ratio` times the shorter one's tokens: among such pairs no score can win by counting.
    public func isMatched(within ratio: Double = 1.1) -> Bool {
        Double(max(chosen, rejected)) <= ratio * Double(min(chosen, rejected))
    }
}
