import Serialization

/// A completion that is to be scored, with what is known of it.
public struct RewardItem: Sendable, Equatable {
    public var prompt: RolloutPrompt.Content
    public var completion: String
    /// Ids of prompt and completion, of the policy's tokenizer; nil where only texts are known.
    public var promptTokens: [Int32]?
    public var tokens: [Int32]?
    /// nil where nobody wrote it down.
    public var finishReason: FinishReason?
    /// The reference answer.
    public var reference: String?
    /// The row's other columns.
    public var columns: JSONObject

    public init(
        prompt: RolloutPrompt.Content, completion: String, promptTokens: [Int32]? = nil, tokens: [Int32]? = nil, finishReason: FinishReason? = nil,
        reference: String? = nil, columns: JSONObject = JSONObject()
    ) {
        (self.prompt, self.completion, self.promptTokens, self.tokens) = (prompt, completion, promptTokens, tokens)
        (self.finishReason, self.reference, self.columns) = (finishReason, reference, columns)
    }

    /// The prompt as one text: of messages the last of the user's.
    var question: String {
        switch prompt {
        case let .text(text): text
        case let .messages(messages): (messages.last { $0["role"] == "user" } ?? messages.last)?["content"]?.string ?? ""
        case .tokens: ""
        }
    }

    /// The prompt as the outside world takes it: a text, messages or ids.
    var promptJSON: JSON {
        switch prompt {
        case let .text(text): .string(text)
        case let .messages(messages): .array(messages)
        case let .tokens(ids): .array(ids.map { .integer(Int($0)) })
        }
    }
}

/// What a reward says of one completion.
public struct RewardScore: Sendable, Equatable {
    public var value: Double
    /// What the value is made of, by name, for records.
    public var components: [Component]

    public struct Component: Sendable, Equatable {
        public var name: String
        public var value: Double
        /// Whether it is what a reward of that name says, rather than a detail.
        public var isReward: Bool
        public init(_ name: String, _ value: Double, isReward: Bool = false) { (self.name, self.value, self.isReward) = (name, value, isReward) }
    }

    public init(_ value: Double, components: [Component] = []) { (self.value, self.components) = (value, components) }
}

/// Scores completions: the larger, the better. One task at a time uses a reward.
public protocol Reward: AnyObject {
    /// As it was asked for, without keys: part of records.
    var name: String { get }
    /// One score for each item, in order; each depends on its item alone, unless the reward's documentation says otherwise.
    /// - Throws: `RewardFailure`, with the scores of the items before the one that failed.
    func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore]
}

/// A reward that could not score all items: those of the first items, and why not the rest.
public struct RewardFailure: Error, CustomStringConvertible {
    public var done: [RewardScore]
    public var reason: RewardError
    public init(_ reason: RewardError, done: [RewardScore] = []) { (self.reason, self.done) = (reason, done) }
    public var description: String { "\(reason)" }
}

public enum RewardError: Error, Equatable, Sendable {
    /// A specification cannot be read.
    case badSpec(spec: String, found: String, expected: String)
    /// What a rule needs of a completion is not known.
    case missing(reward: String, item: Int, field: String, remedy: String)
    /// A pattern backtracks beyond all measure.
    case tooManySteps(reward: String, item: Int, pattern: String, steps: Int)
    case tooLong(reward: String, item: Int, characters: Int, limit: Int)
    case tooManyTokens(reward: String, item: Int, tokens: Int, limit: Int)
    case notFinite(reward: String, item: Int, found: String)
    /// A program could not be started, died, was silent for too long or wrote something else.
    case program(program: String, item: Int, reason: String)
    case judge(judge: String, item: Int, reason: String)
    case server(RemoteError)
    /// Completions are queued for people; scores come once they have been labelled.
    case awaitingLabels(queued: Int, of: Int)
    case unavailable(reward: String, reason: String)
    case cannotLoad(reward: String, reason: String)
}

extension RewardError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .badSpec(spec, found, expected): "reward \"\(spec)\": found \(found), expected \(expected)."
        case let .missing(reward, item, field, remedy): "\(reward): completion \(item + 1) has no \(field). \(remedy)"
        case let .tooManySteps(reward, item, pattern, steps):
            "\(reward): on completion \(item + 1) the pattern \"\(pattern)\" was stopped after \(steps) steps. Write it without nested repetitions such as (a+)+."
        case let .tooLong(reward, item, characters, limit): "\(reward): completion \(item + 1) has \(characters) characters; the limit is \(limit)."
        case let .tooManyTokens(reward, item, tokens, limit): "\(reward): completion \(item + 1) has \(tokens) tokens with its prompt; the model's context is \(limit)."
        case let .notFinite(reward, item, found): "\(reward): completion \(item + 1) scored \(found), expected a finite number."
        case let .program(program, item, reason): "exec:\(program): completion \(item + 1): \(reason)."
        case let .judge(judge, item, reason): "judge:\(judge): completion \(item + 1): \(reason)."
        case let .server(error): "\(error)"
        case let .awaitingLabels(queued, all): "human: \(queued) of \(all) completions wait for a label. Give them with 'align label', then run this again."
        case let .unavailable(reward, reason): "\(reward): \(reason)."
        case let .cannotLoad(reward, reason): "\(reward): \(reason)"
        }
    }
}
