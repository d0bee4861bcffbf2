import Checkpoints
import Foundation
import Models
import Serialization
import Synchronization
import Tensors
import Tokenizers

/// OpenAI's protocol for one model: routes, requests, answers.
final class ServeAPI: Sendable {
    /// What requests are checked against.
    struct Model: Sendable {
        var name: String
        var text: CheckpointText
        var tokenizer: Tokenizer
        var config: ModelConfig
        var stopIDs: [Int32]
        /// Keys and values of one token take this many bytes.
        var cachePrecision: Precision
        /// Bytes that one request's keys and values may take.
        var memory = Int(clamping: ProcessInfo.processInfo.physicalMemory / 4)
        var seed: UInt64
    }

    let model: Model
    let queue: ServeQueue
    private let started = Int(Date().timeIntervalSince1970)
    private let count = Atomic<Int>(0)

    init(_ model: Model, queue: ServeQueue) { (self.model, self.queue) = (model, queue) }

    /// Answers one exchange, whatever it asks.
    func handle(_ exchange: HTTPExchange) {
        do throws(ServeError) {
            switch (exchange.method, exchange.target) {
            case ("GET", "/health"), ("GET", "/v1/health"), ("GET", "/"):
                let load = queue.load
                exchange.send(["status": "ok", "model": .string(model.name), "running": .integer(load.running), "waiting": .integer(load.waiting)])
            case ("GET", "/v1/models"): exchange.send(["object": "list", "data": [card]])
            case ("GET", "/v1/models/" + model.name): exchange.send(card)
            case ("POST", "/v1/completions"): try complete(exchange, isChat: false)
            case ("POST", "/v1/chat/completions"): try complete(exchange, isChat: true)
            case (_, "/v1/completions"), (_, "/v1/chat/completions"), (_, "/v1/models"), (_, "/health"):
                throw ServeError(status: 405, message: "\(exchange.method.prefix(20)) is not the way to ask \(exchange.target).", code: "method_not_allowed")
            default: throw ServeError.notFound(exchange.target)
            }
        } catch { exchange.send(error) }
    }

    private var card: JSON {
        [
            "id": .string(model.name), "object": "model", "created": .integer(started), "owned_by": "align",
            "max_model_len": .integer(model.config.maxPositions),
        ]
    }

    // MARK: Completions

    private func complete(_ exchange: HTTPExchange, isChat: Bool) throws(ServeError) {
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(exchange.body) } catch { throw ServeError(status: 400, message: "The body is no valid JSON: \(error).") }
        let request = try ServeRequest(json, isChat: isChat)
        if let asked = request.model, asked != model.name {
            throw ServeError(status: 404, message: "The model '\(asked.prefix(100))' does not exist here; '\(model.name)' does.", parameter: "model", code: "model_not_found")
        }
        let number = count.add(1, ordering: .relaxed).oldValue
        let call = try call(request, number: number)
        try queue.add(call)
        let answer = ServeAnswer(request, call, model: model.name, number: number, created: Int(Date().timeIntervalSince1970), tokenizer: model.tokenizer)
        if request.streams { stream(answer, call, exchange) } else { try whole(answer, call, exchange) }
    }

    private func call(_ request: ServeRequest, number: Int) throws(ServeError) -> ServeQueue.Call {
        var prompts: [[Int32]] = []
        for prompt in request.prompts { prompts.append(try tokens(prompt)) }
        var sampling = request.sampling
        let (longest, room) = (prompts.map(\.count).max() ?? 0, model.config.maxPositions)
        let name = request.isChat ? "messages" : "prompt"
        guard longest < room else {
            throw ServeError(
                status: 400, message: "'\(name)' has \(longest) tokens; the model's context is \(room).", parameter: name, code: "context_length_exceeded")
        }
        sampling.maxNewTokens = min(request.maxTokens ?? (request.isChat ? room : 16), room - longest)
        guard sampling.minNewTokens <= sampling.maxNewTokens else {
            throw .bad("min_tokens", found: "\(sampling.minNewTokens)", expected: "at most the longest length, \(sampling.maxNewTokens)")
        }
        sampling.stopIDs = Array(Set(sampling.stopIDs + (request.ignoresEnd ? [] : model.stopIDs))).sorted()
        let needed = CacheMemory.bytes(model.config, prompts: prompts.map(\.count), sampling: sampling, precision: model.cachePrecision)
        guard needed <= model.memory else {
            throw ServeError(status: 400, message: "Its keys and values would take \(byteCount(needed)), more than \(byteCount(model.memory)). Ask for fewer or shorter completions.")
        }
        return ServeQueue.Call(prompts: prompts, sampling: sampling, stream: stream(of: request.seed, number: number), feed: CompletionFeed())
    }

    /// Where a request's draws come from: its own seed; without one the server's, and the request's number.
    private func stream(of seed: Int?, number: Int) -> Int {
        if let seed, (0..<ServeQueue.seeds - ServeRequest.mostPrompts).contains(seed) { return seed }
        var random = RandomStream(seed: seed.map { UInt64(bitPattern: Int64($0)) } ?? model.seed, stream: seed == nil ? 1 : 2, index: UInt64(seed == nil ? number : 0))
        return ServeQueue.seeds + Int(random.next() >> 22)  // below 2⁴⁰ + 2⁴²: `Generator` shifts it by 20 bits
    }

    private func tokens(_ prompt: ServeRequest.Prompt) throws(ServeError) -> [Int32] {
        switch prompt {
        case let .text(text):
            let ids = model.tokenizer.promptTokens(text)
            guard !ids.isEmpty else { throw .bad("prompt", found: "an empty text", expected: "text with at least one token") }
            return ids
        case let .tokens(ids):
            guard !ids.isEmpty else { throw .bad("prompt", found: "an empty list", expected: "at least one token id") }
            if let id = ids.first(where: { Int($0) >= model.config.vocabularySize }) {
                throw .bad("prompt", found: "the token id \(id)", expected: "ids below \(model.config.vocabularySize), the model's vocabulary")
            }
            return ids
        case let .messages(messages):
            do { return try model.text.tokens(of: messages) } catch let error as CommandError {
                throw ServeError(status: 400, message: "\(error)", parameter: "messages", code: "no_chat_template")
            } catch { throw ServeError(status: 400, message: "The chat template refuses the messages: \(error)", parameter: "messages") }
        }
    }

    // MARK: Answers

    private func whole(_ answer: ServeAnswer, _ call: ServeQueue.Call, _ exchange: HTTPExchange) throws(ServeError) {
        var texts = [String](repeating: "", count: call.completions)
        var finished = [CompletionFeed.Finished?](repeating: nil, count: call.completions)
        var left = call.completions
        while left > 0 {
            for event in call.feed.take() {
                switch event {
                case let .text(choice, text): texts[choice] += text
                case let .finished(choice, what):
                    finished[choice] = what
                    left -= 1
                case let .failed(error): throw error
                }
            }
            if left > 0, exchange.isAbandoned { return call.feed.cancel() }
        }
        let all = finished.compactMap { $0 }
        if all.contains(where: { $0.reason == .cancelled }) { throw ServeError.unavailable("The server is shutting down.") }
        exchange.send(answer.whole(texts, all))
    }

    private func stream(_ answer: ServeAnswer, _ call: ServeQueue.Call, _ exchange: HTTPExchange) {
        exchange.beginStream()
        for choice in 0..<call.completions { if let event = answer.start(choice) { exchange.event(event) } }
        var finished: [CompletionFeed.Finished] = []
        while finished.count < call.completions {
            for event in call.feed.take() {
                switch event {
                case let .text(choice, text): exchange.event(answer.piece(choice, text))
                case let .finished(choice, what):
                    finished.append(what)
                    exchange.event(what.reason == .cancelled ? ServeError.unavailable("The server is shutting down.").json : answer.end(choice, what))
                case let .failed(error):
                    exchange.event(error.json)
                    return exchange.endStream()
                }
            }
            // What cannot be written is wanted by nobody.
            if finished.count < call.completions, exchange.isAbandoned || !exchange.isWritable { return call.feed.cancel() }
        }
        if let usage = answer.usage(finished) { exchange.event(usage) }
        exchange.endStream()
    }
}
