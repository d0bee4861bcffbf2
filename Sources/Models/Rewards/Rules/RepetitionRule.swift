/// Takes off for repeated n-grams of words.
///
///     r = −penalty · (1 − distinct n-grams / n-grams),  0 for texts of fewer than n words
///
/// Source: Yeo et al. 2025, "Demystifying Long Chain-of-Thought Reasoning in LLMs", appendix; TRL's repetition penalty reward.
struct RepetitionRule: RewardRule {
    static let name = "repetition"
    static let options = ["n", "penalty"]
    static let help = "from -penalty to 0: the share of word n-grams that repeat an earlier one (n=3; penalty=1)"
    let n: Int
    let penalty: Double

    init(_ options: RewardOptions) throws(RewardError) {
        n = try options.integer("n", in: 1...100, default: 3, "a number of words from 1 to 100")
        penalty = try options.number("penalty", in: 0...1e6, default: 1, "a number from 0")
    }

    func score(_ item: RewardItem, index: Int) -> RewardScore {
        let words = item.completion.lowercased().split(whereSeparator: \.isWhitespace)
        guard words.count >= n else { return RewardScore(0) }
        let total = words.count - n + 1
        let distinct = Set((0..<total).map { words[$0..<$0 + n] }).count
        return RewardScore(-penalty * (1 - Double(distinct) / Double(total)))
    }
}
