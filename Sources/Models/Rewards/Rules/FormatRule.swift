import Foundation

/// Whether the completion is made of tagged parts: `<think>…</think><answer>…</answer>`, each once, in order, not empty.
struct FormatRule: RewardRule {
    static let name = "format"
    static let options = ["tags", "outside", "partial"]
    static let help =
        "1 if the text is <think>…</think><answer>…</answer>, else 0 (tags=think|answer; outside=true: text around them is fine; partial=true: the share of good tags where some are missing)"
    let tags: [String]
    let allowsOutside, isPartial: Bool

    init(_ options: RewardOptions) throws(RewardError) {
        tags = options.words("tags") ?? ["think", "answer"]
        guard !tags.isEmpty, tags.allSatisfy({ !$0.isEmpty && !$0.contains(where: { "<>/ ".contains($0) }) }) else {
            throw options.bad("tags", "names such as think|answer")
        }
        allowsOutside = try options.isOn("outside")
        isPartial = try options.isOn("partial")
    }

    func score(_ item: RewardItem, index: Int) -> RewardScore {
        var rest = Substring(item.completion)
        var (good, outside) = (0, "")
        for tag in tags {
            guard Self.count("<\(tag)>", in: item.completion) == 1, Self.count("</\(tag)>", in: item.completion) == 1,
                let open = rest.range(of: "<\(tag)>"), let close = rest[open.upperBound...].range(of: "</\(tag)>")
            else { continue }
            outside += rest[..<open.lowerBound]
            if !Self.isBlank(rest[open.upperBound..<close.lowerBound]) { good += 1 }
            rest = rest[close.upperBound...]
        }
        let isWhole = good == tags.count && (allowsOutside || Self.isBlank(Substring(outside) + rest))
        let share = Double(good) / Double(tags.count)
        return RewardScore(isWhole ? 1 : isPartial && good < tags.count ? share : 0, components: [.init("tags", share)])
    }

    private static func count(_ part: String, in text: String) -> Int { text.components(separatedBy: part).count - 1 }
    private static func isBlank(_ text: Substring) -> Bool { text.allSatisfy(\.isWhitespace) }
}
