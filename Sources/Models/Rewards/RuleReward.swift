/// A verifier: a score by a rule that anybody can check. A new rule is one file and one line of `RuleReward.rules`.
protocol RewardRule: Sendable {
    /// The word after `rule:`.
    static var name: String { get }
    static var options: [String] { get }
    /// One line, with options and defaults.
    static var help: String { get }
    init(_ options: RewardOptions) throws(RewardError)
    /// - Parameter index: The item's, for messages.
    func score(_ item: RewardItem, index: Int) throws(RewardError) -> RewardScore
}

/// `rule:NAME[,OPTION=VALUE …]`
final class RuleReward: Reward {
    static let rules: [any RewardRule.Type] = [
        ExactRule.self, MathRule.self, RegexRule.self, JSONRule.self, LengthRule.self, RepetitionRule.self, FormatRule.self, StopRule.self,
    ]

    let name: String
    private let rule: any RewardRule

    init(_ rule: any RewardRule, name: String) { (self.rule, self.name) = (rule, name) }

    func scores(of items: [RewardItem]) throws(RewardFailure) -> [RewardScore] {
        var scores: [RewardScore] = []
        for (index, item) in items.enumerated() {
            do throws(RewardError) { scores.append(try rule.score(item, index: index)) } catch { throw RewardFailure(error, done: scores) }
        }
        return scores
    }

    static func rule(named name: String, spec: String) throws(RewardError) -> any RewardRule.Type {
        if let rule = rules.first(where: { $0.name == name }) { return rule }
        throw .badSpec(spec: spec, found: "the rule \"\(name)\"", expected: "one of \(rules.map { $0.name }.joined(separator: ", "))")
    }
}

extension RewardKind {
    static let rule = RewardKind(
        name: "rule", form: "rule:NAME", hasClosedOptions: true,
        options: { body, spec throws(RewardError) in
            try RuleReward.rule(named: String(body.prefix { $0 != "," }.trimmingSpaces), spec: spec).options
        },
        make: { term, _ throws(RewardError) in
            let rule = try RuleReward.rule(named: term.argument, spec: term.options.spec)
            return RuleReward(try rule.init(term.options), name: term.text)
        })
}

/// What every reward specification may say, for help texts.
public enum RewardHelp {
    /// One line for each rule.
    public static var rules: [(name: String, help: String)] { RuleReward.rules.map { ("rule:" + $0.name, $0.help) } }
}

extension RewardItem {
    /// The reference answer, for rules that compare with it.
    func requiredReference(_ rule: String, index: Int) throws(RewardError) -> String {
        guard let reference else {
            throw .missing(reward: "rule:\(rule)", item: index, field: "reference answer", remedy: "Give the rows one, in a column \"reference\", \"answer\", \"solution\", \"target\" or \"ground_truth\".")
        }
        return reference
    }
}
