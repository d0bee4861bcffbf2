import Models
import Serialization
import Tokenizers

/// The JSON of an answer, whole or in pieces.
struct ServeAnswer {
    private let request: ServeRequest
    private let call: ServeQueue.Call
    private let common: [(String, JSON)]
    private let tokenizer: Tokenizer

    init(_ request: ServeRequest, _ call: ServeQueue.Call, model: String, number: Int, created: Int, tokenizer: Tokenizer) {
        (self.request, self.call, self.tokenizer) = (request, call, tokenizer)
        let object = request.isChat ? (request.streams ? "chat.completion.chunk" : "chat.completion") : "text_completion"
        common = [
            ("id", .string("\(request.isChat ? "chatcmpl" : "cmpl")-\(created)-\(number)")), ("object", .string(object)), ("created", .integer(created)),
            ("model", .string(model)),
        ]
    }

    private func message(_ choices: [JSON], _ more: [(String, JSON)] = []) -> JSON { .object(JSONObject(common + [("choices", .array(choices))] + more)) }

    private func choice(_ index: Int, _ said: (String, JSON), _ finished: CompletionFeed.Finished?) -> JSON {
        var members: [(String, JSON)] = [
            ("index", .integer(index)), said, ("logprobs", finished.map(logProbs) ?? .null), ("finish_reason", finished.map { .string($0.reason.name) } ?? .null),
        ]
        if let finished {
            // vLLM's members: what stopped it, null for the model's own end; and ids, where asked for.
            if case let .stopString(text) = finished.reason { members.append(("stop_reason", .string(text))) }
            if case let .stopToken(id?) = finished.reason, request.sampling.stopIDs.contains(id) { members.append(("stop_reason", .integer(Int(id)))) }
            if request.givesTokens {
                members.append(("token_ids", ids(finished.tokens)))
                members.append(("prompt_token_ids", ids(call.prompts[index / call.sampling.samplesPerPrompt])))
            }
        }
        return .object(JSONObject(members))
    }

    private func ids(_ tokens: [Int32]) -> JSON { .array(tokens.map { .integer(Int($0)) }) }

    // MARK: Whole

    /// - Parameter finished: By choice.
    func whole(_ texts: [String], _ finished: [CompletionFeed.Finished]) -> JSON {
        let choices = texts.indices.map { index in
            let text = JSON.string(texts[index])
            return choice(index, request.isChat ? ("message", ["role": "assistant", "content": text]) : ("text", text), finished[index])
        }
        return message(choices, [("usage", usage(of: finished))])
    }

    private func usage(of finished: [CompletionFeed.Finished]) -> JSON {
        // A prompt counts once, however many samples it has: it is read once.
        let (prompt, completion) = (call.prompts.reduce(0) { $0 + $1.count }, finished.reduce(0) { $0 + $1.tokens.count })
        return ["prompt_tokens": .integer(prompt), "completion_tokens": .integer(completion), "total_tokens": .integer(prompt + completion)]
    }

    // MARK: In pieces

    /// The piece that says who speaks, in chats.
    func start(_ index: Int) -> JSON? {
        guard request.isChat else { return Optional.none }  // a plain nil would be JSON's null
        return message([choice(index, ("delta", ["role": "assistant", "content": ""]), nil)])
    }

    func piece(_ index: Int, _ text: String) -> JSON {
        message([choice(index, request.isChat ? ("delta", ["content": .string(text)]) : ("text", .string(text)), nil)])
    }

    /// The last piece of a completion, with all its log-probs and ids.
    func end(_ index: Int, _ finished: CompletionFeed.Finished) -> JSON {
        message([choice(index, request.isChat ? ("delta", [:]) : ("text", ""), finished)])
    }

    func usage(_ finished: [CompletionFeed.Finished]) -> JSON? {
        guard request.includesUsage else { return Optional.none }
        return message([], [("usage", usage(of: finished))])
    }

    // MARK: Log-probs

    /// Of the drawn tokens, in nats, at the request's temperature, before filters and penalties.
    private func logProbs(_ finished: CompletionFeed.Finished) -> JSON {
        guard request.givesLogProbs else { return .null }
        var decoder = StreamingDecoder(tokenizer, skipSpecialTokens: false)
        let pieces = finished.tokens.map { decoder.append($0) }
        if request.isChat {
            return [
                "content": .array(zip(pieces, finished.logProbs).map { piece, logProb in
                    ["token": .string(piece), "logprob": .number(logProb), "bytes": .array(piece.utf8.map { .integer(Int($0)) }), "top_logprobs": []]
                })
            ]
        }
        var offset = 0
        let offsets = pieces.map { piece -> JSON in
            defer { offset += piece.unicodeScalars.count }
            return .integer(offset)
        }
        return [
            "tokens": .array(pieces.map { .string($0) }), "token_logprobs": .array(finished.logProbs.map { .number($0) }), "top_logprobs": nil,
            "text_offset": .array(offsets),
        ]
    }
}
