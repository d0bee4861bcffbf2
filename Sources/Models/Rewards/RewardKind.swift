import Foundation

/// What rewards need from the program around them.
public struct RewardContext: Sendable {
    /// Reads the reward model of a folder.
    public var loadModel: (@Sendable (_ path: String) throws -> any Reward)?
    /// Where completions wait for people.
    public var labels: (any HumanQueue)?
    public var environment: [String: String] = ProcessInfo.processInfo.environment
    public var retry = RetryPolicy()
    public var isCancelled: @Sendable () -> Bool = { false }
    public init() {}
}

/// A word before the colon of a term, and what it makes. A new kind is one file and one line of `all`.
struct RewardKind: Sendable {
    var name: String
    /// `rule:NAME`, for messages.
    var form: String
    var takesArgument = true
    /// Whether the argument is a name, so that a comma in it is a mistyped option.
    var hasClosedOptions = false
    /// The options that a term of this body may have.
    var options: @Sendable (_ body: Substring, _ spec: String) throws(RewardError) -> [String]
    var make: @Sendable (RewardSpec.Term, RewardContext) throws(RewardError) -> any Reward

    static let all: [RewardKind] = [.rule, .exec, .judge, .human, .model]
}

extension RewardSpec {
    /// The reward itself: the term where there is one of weight 1 and without bounds, else the sum.
    /// - Throws: `RewardError`, also for models that cannot be read and programs that are not there.
    public func make(_ context: RewardContext) throws(RewardError) -> any Reward {
        var parts: [WeightedSum.Part] = []
        for term in terms {
            guard let kind = RewardKind.all.first(where: { $0.name == term.kind }) else { preconditionFailure("no kind \(term.kind)") }
            parts.append(WeightedSum.Part(reward: try kind.make(term, context), weight: term.weight, clip: term.clip))
        }
        if parts.count == 1, parts[0].weight == 1, parts[0].clip == nil, clip == nil { return parts[0].reward }
        return WeightedSum(parts, clip: clip, name: text)
    }
}
