import Serialization

/// Where completions come from: prompts in, completions out as they finish. One interface for the model that trains on this
/// machine and for a server that samples elsewhere; a stage or a command is written against this and nothing else.
///
/// What holds for every engine:
/// - A rollout is handed over as soon as it is finished, in no promised order; (`prompt`, `sample`) says which one it is. Who keeps
///   each as it comes loses nothing to an interruption, and asks for the missing ones again (`RolloutPrompt.samples`).
/// - The local engine's draws follow from (`Sampling.seed`, `RolloutRequest.step`, `RolloutPrompt.index`, sample, token) alone: the
///   same completions in any batch, order, number of threads, part or resumed call. A server gets a seed made of the same numbers
///   and promises what it promises.
/// - `logProbs` are those of the whole distribution at the sampling temperature, before filters and penalties. They are the
///   engine's own: ratios and KL use `RolloutLogProbs`, which the training kernels compute.
///
/// Engines belong to one task at a time.
public protocol Rollouts: AnyObject {
    /// Who samples now: what every rollout carries from here on.
    var model: RolloutModel { get }
    /// Whether rollouts carry token ids and log-probs. Stages that need ratios refuse an engine without.
    var givesTokens: Bool { get }

    /// Makes the engine sample from `policy` as it is now; rollouts carry `version` from here on.
    ///
    /// The local engine shares the policy's weights or copies them, a server is sent them.
    /// - Parameter version: Counted by the caller, such as the optimizer steps behind the policy.
    /// - Throws: `RolloutError.cannotSynchronize` from an engine that cannot take weights: it serves off-policy stages only.
    func synchronize(_ policy: any Policy, version: Int) async throws

    /// Samples every completion that the request names and hands each to `take` when it is finished.
    /// - Parameter take: Called one rollout at a time; false ends the call, unfinished completions are dropped.
    /// - Throws: `RolloutError` for a request the engine cannot serve; what `take` throws.
    func sample(_ request: RolloutRequest, _ take: (Rollout) throws -> Bool) async throws
}

extension Rollouts {
    /// All completions of a request, by prompt and sample.
    public func sample(_ request: RolloutRequest) async throws -> [Rollout] {
        var rollouts: [Rollout] = []
        try await sample(request) {
            rollouts.append($0)
            return true
        }
        return rollouts.sorted { ($0.prompt, $0.sample) < ($1.prompt, $1.sample) }
    }
}

/// Prompts and how they are continued.
public struct RolloutRequest: Sendable, Equatable {
    public var prompts: [RolloutPrompt]
    /// Its seed is the run's; `stopIDs` are the caller's to fill (the checkpoint's, as a rule).
    public var sampling: Sampling
    /// The training step that asks: another one draws other numbers.
    public var step: Int

    public init(prompts: [RolloutPrompt], sampling: Sampling, step: Int = 0) {
        (self.prompts, self.sampling, self.step) = (prompts, sampling, step)
    }

    /// `samplesPerPrompt` completions of each prompt, prompts counted from `first`.
    public init(_ prompts: [RolloutPrompt.Content], first: Int = 0, sampling: Sampling, step: Int = 0) {
        self.init(
            prompts: prompts.enumerated().map { RolloutPrompt($0.element, index: first + $0.offset, samples: Array(0..<max(sampling.samplesPerPrompt, 1))) },
            sampling: sampling, step: step)
    }
}

/// One prompt of a request.
public struct RolloutPrompt: Sendable, Equatable {
    public enum Content: Sendable, Equatable {
        /// Ids of the engine's own tokenizer; the only form that every training stage uses.
        case tokens([Int32])
        /// Raw text to be continued.
        case text(String)
        /// `{"role", "content"}` each, for the engine's chat template.
        case messages([JSON])
    }
    public var content: Content
    /// Its place in the order of all prompts of the run, from 0: draws follow from it, not from the place in the request.
    public var index: Int
    /// Which samples are wanted, by number from 0: all of `0..<n`, or those that an interrupted call did not finish.
    public var samples: [Int]

    public init(_ content: Content, index: Int, samples: [Int] = [0]) {
        (self.content, self.index, self.samples) = (content, index, samples)
    }
}

/// One finished completion, and where it comes from.
public struct Rollout: Sendable, Equatable {
    /// `RolloutPrompt.index`, and the sample's number.
    public var prompt: Int
    public var sample: Int
    /// The prompt as the model read it; nil from an engine without token ids.
    public var promptTokens: [Int32]?
    /// Ids of the completion, the token that ends it included; nil from an engine without token ids.
    public var tokens: [Int32]?
    /// log p of each token in nats, at the sampling temperature (1 when greedy), over the whole vocabulary before filters and penalties.
    public var logProbs: [Double]?
    /// The tokens' text without special tokens, cut before a stop string.
    public var text: String
    public var finishReason: FinishReason
    public var model: RolloutModel
    /// Everything that its draws follow from, `prompt` and `sample` aside.
    public var sampling: Sampling
    public var step: Int

    public init(
        prompt: Int, sample: Int, promptTokens: [Int32]?, tokens: [Int32]?, logProbs: [Double]?, text: String, finishReason: FinishReason,
        model: RolloutModel, sampling: Sampling, step: Int
    ) {
        (self.prompt, self.sample, self.promptTokens, self.tokens, self.logProbs) = (prompt, sample, promptTokens, tokens, logProbs)
        (self.text, self.finishReason, self.model, self.sampling, self.step) = (text, finishReason, model, sampling, step)
    }
}

/// Why a completion ended.
public enum FinishReason: Sendable, Equatable {
    /// One of `Sampling.stopIDs` was drawn; nil where a server does not say which.
    case stopToken(Int32?)
    /// One of `Sampling.stopStrings` appeared.
    case stopString(String)
    /// The longest length, or the model's context.
    case length
    /// Its reader wanted no more.
    case cancelled

    /// OpenAI's word: `stop` or `length`; `cancelled` for what nobody waited for.
    public var name: String {
        switch self {
        case .stopToken, .stopString: "stop"
        case .length: "length"
        case .cancelled: "cancelled"
        }
    }
}

/// Who sampled.
public struct RolloutModel: Sendable, Equatable {
    /// A path, or `URL#model`.
    public var name: String
    /// Of config and weights, where known (`Checkpoint.contentHash`); nil once the weights have changed.
    public var hash: String?
    /// What computed: precision and kernel path, such as "bf16 amx"; nil for a server.
    public var arithmetic: String?
    /// Of the policy, by its last `synchronize`; 0 before.
    public var version: Int

    public init(name: String, hash: String? = nil, arithmetic: String? = nil, version: Int = 0) {
        (self.name, self.hash, self.arithmetic, self.version) = (name, hash, arithmetic, version)
    }
}

/// A request that an engine cannot serve.
public enum RolloutError: Error, Equatable, CustomStringConvertible {
    /// - Parameter remedy: A whole sentence.
    case cannotSynchronize(engine: String, reason: String, remedy: String)
    /// A prompt or a sampling rule of a form that needs what the engine has not (a tokenizer, a chat template).
    case unsupported(engine: String, what: String, needs: String)
    /// Ratios were asked of an engine whose rollouts have no token ids.
    case noTokens(engine: String)
    /// The engine failed: a server that does not answer, or not as agreed.
    case failed(engine: String, reason: String, remedy: String)

    public var description: String {
        switch self {
        case let .cannotSynchronize(engine, reason, remedy): "\(engine) cannot sample from the policy: \(reason). \(remedy)"
        case let .unsupported(engine, what, needs): "\(engine): \(what) needs \(needs)."
        case let .noTokens(engine): "\(engine) gives no token ids, which ratios and KL are computed from. Sample on this machine, or train off-policy."
        case let .failed(engine, reason, remedy): "\(engine): \(reason). \(remedy)"
        }
    }
}
