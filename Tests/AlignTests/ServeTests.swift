import Foundation
import Models
import Serialization
import Testing

@testable import align

/// `align serve` as a process, on a port of its own.
private final class Served {
    let child: Child
    let address: String

    init(_ folder: TinyFolder) throws {
        child = try Child(["serve", "--model", folder.model, "--port", "0", "--served-model", "tiny", "--precision", "fp32", "--threads", "1"])
        var address: String?
        for _ in 0..<6000 where address == nil {
            usleep(10_000)
            let line = child.err.split(separator: "\n").first { $0.hasPrefix("serving tiny at ") }
            address = line?.split(separator: " ").first { $0.hasPrefix("http") }.map { String($0.dropLast(3)) }
        }
        self.address = try #require(address, "\(child.err)")
    }

    func send(_ method: String, _ path: String, _ body: String = "") throws -> HTTPResponse {
        try HTTPClient(try HTTPURL(address)).send(HTTPRequest(method, path, body: Array(body.utf8)))
    }

    func post(_ path: String, _ body: JSON) throws -> JSON {
        let response = try send("POST", path, body.text())
        #expect(response.status == 200, "\(response.status): \(String(decoding: response.body, as: UTF8.self))")
        return try JSON.parse(response.body)
    }

    /// The events of a stream, the last but one parsed.
    func events(_ path: String, _ body: JSON) throws -> [JSON] {
        let text = String(decoding: try send("POST", path, body.text()).body, as: UTF8.self)
        let lines = text.components(separatedBy: "\n\n").filter { !$0.isEmpty }
        #expect(lines.last == "data: [DONE]", "\(text.suffix(200))")
        return try lines.dropLast().map { try JSON.parse(Array($0.dropFirst(6).utf8)) }
    }
}

@Suite("align serve") struct ServeTests {
    let folder: TinyFolder
    init() throws { folder = try TinyFolder() }

    @Test("greedy completions are the library's: text, ids, log-probs, counts") func greedy() throws {
        let served = try Served(folder)
        let json = try served.post("/v1/completions", ["model": "tiny", "prompt": "The", "max_tokens": 12, "temperature": 0, "logprobs": 1, "return_token_ids": true])
        var sampling = Sampling()
        (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, 12, [TinyFolder.end])
        let expected = try Generator(model: folder.transformer()).generate(prompts: [[TinyFolder.begin, 84, 104, 101]], sampling: sampling)[0]
        let choice = try #require(json["choices"]?[0])
        #expect(choice["token_ids"]?.array?.integers == expected.tokens.map { Int($0) }, "\(json.text()) and \(expected.tokens)")
        #expect(choice["logprobs"]?["token_logprobs"]?.array?.numbers == expected.logProbs && choice["prompt_token_ids"]?.array?.integers == [256, 84, 104, 101])
        #expect(json["usage"] == ["prompt_tokens": 4, "completion_tokens": .integer(expected.tokens.count), "total_tokens": .integer(4 + expected.tokens.count)])
        #expect(choice["finish_reason"]?.string == expected.finishReason.name && json["model"] == "tiny")
    }

    @Test("a stream's pieces joined are the whole answer, for chats and completions, with n samples") func streams() throws {
        let served = try Served(folder)
        for (path, body) in [
            ("/v1/completions", ["prompt": "Once", "max_tokens": 20, "seed": 3, "n": 3]),
            ("/v1/chat/completions", ["messages": [["role": "user", "content": "hi"]], "max_tokens": 20, "seed": 4, "n": 2]),
        ] as [(String, JSON)] {
            let whole = try served.post(path, body)
            var streaming = try #require(body.object)
            (streaming["stream"], streaming["stream_options"]) = (true, ["include_usage": true])
            let events = try served.events(path, .object(streaming))
            for choice in try #require(whole["choices"]?.array) {
                let own = events.compactMap { $0["choices"]?[0] }.filter { $0["index"] == choice["index"] }
                let text = own.map { $0["text"]?.string ?? $0["delta"]?["content"]?.string ?? "" }.joined()
                #expect(text == choice["text"]?.string ?? choice["message"]?["content"]?.string, "\(text.debugDescription) and \(choice.text())")
                #expect(own.last?["finish_reason"] == choice["finish_reason"] && own.dropLast().allSatisfy { $0["finish_reason"] == JSON.null })
            }
            #expect(events.last?["usage"] == whole["usage"], "\(String(describing: events.last))")
        }
    }

    @Test("what a request says follows from its seed, not from its neighbours") func neighbours() throws {
        let served = try Served(folder)
        @Sendable func body(_ i: Int) -> JSON { ["prompt": .string("Prompt \(i % 3)"), "max_tokens": .integer(8 + i % 5), "seed": .integer(i), "temperature": i % 3 == 0 ? 0.6 : 1, "top_k": .integer(i % 4 * 20), "return_token_ids": true] }
        let alone = try (0..<12).map { try served.post("/v1/completions", body($0))["choices"] }
        let address = served.address
        let together = Together<JSON?>(count: 12)
        DispatchQueue.concurrentPerform(iterations: 12) { i in
            let response = try? HTTPClient(try HTTPURL(address)).send(HTTPRequest("POST", "/v1/completions", body: Array(body(i).text().utf8)))
            together.set(i, response.flatMap { try? JSON.parse($0.body)["choices"] } ?? nil)
        }
        #expect(together.values == alone)
        #expect(Set(alone.compactMap { $0?.text() }).count > 6)
    }

    @Test("stop strings are cut off and named") func stops() throws {
        let served = try Served(folder)
        let body: [(String, JSON)] = [("prompt", "Once"), ("max_tokens", 60), ("seed", 9)]
        let text = try #require(try served.post("/v1/completions", .object(JSONObject(body)))["choices"]?[0]?["text"]?.string)
        let characters = Array(text)
        try #require(characters.count > 12)
        let stop = String(characters[8...9])
        let cut = try #require(try served.post("/v1/completions", .object(JSONObject(body + [("stop", .string(stop))])))["choices"]?[0])
        #expect(cut["text"]?.string == text.components(separatedBy: stop)[0], "\(cut.text()) of \(text.debugDescription)")
        #expect(cut["finish_reason"] == "stop" && cut["stop_reason"]?.string == stop)
    }

    @Test("bad requests are answered as OpenAI's servers do", arguments: [
        ("POST", "/v1/completions", "{", 400), ("POST", "/v1/completions", "[]", 400), ("POST", "/v1/completions", "{}", 400), ("POST", "/v1/completions", "{\"prompt\": \"a\", \"model\": \"gpt\"}", 404),
        ("POST", "/v1/completions", "{\"prompt\": \"a\", \"temperature\": \"hot\"}", 400), ("POST", "/v1/completions", "{\"prompt\": \"a\", \"n\": 0}", 400),
        ("POST", "/v1/completions", "{\"prompt\": [999]}", 400), ("POST", "/v1/completions", "{\"prompt\": \"a\", \"tools\": [1]}", 400),
        ("POST", "/v1/completions", "{\"prompt\": \"a\", \"beams\": 4}", 400), ("POST", "/v1/chat/completions", "{\"messages\": []}", 400),
        ("POST", "/v1/chat/completions", "{\"messages\": [{\"role\": \"user\"}]}", 400), ("GET", "/v1/completions", "", 405), ("GET", "/nothing", "", 404), ("DELETE", "/v1/models", "", 405),
    ])
    func badRequests(method: String, path: String, body: String, status: Int) throws {
        let served = try Served(folder)
        let response = try served.send(method, path, body)
        let json = try JSON.parse(response.body)
        #expect(response.status == status && json["error"]?["message"]?.string?.isEmpty == false, "\(response.status): \(json.text())")
    }

    @Test("prompts beyond the context and bodies beyond the limit are refused; the server goes on") func limits() throws {
        let served = try Served(folder)
        let long = JSON.object(JSONObject([("prompt", .string(String(repeating: "a", count: 300)))])).text()
        let response = try served.send("POST", "/v1/completions", long)
        let code = try JSON.parse(response.body)["error"]?["code"]
        #expect(response.status == 400 && code == "context_length_exceeded", "\(response.status) \(code?.text() ?? "")")
        #expect(try served.send("POST", "/v1/completions", String(repeating: " ", count: 17 << 20)).status == 413)
        let health = try JSON.parse(try served.send("GET", "/health").body)
        #expect(health == ["status": "ok", "model": "tiny", "running": 0, "waiting": 0], "\(health.text())")
    }

    @Test("SIGTERM and SIGINT end it cleanly", arguments: [SIGTERM, SIGINT]) func signals(number: Int32) throws {
        let served = try Served(folder)
        _ = try served.post("/v1/completions", ["prompt": "x", "max_tokens": 1])
        kill(served.child.processID, number)
        let result = try served.child.wait()
        #expect(result.code == 0 && result.err.hasSuffix("stopped\n"), "\(result.code): \(result.err)")
        #expect(throws: HTTPError.self) { try served.send("GET", "/health") }
    }

    @Test("align generate --server gives what --model gives, goes on where a file ends, and takes its shard") func client() throws {
        let served = try Served(folder)
        let file = try folder.write("p.jsonl", (0..<7).map { "{\"prompt\": \"Number \($0)\"}\n" }.joined())
        let words = ["generate", "--prompts", file, "--temperature", "0", "--max-new-tokens", "10"]
        let remote = try Child(words + ["--json", "--server", served.address]).wait(), local = try Child(words + ["--json", "--model", folder.model, "--precision", "fp32"]).wait()
        #expect(remote.code == 0 && remote.out == local.out, "\(remote.err) \(remote.out) and \(local.out)")
        let shard = try Child(words + ["--json", "--server", served.address, "--shard", "2/3"]).wait()
        #expect(try shard.json().compactMap { $0["prompt_index"]?.int } == [1, 4], "\(shard.out)")
        let out = folder.path + "/out.jsonl"
        #expect(try Child(words + ["--out", out, "--server", served.address]).wait().code == 0)
        var lines = try String(contentsOfFile: out, encoding: .utf8).split(separator: "\n").map(String.init)
        #expect(lines.count == 7)
        lines.removeLast(3)
        try Data((lines.joined(separator: "\n") + "\n{\"pro").utf8).write(to: URL(fileURLWithPath: out))
        let resumed = try Child(words + ["--out", out, "--server", served.address]).wait()
        #expect(resumed.code == 0 && resumed.err.contains("4 of 7 completions are there already"), "\(resumed.err)")
        let rows = try String(contentsOfFile: out, encoding: .utf8).split(separator: "\n").map { try JSON.parse(Array($0.utf8)) }
        #expect(rows.compactMap { $0["prompt_index"]?.int }.sorted() == Array(0..<7))
        let down = try Child.run("generate", "--prompt", "x", "--server", "http://127.0.0.1:1", "--retries", "0")
        #expect(down.code == 1 && down.err.contains("cannot connect"), "\(down.code) \(down.err)")
    }

    private static let python = "/usr/bin/python3"
    @Test("Python's urllib reads it", .enabled(if: FileManager.default.isExecutableFile(atPath: python), "no python3 here")) func urllib() throws {
        let served = try Served(folder)
        let script = """
            import json, sys, urllib.request
            def ask(path, body):
                request = urllib.request.Request("\(served.address)" + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
                return urllib.request.urlopen(request, timeout=120)
            body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "seed": 1}
            whole = json.load(ask("/v1/chat/completions", body))["choices"][0]["message"]["content"]
            events = [line[6:].strip() for line in ask("/v1/chat/completions", dict(body, stream=True)) if line.startswith(b"data: ")]
            assert events[-1] == b"[DONE]", events
            joined = "".join(json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-1])
            assert joined == whole, (joined, whole)
            try: ask("/v1/completions", {"prompt": 3})
            except urllib.error.HTTPError as error: print(error.code, json.load(error)["error"]["param"])
            """
        let process = Process(), output = Pipe()
        process.executableURL = URL(fileURLWithPath: Self.python)
        process.arguments = ["-c", script]
        process.standardOutput = output
        try process.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0 && said == "400 prompt\n", "\(process.terminationStatus) \(said)")
    }
}

/// Results of iterations that run at once.
private final class Together<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var all: [Value?]
    init(count: Int) { all = Array(repeating: nil, count: count) }
    func set(_ index: Int, _ value: Value) { lock.withLock { all[index] = value } }
    var values: [Value] { lock.withLock { all.compactMap { $0 } } }
}
