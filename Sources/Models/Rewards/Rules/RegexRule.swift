import Foundation
import Synchronization

/// Whether a pattern is found. Patterns may be anybody's: matching is stopped after so many steps.
struct RegexRule: RewardRule {
    static let name = "regex"
    static let options = ["pattern", "match", "case"]
    static let help = "1 if pattern=REGEX is found, else 0 (match=anywhere|whole|none; case=keep|ignore); ICU's syntax"
    /// Characters of a completion; ICU keeps its way back on a heap that grows with them.
    static let characterLimit = 1 << 20
    /// Reports of ICU, one each 10,000 steps of its engine: a few tenths of a second.
    static let reportLimit = 2000

    let pattern: NSRegularExpression
    let match: String

    init(_ options: RewardOptions) throws(RewardError) {
        guard let source = options.text("pattern"), !source.isEmpty else {
            throw .badSpec(spec: options.spec, found: "rule:regex without a pattern", expected: "rule:regex,pattern=REGEX")
        }
        match = try options.choice("match", of: ["anywhere", "whole", "none"])
        let flags: NSRegularExpression.Options = try options.choice("case", of: ["keep", "ignore"]) == "ignore" ? [.caseInsensitive] : []
        do { pattern = try NSRegularExpression(pattern: match == "whole" ? "\\A(?:\(source))\\z" : source, options: flags) } catch {
            throw options.bad("pattern", "a regular expression in ICU's syntax")
        }
    }

    func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore {
        let text = item.completion as NSString
        guard text.length <= Self.characterLimit else {
            throw .tooLong(reward: "rule:regex", item: index, characters: text.length, limit: Self.characterLimit)
        }
        let found = Atomic<Bool>(false)
        let reports = Atomic<Int>(0)
        pattern.enumerateMatches(in: item.completion, options: .reportProgress, range: NSRange(location: 0, length: text.length)) { result, _, stop in
            if result != nil { found.store(true, ordering: .relaxed) }
            let isOver = reports.add(1, ordering: .relaxed).newValue > Self.reportLimit
            if result != nil || isOver { stop.pointee = true }
        }
        let isFound = found.load(ordering: .relaxed)
        guard isFound || reports.load(ordering: .relaxed) <= Self.reportLimit else {
            throw .tooManySteps(reward: "rule:regex", item: index, pattern: String(pattern.pattern.prefix(80)), steps: Self.reportLimit * 10_000)
        }
        return RewardScore(isFound != (match == "none") ? 1 : 0)
    }
}
