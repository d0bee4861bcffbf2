import Foundation
import Serialization
import Synchronization
import Testing

@testable import Models

@Suite("Remote rollouts") struct RemoteRolloutsTests {
    private func request(_ count: Int, samples: Int = 1, _ change: (inout Sampling) -> Void = { _ in }) -> RolloutRequest {
        var sampling = Sampling()
        (sampling.maxNewTokens, sampling.samplesPerPrompt, sampling.seed) = (16, samples, 5)
        change(&sampling)
        return RolloutRequest((0..<count).map { .text("p\($0)") }, sampling: sampling)
    }

    private func rollouts(_ server: OpenAIServer, model: String? = nil, concurrency: Int = 4, logProbs: Bool? = nil) throws -> RemoteRollouts {
        var options = RemoteRollouts.Options()
        (options.concurrency, options.logProbs) = (concurrency, logProbs)
        return try RemoteRollouts(server, model: model, options: options)
    }

    /// Lists models; every other path as `answer` says.
    private func server(_ answer: @escaping @Sendable (FakeServer.Request) -> FakeServer.Reply) throws -> FakeServer {
        try FakeServer { $0.path == "/v1/models" ? .json(200, FakeServer.models) : answer($0) }
    }

    @Test("every completion of every prompt comes, by number, whatever order answers come in") func all() async throws {
        let fake = try server { request in
            usleep(UInt32(request.number * 7919 % 5) * 2000)
            return .json(200, FakeServer.completion(request))
        }
        defer { fake.stop() }
        let found = try await rollouts(openAI(fake)).sample(request(7, samples: 3))
        #expect(found.map { "\($0.prompt).\($0.sample) \($0.text)" } == (0..<7).flatMap { p in (0..<3).map { "\(p).\($0) re: p\(p)" } })
        #expect(found.allSatisfy { $0.finishReason == .stopToken(nil) && $0.model.name == "\(fake.address)#tiny" && $0.tokens == nil })
        #expect(fake.mostAtOnce <= 4, "\(fake.mostAtOnce) at once")
        let seeds = fake.requests.compactMap { $0.body?["seed"]?.int }
        #expect(Set(seeds).count == 21, "\(seeds.sorted())")
    }

    @Test("seeds follow from (seed, step, prompt, sample), not from the call") func seeds() async throws {
        let fake = try server { .json(200, FakeServer.completion($0)) }
        defer { fake.stop() }
        let engine = try rollouts(openAI(fake))
        func seeds(_ request: RolloutRequest) async throws -> [String: Int] {
            let before = fake.requests.count
            _ = try await engine.sample(request)
            return Dictionary(uniqueKeysWithValues: fake.requests[before...].compactMap { r in r.body?["prompt"]?.string.flatMap { p in r.body?["seed"]?.int.map { (p, $0) } } })
        }
        let whole = try await seeds(request(5))
        var part = request(5)
        part.prompts = [part.prompts[3]]
        #expect(try await seeds(part)["p3"] == whole["p3"], "\(whole)")
        var later = request(5)
        later.step = 1
        #expect(try await seeds(later)["p3"] != whole["p3"])
    }

    @Test("a busy or failing server is asked again, with growing pauses, as long as it says") func retries() async throws {
        let tries = Mutex<[String: Int]>([:])
        let slept = Mutex<[Double]>([])
        let fake = try server { request in
            let prompt = request.body?["prompt"]?.string ?? ""
            let count = tries.withLock { tries in
                tries[prompt, default: 0] += 1
                return tries[prompt] ?? 0
            }
            switch (prompt, count) {
            case ("p0", 1): return .json(429, ["error": ["message": "slow down"]], [("Retry-After", "7")])
            case ("p0", 2): return .json(500, ["error": "oops"])
            case ("p1", 1): return .raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"choices\": [")  // dies in the middle of its answer
            case ("p1", 2): return .raw("")  // and before it
            default: return .json(200, FakeServer.completion(request))
            }
        }
        defer { fake.stop() }
        let found = try await rollouts(openAI(fake) { seconds in slept.withLock { $0.append(seconds) } }, concurrency: 1).sample(request(3))
        #expect(found.map(\.text) == ["re: p0", "re: p1", "re: p2"])
        let all = slept.withLock { $0.reduce(0, +) }
        // 7 s for the header; 0.5–1 s after p0's second failure; 0.25–0.5 and 0.5–1 s for p1's two.
        #expect((8.25...9.5).contains(all), "slept \(all) s")
    }

    @Test("jitter follows from seed, request and attempt, between half and all of the doubled delay") func jitter() {
        var policy = RetryPolicy()
        for attempt in 0..<12 {
            let full = min(0.5 * pow(2, Double(attempt)), 30)
            let delay = policy.delay(afterAttempt: attempt, request: 3)
            #expect((full / 2...full).contains(delay), "attempt \(attempt): \(delay) of \(full)")
            #expect(delay == policy.delay(afterAttempt: attempt, request: 3))
        }
        let first = policy.delay(afterAttempt: 2, request: 3)
        #expect(policy.delay(afterAttempt: 2, request: 4) != first)
        policy.seed = 1
        #expect(policy.delay(afterAttempt: 2, request: 3) != first)
    }

    @Test("one completion that cannot be had costs that one; the others are handed over, and the error counts") func incomplete() async throws {
        let fake = try server { request in
            request.body?["prompt"] == "p2" ? .json(400, ["error": ["message": "context too long"]]) : .json(200, FakeServer.completion(request))
        }
        defer { fake.stop() }
        var kept: [Int] = []
        do {
            try await rollouts(openAI(fake)).sample(request(6)) { kept.append($0.prompt); return true }
            Issue.record("no error")
        } catch let RemoteError.incomplete(_, failed, all, first) {
            #expect(failed == 1 && all == 6 && first.contains("context too long"), "\(failed) of \(all): \(first)")
        }
        #expect(kept.sorted() == [0, 1, 3, 4, 5], "\(kept)")
        #expect(fake.requests.count { $0.body?["prompt"] == "p2" } == 1, "a refusal is not repeated")
    }

    @Test("finished samples are not asked for again") func resumed() async throws {
        let fake = try server { .json(200, FakeServer.completion($0)) }
        defer { fake.stop() }
        var part = request(2, samples: 3)
        part.prompts[0].samples = [1]
        part.prompts[1].samples = []
        let found = try await rollouts(openAI(fake)).sample(part)
        #expect(found.map { [$0.prompt, $0.sample] } == [[0, 1]])
        #expect(fake.requests.count == 2, "\(fake.requests.map(\.path))")
    }

    @Test("whoever takes no more ends the call") func stopped() async throws {
        let fake = try server { .json(200, FakeServer.completion($0)) }
        defer { fake.stop() }
        var count = 0
        try await rollouts(openAI(fake), concurrency: 1).sample(request(1000)) { _ in
            count += 1
            return count < 3
        }
        #expect(count == 3)
        #expect(fake.requests.count < 1000, "\(fake.requests.count)")
    }

    // MARK: Servers that are wrong

    @Test("malformed answers name the field", arguments: [
        ("{}", "choices"), ("[1]", "choices"), ("{\"choices\": []}", "choices"), ("{\"choices\": [{\"finish_reason\": \"stop\"}]}", "text"),
        ("{\"choices\": [{\"text\": 3, \"finish_reason\": \"stop\"}]}", "text"), ("{\"choices\": [{\"text\": \"half an ans\", \"finish_reason\": null}]}", "finish_reason"),
        ("{\"choices\": [{\"text\": \"a\"}]}", "finish_reason"), ("{\"choices\": [{\"text\": \"a\", \"finish_reason\": \"stop\", \"token_ids\": [1, -2]}]}", "token_ids"),
        ("{\"choices\": [{\"text\": \"a\", \"finish_reason\": \"stop\", \"logprobs\": {\"token_logprobs\": [0.5]}}]}", "logprobs"),
        ("{\"choices\": [{\"text\": \"a\", \"finish_reason\": \"stop\", \"token_ids\": [1], \"logprobs\": {\"token_logprobs\": [-1, -2]}}]}", "logprobs"),
        ("{\"error\": {\"message\": \"out of memory\"}}", "error"), ("not json", "body"),
    ])
    func malformed(body: String, field: String) async throws {
        let fake = try server { _ in .raw("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)") }
        defer { fake.stop() }
        do {
            _ = try await rollouts(openAI(fake)).sample(request(1))
            Issue.record("no error for \(body)")
        } catch let error as RemoteError {
            guard case let .malformed(_, found, _, _) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(found.contains(field), "\(error)")
        }
    }

    @Test("a server that is not there, is slow, has another model, wants a key, or is none") func refusals() async throws {
        #expect { _ = try rollouts(OpenAIServer(try HTTPURL("http://127.0.0.1:1"), key: nil, retry: RetryPolicy(), sleep: { _ in })) } throws: {
            if case RemoteError.http(.cannotConnect) = $0 { true } else { false }
        }
        let slow = try server { _ in .silence }
        defer { slow.stop() }
        let engine = try rollouts(openAI(slow, attempts: 2, answerSeconds: 1.5))
        await #expect { _ = try await engine.sample(request(1)) } throws: { "\($0)".contains("after 2 attempts") && "\($0)".contains("1.5 seconds") }

        let named = try server { .json(200, FakeServer.completion($0, model: "other")) }
        defer { named.stop() }
        #expect { _ = try rollouts(openAI(named), model: "big") } throws: { $0 as? RemoteError == .wrongModel(server: named.address, asked: "big", served: ["tiny"]) }
        let wrong = try rollouts(openAI(named))
        await #expect { _ = try await wrong.sample(request(3)) } throws: { $0 as? RemoteError == .wrongModel(server: named.address, asked: "tiny", served: ["other"]) }

        let locked = try FakeServer { _ in .json(401, ["error": ["message": "no key"]]) }
        defer { locked.stop() }
        #expect { _ = try rollouts(openAI(locked)) } throws: { "\($0)".contains("ALIGN_API_KEY") && "\($0)".contains("no key") }
        #expect(locked.requests.count == 1)
        let ssh = try FakeServer { _ in .raw("SSH-2.0-OpenSSH_9.2\r\n") }
        defer { ssh.stop() }
        #expect { _ = try rollouts(openAI(ssh)) } throws: { $0 is RemoteError }
    }

    @Test("a server that dies for good ends the call; it is not asked a thousand times") func down() async throws {
        let fake = try server { $0.number < 10 ? .json(200, FakeServer.completion($0)) : .json(503, ["error": "gone"]) }
        defer { fake.stop() }
        var kept = 0
        await #expect(throws: RemoteError.self) { try await rollouts(openAI(fake, attempts: 2), concurrency: 2).sample(request(1000)) { _ in kept += 1; return true } }
        #expect(kept >= 8, "\(kept)")
        #expect(fake.requests.count < 60, "\(fake.requests.count)")
    }

    @Test("longer waits than we wait end the call") func busy() async throws {
        let fake = try server { _ in .json(429, ["error": "full"], [("Retry-After", "86400")]) }
        defer { fake.stop() }
        let engine = try rollouts(openAI(fake))
        await #expect { _ = try await engine.sample(request(1)) } throws: { if case RemoteError.busy(_, 86_400, 300) = $0 { true } else { false } }
    }

    // MARK: What is sent

    @Test("messages go to chat, ids and texts to completions, rules by their names, only where in use") func bodies() async throws {
        let fake = try server { .json(200, FakeServer.completion($0)) }
        defer { fake.stop() }
        let engine = try rollouts(openAI(fake, path: "/v1/"), concurrency: 1, logProbs: true)
        var request = request(0) { ($0.topK, $0.minP, $0.stopStrings, $0.temperature) = (7, 0.25, ["END"], 0.5) }
        request.prompts = [RolloutPrompt(.tokens([3, 4]), index: 0), RolloutPrompt(.messages([["role": "user", "content": "hi"]]), index: 1)]
        _ = try await engine.sample(request)
        let (ids, chat) = (fake.requests[1], fake.requests[2])
        #expect(ids.path == "/v1/completions" && ids.body?["prompt"] == [3, 4] && ids.body?["top_k"] == 7 && ids.body?["min_p"] == 0.25, "\(ids)")
        #expect(ids.body?["stop"] == ["END"] && ids.body?["temperature"] == 0.5 && ids.body?["max_tokens"] == 16 && ids.body?["logprobs"] == 1)
        #expect(ids.body?["repetition_penalty"] == nil && ids.body?["return_token_ids"] == nil)
        #expect(chat.path == "/v1/chat/completions" && chat.body?["messages"] == [["role": "user", "content": "hi"]] && chat.body?["logprobs"] == true, "\(chat)")
        request.sampling.typicalP = 0.5
        await #expect(throws: RolloutError.self) { try await engine.sample(request) }
        #expect(throws: RolloutError.self) { try engine.synchronize(try tinyModel(tinyConfig(layers: 1)), version: 1) }
    }

    @Test("token ids and log-probs are read where the server gives them") func tokens() async throws {
        let extra: [(String, JSON)] = [("token_ids", [5, 2]), ("prompt_token_ids", [9]), ("logprobs", ["token_logprobs": [-0.5, -1]]), ("stop_reason", 2)]
        let fake = try FakeServer {
            $0.path == "/v1/models" ? .json(200, ["data": [["id": "tiny", "owned_by": "vllm"]]]) : .json(200, FakeServer.completion($0, extra: extra))
        }
        defer { fake.stop() }
        let engine = try rollouts(openAI(fake))
        #expect(engine.givesTokens)
        let found = try await engine.sample(request(1))[0]
        #expect(found.tokens == [5, 2] && found.promptTokens == [9] && found.logProbs == [-0.5, -1] && found.finishReason == .stopToken(2), "\(found)")
    }

    @Test("keys come from the environment, go nowhere in the clear, and show nowhere") func keys() throws {
        let local = try HTTPURL("http://127.0.0.1:1"), far = try HTTPURL("http://example.org"), secure = try HTTPURL("https://example.org")
        let environment = ["OPENAI_API_KEY": "sk-one"]
        #expect(try APIKey.fromEnvironment(for: local, environment) != nil)
        #expect(try APIKey.fromEnvironment(for: secure, environment) != nil)
        #expect(try APIKey.fromEnvironment(for: far, environment) == nil)
        #expect(try APIKey.fromEnvironment(for: far, ["ALIGN_API_KEY": "k"]) != nil)
        #expect(throws: RemoteError.badKey(variable: "ALIGN_API_KEY")) { try APIKey.fromEnvironment(for: far, ["ALIGN_API_KEY": "k\r\nX: y"]) }
        let fake = try FakeServer { request in
            request.head["authorization"] == "Bearer sk-one" ? .json(403, ["error": ["message": "key sk-one is not allowed here"]]) : .json(200, FakeServer.models)
        }
        defer { fake.stop() }
        let key = try APIKey.fromEnvironment(for: local, environment)
        var shown = ""
        dump(key, to: &shown)
        print(key as Any, to: &shown)
        #expect(!shown.contains("sk-one"), "\(shown)")
        #expect { _ = try openAI(fake, key: key).models() } throws: { "\($0)".contains("is not allowed") && !"\($0)".contains("sk-one") }
    }
}
