import Foundation
import Serialization

/// Whether the completion is JSON, of the kind and with the members wanted.
struct JSONRule: RewardRule {
    static let name = "json"
    static let options = ["kind", "keys", "fenced"]
    static let help = "1 if the completion is valid JSON, else 0 (kind=any|object|array; keys=a|b: members it must have; fenced=true: a ```json block counts)"
    let kind: String
    let keys: [String]
    let isFenced: Bool

    init(_ options: RewardOptions) throws(RewardError) {
        kind = try options.choice("kind", of: ["any", "object", "array"])
        keys = options.words("keys") ?? []
        isFenced = try options.isOn("fenced")
    }

    func score(_ item: RewardItem, index: Int) -> RewardScore {
        var text = item.completion.trimmingCharacters(in: .whitespacesAndNewlines)
        if isFenced, let block = Self.block(of: text) { text = block }
        guard let json = try? JSON.parse(Array(text.utf8)) else { return RewardScore(0, components: [.init("valid", 0)]) }
        let isOfKind = kind == "object" || !keys.isEmpty ? json.object != nil : kind == "array" ? json.array != nil : true
        let hasKeys = keys.allSatisfy { json[$0] != nil }
        return RewardScore(isOfKind && hasKeys ? 1 : 0, components: [.init("valid", 1)])
    }

    /// The first fenced block's text.
    private static func block(of text: String) -> String? {
        guard let open = text.range(of: "```"), let line = text[open.upperBound...].firstIndex(of: "\n") else { return nil }
        let rest = text[text.index(after: line)...]
        return rest.range(of: "```").map { String(rest[..<$0.lowerBound]) }
    }
}
