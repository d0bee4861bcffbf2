import Serialization
import Tensors

/// One completion as it is asked of a server: a request of its own, so that its seed, its failure and its retry are its own too.
struct RemoteRequest: Equatable {
    var path: String
    var body: JSON
    /// Which of the run's requests it is: its seed and its retries' jitter follow from it.
    var number: UInt64

    var isChat: Bool { path == "/chat/completions" }

    /// - Throws: `RolloutError.unsupported` for sampling rules that servers do not have.
    init(
        _ prompt: RolloutPrompt, sample: Int, sampling: Sampling, step: Int, model: String, givesTokens: Bool, logProbs: Bool, engine: String
    ) throws(RolloutError) {
        number = UInt64(truncatingIfNeeded: step) << 48 ^ UInt64(truncatingIfNeeded: prompt.index) << 20 ^ UInt64(truncatingIfNeeded: sample)
        var members: [(String, JSON)] = [("model", .string(model))]
        switch prompt.content {
        case let .tokens(ids): members.append(("prompt", .array(ids.map { .integer(Int($0)) })))
        case let .text(text): members.append(("prompt", .string(text)))
        case let .messages(messages): members.append(("messages", .array(messages)))
        }
        if case .messages = prompt.content { path = "/chat/completions" } else { path = "/completions" }
        var random = RandomStream(seed: sampling.seed, stream: number, index: 0)
        members += [
            ("max_tokens", .integer(sampling.maxNewTokens)), ("temperature", .number(sampling.temperature)), ("top_p", .number(sampling.topP)), ("n", 1),
            ("stream", false), ("seed", .integer(Int(random.next() >> 33))),
        ]
        members += try Self.rules(sampling, engine: engine)
        if givesTokens { members.append(("return_token_ids", true)) }
        if logProbs { members += path == "/completions" ? [("logprobs", 1)] : [("logprobs", true)] }
        body = .object(JSONObject(members))
    }

    /// Rules beyond OpenAI's own, named as vLLM and llama.cpp name them, only where they are in use.
    private static func rules(_ sampling: Sampling, engine: String) throws(RolloutError) -> [(String, JSON)] {
        var members: [(String, JSON)] = []
        if sampling.topK > 0 { members.append(("top_k", .integer(sampling.topK))) }
        if sampling.minP > 0 { members.append(("min_p", .number(sampling.minP))) }
        if sampling.repetitionPenalty != 1 { members.append(("repetition_penalty", .number(sampling.repetitionPenalty))) }
        if sampling.presencePenalty != 0 { members.append(("presence_penalty", .number(sampling.presencePenalty))) }
        if sampling.frequencyPenalty != 0 { members.append(("frequency_penalty", .number(sampling.frequencyPenalty))) }
        if sampling.minNewTokens > 0 { members.append(("min_tokens", .integer(sampling.minNewTokens))) }
        if !sampling.stopStrings.isEmpty { members.append(("stop", .array(sampling.stopStrings.map { .string($0) }))) }
        if !sampling.stopIDs.isEmpty { members.append(("stop_token_ids", .array(sampling.stopIDs.map { .integer(Int($0)) }))) }
        let missing = [
            ("typical sampling", sampling.typicalP < 1), ("an epsilon cutoff", sampling.epsilonCutoff > 0), ("an eta cutoff", sampling.etaCutoff > 0),
            ("a rule against repeated n-grams", sampling.noRepeatNgram > 0),
        ]
        if let rule = missing.first(where: \.1) { throw .unsupported(engine: engine, what: rule.0, needs: "a model on this machine (--model)") }
        return members
    }
}
