import Foundation

/// Whether the completion is the reference answer.
struct ExactRule: RewardRule {
    static let name = "exact"
    static let options = ["case", "in"]
    static let help = "1 if the completion is the reference answer, else 0 (case=keep|ignore; in=whole|last-line|anywhere)"
    let ignoresCase: Bool
    let place: String

    init(_ options: RewardOptions) throws(RewardError) {
        ignoresCase = try options.choice("case", of: ["keep", "ignore"]) == "ignore"
        place = try options.choice("in", of: ["whole", "last-line", "anywhere"])
    }

    func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore {
        let reference = normalized(try item.requiredReference(Self.name, index: index))
        let completion = normalized(item.completion)
        let isFound =
            switch place {
            case "last-line": completion.split(separator: "\n").last.map { trimmed($0) } == reference
            case "anywhere": !reference.isEmpty && completion.firstRange(of: reference) != nil
            default: completion == reference
            }
        return RewardScore(isFound ? 1 : 0)
    }

    private func normalized(_ text: String) -> String { trimmed(ignoresCase ? text.lowercased() : text) }
    private func trimmed(_ text: some StringProtocol) -> String { text.trimmingCharacters(in: .whitespacesAndNewlines) }
}
