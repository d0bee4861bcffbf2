import Checkpoints
import Serialization
import Tensors
import Tokenizers

/// The engine on this machine: the kernels that training runs, or weights as a file stores them.
public final class LocalRollouts: Rollouts {
    public private(set) var model: RolloutModel
    public var givesTokens: Bool { true }
    /// Called with prompt (`RolloutPrompt.index`), sample and each token as it is drawn; false cancels that completion, which is then dropped.
    public var onToken: ((_ prompt: Int, _ sample: Int, _ token: Int32) -> Bool)?

    private let generator: Generator
    private let text: CheckpointText?

    /// - Parameters:
    ///   - decoder: A transformer's sees every update of that model's weights.
    ///   - text: Tokenizer and template: for prompts that are no ids, stop strings, and the rollouts' text.
    ///   - hash: Of the weights, where known.
    ///   - cacheRows: Tokens whose keys and values are kept at a time.
    ///   - sequences: Completions that take a step together.
    public init(_ decoder: Decoder, text: CheckpointText?, name: String, hash: String? = nil, cacheRows: Int = 16_384, sequences: Int = 64) {
        generator = Generator(decoder: decoder, tokenizer: text?.tokenizer, cacheRows: cacheRows, sequences: sequences)
        self.text = text
        model = RolloutModel(name: name, hash: hash, arithmetic: "\(decoder.arithmetic) \(decoder.compute.path.rawValue)")
    }

    /// Takes the policy's weights: none are copied where the decoder works with that very policy.
    public func synchronize(_ policy: any Policy, version: Int) throws {
        try generator.decoder.take(policy, engine: model.name)
        (model.version, model.hash) = (version, nil)
    }

    /// - Throws: Also `ModelError` for prompts that do not fit the model, `CancellationError` once the task is cancelled.
    public func sample(_ request: RolloutRequest, _ take: (Rollout) throws -> Bool) throws {
        let jobs = try request.prompts.map { Generator.Job(tokens: try tokens($0.content), index: $0.index, samples: $0.samples) }
        try generator.run(
            jobs, sampling: request.sampling, step: request.step,
            onToken: { [onToken] place, token in
                !Task.isCancelled && (onToken?(jobs[place.job].index, place.sample, token) ?? true)
            },
            onFinish: { place, completion in
                try Task.checkCancellation()
                guard completion.finishReason != .cancelled else { return true }
                return try take(rollout(jobs[place.job], place.sample, completion, request))
            })
    }

    private func rollout(_ job: Generator.Job, _ sample: Int, _ completion: Completion, _ request: RolloutRequest) -> Rollout {
        Rollout(
            prompt: job.index, sample: sample, promptTokens: job.tokens, tokens: completion.tokens, logProbs: completion.logProbs,
            text: text?.tokenizer.map { CompletionText.of(completion.tokens, $0, request.sampling) } ?? "",
            finishReason: completion.finishReason, model: model, sampling: request.sampling, step: request.step)
    }

    private func tokens(_ content: RolloutPrompt.Content) throws -> [Int32] {
        func required<Part>(_ part: Part?, _ what: String, _ needs: String) throws -> Part {
            guard let part else { throw RolloutError.unsupported(engine: model.name, what: what, needs: needs) }
            return part
        }
        switch content {
        case let .tokens(ids): return ids
        case let .text(string): return try required(text?.tokenizer, "a prompt of text", "a tokenizer").promptTokens(string)
        case let .messages(messages):
            let tokenizer = try required(text?.tokenizer, "a prompt of messages", "a tokenizer")
            let template = try required(text?.chatTemplate, "a prompt of messages", "a chat template")
            return tokenizer.encode(try template.render(messages: messages, addGenerationPrompt: true, variables: tokenizer.templateVariables))
        }
    }
}

extension Tokenizer {
    /// Tokens of raw text that is to be continued, with the begin-of-sequence token where the tokenizer adds one.
    public func promptTokens(_ text: String) -> [Int32] {
        var ids = encode(text, addSpecialTokens: true)
        // Some tokenizers close every text; a prompt goes on.
        if let eos = eosID, ids.last == eos, encode(text).last != eos { ids.removeLast() }
        return ids
    }
}
