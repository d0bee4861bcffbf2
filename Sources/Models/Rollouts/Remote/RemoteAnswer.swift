import Serialization

/// What a server said of one completion.
struct RemoteAnswer: Equatable {
    var model: String?
    var text: String
    var finishReason: FinishReason
    var promptTokens: [Int32]?
    var tokens: [Int32]?
    var logProbs: [Double]?

    /// Reads the answer of `/completions` or `/chat/completions` to a request for one completion.
    /// - Throws: `RemoteError.malformed`, naming the field; a completion without its end counts as one.
    init(_ json: JSON, isChat: Bool, server: String) throws(RemoteError) {
        func malformed(_ field: String, _ value: JSON?, _ expected: String) -> RemoteError {
            let found = value.map { value in value.string.map { "\"\($0.prefix(60))\"" } ?? value.kind } ?? "missing"
            return .malformed(server: server, field: field, found: found, expected: expected)
        }
        if let message = json["error"]?["message"]?.string ?? json["error"]?.string {
            throw .malformed(server: server, field: "\"error\"", found: "\"\(message.prefix(200))\"", expected: "no error in an answer of status 200")
        }
        guard let choices = json["choices"]?.array, choices.count == 1 else {
            throw malformed("\"choices\"", json["choices"], "a list of one completion")
        }
        let choice = choices[0]
        model = json["model"]?.string
        if isChat {
            let content = choice["message"]?["content"]
            // An answer that says nothing may be null.
            guard let text = content?.string ?? (content?.isNull == true ? "" : nil) else { throw malformed("\"message.content\"", content, "a text") }
            self.text = text
        } else {
            guard let text = choice["text"]?.string else { throw malformed("\"text\"", choice["text"], "a text") }
            self.text = text
        }
        finishReason = try Self.finishReason(choice) { malformed("\"finish_reason\"", choice["finish_reason"], "\"stop\" or \"length\": the completion is not whole") }
        func ids(_ field: String) throws(RemoteError) -> [Int32]? {
            guard let value = choice[field] ?? json[field], !value.isNull else { return nil }
            let ids = value.array?.compactMap { $0.int.flatMap { Int32(exactly: $0) } }
            guard let ids, ids.count == value.array?.count, ids.allSatisfy({ $0 >= 0 }) else { throw malformed("\"\(field)\"", value, "a list of token ids") }
            return ids
        }
        promptTokens = try ids("prompt_token_ids")
        tokens = try ids("token_ids")
        logProbs = try Self.logProbs(choice["logprobs"], isChat: isChat) { malformed("\"logprobs\"", $0, "one finite number for each token, at most 0") }
        if let tokens, let count = logProbs?.count, count != tokens.count {
            throw .malformed(server: server, field: "\"logprobs\"", found: "of \(count) tokens", expected: "as many as \"token_ids\", \(tokens.count)")
        }
    }

    private static func finishReason(_ choice: JSON, _ malformed: () -> RemoteError) throws(RemoteError) -> FinishReason {
        switch choice["finish_reason"]?.string {
        case "length", "max_tokens": return .length
        case "stop", "eos", "eos_token", "end_turn", "stop_sequence":
            // vLLM says what stopped it: a string, an id, or null for the model's own end.
            if let text = choice["stop_reason"]?.string { return .stopString(text) }
            return .stopToken(choice["stop_reason"]?.int.flatMap { Int32(exactly: $0) })
        default: throw malformed()
        }
    }

    /// Log-probs of the completion's tokens, nats: `{"token_logprobs": […]}` of completions, `{"content": [{"logprob"}]}` of chats.
    private static func logProbs(_ value: JSON?, isChat: Bool, _ malformed: (JSON?) -> RemoteError) throws(RemoteError) -> [Double]? {
        guard let value, !value.isNull else { return nil }
        let list = isChat || value["content"] != nil ? value["content"]?.array?.map { $0["logprob"] } : value["token_logprobs"]?.array?.map { Optional($0) }
        guard let list else { return nil }
        var logProbs: [Double] = []
        for entry in list {
            guard let logProb = entry?.double, logProb.isFinite, logProb <= 1e-6 else { throw malformed(entry) }
            logProbs.append(min(logProb, 0))
        }
        return logProbs
    }
}
