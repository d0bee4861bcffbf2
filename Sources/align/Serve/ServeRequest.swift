import Models
import Serialization

/// The body of a completion's request, checked member by member: none is ignored in silence.
struct ServeRequest: Equatable {
    enum Prompt: Equatable {
        case text(String)
        case tokens([Int32])
        case messages([JSON])
    }
    var prompts: [Prompt]
    var isChat: Bool
    var model: String?
    /// Without seed, stop ids and the longest length, which the server fills.
    var sampling = Sampling()
    /// nil: as many as the context has room for in chats, 16 in completions, as OpenAI's.
    var maxTokens: Int?
    var seed: Int?
    var streams = false
    var includesUsage = false
    var givesLogProbs = false
    var givesTokens = false
    var ignoresEnd = false

    static let mostPrompts = 256, mostSamples = 128, mostStops = 16

    /// Members that change no answer.
    private static let harmless: Set<String> = ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"]
    /// Members that would, at any other value than this.
    private static let inert: [String: [JSON]] = [
        "best_of": [1], "echo": [false], "suffix": [""], "logit_bias": [[:]], "tools": [[]], "tool_choice": ["none", "auto"], "response_format": [["type": "text"]],
        "top_logprobs": [0], "parallel_tool_calls": [true, false], "functions": [[]], "mirostat_mode": [0], "repeat_penalty": [1], "typical_p": [1], "use_beam_search": [false],
    ]

    /// - Throws: `ServeError` of status 400, naming the member.
    init(_ body: JSON, isChat: Bool) throws(ServeError) {
        guard let object = body.object else { throw .bad("body", found: body.kind, expected: "an object") }
        self.isChat = isChat
        prompts = []
        sampling.temperature = 1
        for (name, value) in object.members where !value.isNull {
            if try set(name, value) { continue }
            if Self.harmless.contains(name) { continue }
            if let fine = Self.inert[name] {
                if fine.contains(value) || value.double.map({ number in fine.contains { $0.double == number } }) == true { continue }
                throw ServeError(status: 400, message: "'\(name)' is not served here. Leave it out.", parameter: name, code: "unsupported_parameter")
            }
            throw ServeError(status: 400, message: "There is no parameter '\(name.prefix(60))'. Leave it out.", parameter: name, code: "unknown_parameter")
        }
        guard !prompts.isEmpty else { throw .bad(isChat ? "messages" : "prompt", found: "missing or empty", expected: isChat ? "a list of messages" : "a text") }
        if includesUsage, !streams { throw .bad("stream_options", found: "given without a stream", expected: "\"stream\": true with it") }
    }

    /// - Returns: Whether the name is known.
    private mutating func set(_ name: String, _ value: JSON) throws(ServeError) -> Bool {
        switch name {
        case "model": model = try text(name, value)
        case "messages" where isChat: prompts = [.messages(try messages(value))]
        case "prompt" where !isChat: prompts = try Self.prompts(value)
        case "max_tokens", "max_completion_tokens": maxTokens = try integer(name, value, in: 1...10_000_000)
        case "min_tokens": sampling.minNewTokens = try integer(name, value, in: 0...10_000_000)
        case "n": sampling.samplesPerPrompt = try integer(name, value, in: 1...Self.mostSamples)
        case "seed": seed = try integer(name, value, in: Int.min...Int.max)
        case "temperature":
            let given = try number(name, value, in: 0...100)
            sampling.temperature = given < 1e-3 ? 0 : given  // below, draws are the most probable token's
        case "top_p": sampling.topP = try number(name, value, in: 0...1)
        case "min_p": sampling.minP = try number(name, value, in: 0...1)
        case "top_k": sampling.topK = max(0, try integer(name, value, in: -1...Int(Int32.max)))  // −1 is vLLM's word for all
        case "presence_penalty": sampling.presencePenalty = try number(name, value, in: -100...100)
        case "frequency_penalty": sampling.frequencyPenalty = try number(name, value, in: -100...100)
        case "repetition_penalty": sampling.repetitionPenalty = try number(name, value, in: 0.01...100)
        case "stop": sampling.stopStrings = try stops(value)
        case "stop_token_ids": sampling.stopIDs = try Self.ids(name, value)
        case "ignore_eos": ignoresEnd = try flag(name, value)
        case "stream": streams = try flag(name, value)
        case "stream_options":
            guard let object = value.object else { throw .bad(name, found: value.kind, expected: "an object") }
            if let usage = object["include_usage"] { includesUsage = try flag("stream_options.include_usage", usage) }
        case "return_token_ids": givesTokens = try flag(name, value)
        case "logprobs":
            if isChat { givesLogProbs = try flag(name, value) } else {
                // 0 and 1: the drawn token's.
                givesLogProbs = true
                _ = try integer(name, value, in: 0...1)
            }
        default: return false
        }
        return true
    }

    // MARK: Values

    private func text(_ name: String, _ value: JSON) throws(ServeError) -> String {
        guard let text = value.string else { throw .bad(name, found: value.kind, expected: "a string") }
        return text
    }

    private func flag(_ name: String, _ value: JSON) throws(ServeError) -> Bool {
        guard let flag = value.bool else { throw .bad(name, found: value.kind, expected: "true or false") }
        return flag
    }

    private func integer(_ name: String, _ value: JSON, in range: ClosedRange<Int>) throws(ServeError) -> Int {
        guard let number = value.int, range.contains(number) else {
            throw .bad(name, found: value.double == nil ? value.kind : value.text(), expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private func number(_ name: String, _ value: JSON, in range: ClosedRange<Double>) throws(ServeError) -> Double {
        guard let number = value.double, range.contains(number) else {
            throw .bad(name, found: value.double == nil ? value.kind : value.text(), expected: "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private func stops(_ value: JSON) throws(ServeError) -> [String] {
        let texts = value.string.map { [$0] } ?? value.array?.compactMap(\.string)
        guard let texts, value.string != nil || texts.count == value.array?.count, texts.count <= Self.mostStops, !texts.contains("") else {
            throw .bad("stop", found: value.string == "" ? "an empty string" : value.kind, expected: "a string, or up to \(Self.mostStops) of them, none empty")
        }
        return texts
    }

    private static func ids(_ name: String, _ value: JSON) throws(ServeError) -> [Int32] {
        let ids = value.array?.compactMap { $0.int.flatMap { Int32(exactly: $0) } }
        guard let ids, ids.count == value.array?.count, ids.allSatisfy({ $0 >= 0 }) else { throw .bad(name, found: value.kind, expected: "a list of token ids") }
        return ids
    }

    private func messages(_ value: JSON) throws(ServeError) -> [JSON] {
        guard let list = value.array, !list.isEmpty else { throw .bad("messages", found: value.array == nil ? value.kind : "empty", expected: "a list of messages") }
        var messages: [JSON] = []
        for (index, message) in list.enumerated() {
            guard var object = message.object, object["role"]?.string != nil else {
                throw .bad("messages[\(index)]", found: message.kind, expected: "an object with \"role\" and \"content\"")
            }
            if let parts = object["content"]?.array {
                // Content in parts: texts joined; a model of text can take no other.
                let texts = parts.compactMap { $0["type"] == "text" ? $0["text"]?.string : nil }
                guard texts.count == parts.count else { throw .bad("messages[\(index)].content", found: "a part that is no text", expected: "parts of type text") }
                object["content"] = .string(texts.joined())
            }
            guard object["content"]?.string != nil || object["tool_calls"] != nil else {
                throw .bad("messages[\(index)].content", found: object["content"]?.kind ?? "missing", expected: "a string")
            }
            messages.append(.object(object))
        }
        return messages
    }

    /// A text, several texts, ids, or several lists of ids.
    private static func prompts(_ value: JSON) throws(ServeError) -> [Prompt] {
        if let text = value.string { return [.text(text)] }
        guard let list = value.array, !list.isEmpty else { throw .bad("prompt", found: value.array == nil ? value.kind : "an empty list", expected: "a text or a list of token ids") }
        if list[0].int != nil { return [.tokens(try ids("prompt", value))] }
        guard list.count <= mostPrompts else { throw .bad("prompt", found: "a list of \(list.count)", expected: "at most \(mostPrompts) prompts") }
        var prompts: [Prompt] = []
        for (index, item) in list.enumerated() {
            if let text = item.string { prompts.append(.text(text)) } else { prompts.append(.tokens(try ids("prompt[\(index)]", item))) }
        }
        return prompts
    }
}
