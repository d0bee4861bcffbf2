/// Whether the completion ended by itself, rather than being cut off.
struct StopRule: RewardRule {
    static let name = "stop"
    static let options = ["missing"]
    static let help = "1 if the completion ended by itself; cut off at the longest length, missing=N (0)"
    let missing: Double

    init(_ options: RewardOptions) throws(RewardError) { missing = try options.number("missing", in: -1e6...1e6, default: 0, "a number") }

    func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore {
        switch item.finishReason {
        case .stopToken, .stopString: return RewardScore(1)
        case .length, .cancelled: return RewardScore(missing)
        case nil:
            throw .missing(reward: "rule:stop", item: index, field: "finish reason", remedy: "Give the rows a column \"finish_reason\": \"stop\" or \"length\".")
        }
    }
}
