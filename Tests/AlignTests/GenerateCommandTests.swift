import Foundation
import Models
import Serialization
import Tensors
import Testing

@testable import align

@Suite("align generate") struct GenerateCommandTests {
    let folder: TinyFolder
    init() throws { folder = try TinyFolder() }

    private func completions(_ prompts: [[Int32]], _ sampling: Sampling, threads: Int = 1) throws -> [Completion] {
        var sampling = sampling
        sampling.stopIDs = [TinyFolder.end]
        return try Generator(model: folder.transformer(threads: threads)).generate(prompts: prompts, sampling: sampling)
    }

    @Test("greedy is the same with one thread and two, and what the library gives") func greedy() throws {
        let words = ["generate", "--model", folder.model, "--prompt", "The", "--temperature", "0", "--max-new-tokens", "30", "--precision", "fp32", "--json"]
        let one = try Child(words + ["--threads", "1"]).wait(), two = try Child(words + ["--threads", "2"]).wait()
        #expect(one.code == 0 && one.out == two.out, "\(one.out) and \(two.out)")
        var sampling = Sampling()
        (sampling.temperature, sampling.maxNewTokens) = (0, 30)
        let expected = try completions([[TinyFolder.begin, 84, 104, 101]], sampling)[0]
        let json = try one.json()[0]
        #expect(json["prompt"] == "The" && json["finish_reason"]?.string == expected.finishReason.name)
        #expect(json["tokens"]?.array?.integers == expected.tokens.map { Int($0) }, "\(json.text()) and \(expected.tokens)")
        #expect(json["token_logprobs"]?.array?.numbers == expected.logProbs)
    }

    @Test("a single prompt's stream is the completion of --json") func stream() throws {
        let words = ["generate", "--model", folder.model, "--prompt", "Once", "--seed", "5", "--max-new-tokens", "40"]
        let (text, json) = (try Child(words).wait(), try Child(words + ["--json"]).wait())
        let completion = try #require(try json.json()[0]["completion"]?.string)
        let line = completion.hasSuffix("\n") ? completion : completion + "\n"
        #expect(text.code == 0 && text.out == line, "\(text.out.debugDescription) and \(line.debugDescription)")
    }

    @Test("many prompts: in order, and drawn as in one call") func many() throws {
        let prompts = (0..<40).map { i in [Int32](repeating: Int32(65 + i % 20), count: 1 + i % 7) }
        let file = try folder.write("prompts.jsonl", prompts.map { "{\"prompt_ids\": \($0)}\n" }.joined())
        let result = try Child.run(
            "generate", "--model", folder.model, "--prompts", file, "--seed", "3", "--max-new-tokens", "9", "--precision", "fp32", "--json")
        var sampling = Sampling()
        (sampling.seed, sampling.maxNewTokens) = (3, 9)
        let expected = try completions(prompts, sampling, threads: 2)
        let rows = try result.json()
        #expect(rows.count == 40 && rows.map { $0["prompt"]?.array?.count } == prompts.map(\.count))
        for (row, completion) in zip(rows, expected) {
            #expect(row["tokens"]?.array?.integers == completion.tokens.map { Int($0) }, "\(row.text()) and \(completion.tokens)")
        }
    }

    @Test("texts, messages and ids; --chat makes a text a user message") func shapes() throws {
        let file = try folder.write("mixed.jsonl", """
            {"prompt": "hi"}
            {"messages": [{"role": "user", "content": "hi"}]}
            {"prompt_ids": [256, 104, 105]}
            """)
        let words = ["generate", "--model", folder.model, "--prompts", file, "--temperature", "0", "--max-new-tokens", "6", "--json"]
        let plain = try Child(words).wait().json().map { $0["tokens"] }, chat = try Child(words + ["--chat"]).wait().json().map { $0["tokens"] }
        #expect(plain[0] == plain[2] && chat[0] == chat[1] && plain[1] == chat[1] && plain[0] != plain[1], "\(plain), \(chat)")
        let text = try Child(Array(words.dropLast())).wait().out
        #expect(text.hasPrefix("==> \(file):1 <==\n") && text.contains("\n==> \(file):3 <==\n"), "\(text)")
    }

    @Test("rows that do not fit the model are named: exit 65") func badRows() throws {
        let long = "{\"prompt_ids\": \([Int](repeating: 65, count: 256))}"
        for (row, found) in [("{\"x\": 1}", "\"x\""), ("{\"prompt_ids\": [258]}", "token id 258"), (long, "256 tokens"), ("{", "JSON")] {
            let file = try folder.write("bad.jsonl", "{\"prompt\": \"hi\"}\n" + row + "\n")
            let result = try Child.run("generate", "--model", folder.model, "--prompts", file)
            #expect(result.code == 65 && result.err.contains("bad.jsonl:2: ") && result.err.contains(found), "exit \(result.code): \(result.err)")
            #expect(result.out.isEmpty)
        }
        #expect(try Child.run("generate", "--model", folder.model, "--prompts", "/nowhere/prompts.jsonl").code == 66)
        let skipped = try Child.run(
            "generate", "--model", folder.model, "--prompts", folder.write("skip.jsonl", "{\"prompt\": \"hi\"}\n[]\n"), "--on-bad-row", "skip", "--json",
            "--max-new-tokens", "2")
        #expect(skipped.code == 0 && skipped.lines.count == 1 && skipped.err.contains("skip.jsonl:2"), "exit \(skipped.code): \(skipped.err)")
    }

    @Test("a prompt too long for the model, a model without template, a reward model") func refusals() throws {
        let long = try Child.run("generate", "--model", folder.model, "--prompt", String(repeating: "a", count: 256))
        #expect(long.code == 64 && long.err.contains("257 tokens"), "exit \(long.code): \(long.err)")
        let bare = try TinyFolder(hasTemplate: false)
        let chat = try Child.run("generate", "--model", bare.model, "--prompt", "hi", "--chat")
        #expect(chat.code == 65 && chat.err.contains("no chat template"), "exit \(chat.code): \(chat.err)")
        let reward = try TinyFolder(architecture: "LlamaForSequenceClassification")
        let refused = try Child.run("generate", "--model", reward.model, "--prompt", "hi")
        #expect(refused.code == 65 && refused.err.contains("reward model"), "exit \(refused.code): \(refused.err)")
    }

    @Test("keys and values that no machine holds are refused before they are allocated") func memory() throws {
        let config = try folder.transformer().config
        var sampling = Sampling()
        sampling.maxNewTokens = 1000
        // 2 (keys, values) · 4 bytes · 2 layers · 2 heads of 8 · 32 rows a block; 4 blocks of prompt, 5 of the 155 tokens left of the context
        func bytes(_ precision: Precision) -> Int { CacheMemory.bytes(config, prompts: [100], sampling: sampling, precision: precision) }
        #expect(bytes(.fp32) == 9 * 8192 && bytes(.bf16) == 9 * 4096, "\(bytes(.fp32)) and \(bytes(.bf16))")
        func check(_ limit: Int) throws { try CacheMemory.check(config, prompts: [100], sampling: sampling, precision: .fp32, command: "generate", limit: limit) }
        try check(9 * 8192)
        #expect(throws: UsageError.self) { try check(9 * 8192 - 1) }
        // A thousand such prompts share one cache of 16384 rows.
        let many = CacheMemory.bytes(config, prompts: Array(repeating: 100, count: 1000), sampling: sampling, precision: .fp32)
        #expect(many == 512 * 8192, "\(many) bytes")
    }

    private func rows(_ path: String) throws -> [JSON] {
        try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { try JSON.parse(String($0)) }
    }

    @Test("--out has every completion once, and goes on where it was cut") func resumes() throws {
        let prompts = try folder.write("out-prompts.jsonl", (0..<12).map { "{\"prompt\": \"p\($0)\"}\n" }.joined())
        let words = ["generate", "--model", folder.model, "--prompts", prompts, "--n", "3", "--max_tokens", "12", "--seed", "4", "--precision", "fp32"]
        let out = folder.path + "/rows.jsonl"
        let whole = try Child(words + ["--json"]).wait().json()
        let samples = whole.compactMap { $0["sample"]?.int }
        #expect(samples == (0..<36).map { $0 % 3 }, "\(samples)")
        #expect(try Child(words + ["--out", out, "--batch-size", "5"]).wait().code == 0)
        func sorted(_ rows: [JSON]) -> [String] {
            func place(_ row: JSON) -> Int { (row["prompt_index"]?.int ?? 0) * 3 + (row["sample"]?.int ?? 0) }
            return rows.sorted { place($0) < place($1) }.map { $0["tokens"]?.text() ?? "" }
        }
        #expect(try sorted(rows(out)) == sorted(whole))
        // Half a line at the end, and the rows after the tenth, are lost.
        let text = try String(contentsOfFile: out, encoding: .utf8)
        let lines = text.split(separator: "\n")
        _ = try folder.write("rows.jsonl", lines[..<10].map { $0 + "\n" }.joined() + lines[10].prefix(40))
        let resumed = try Child(words + ["--out", out]).wait()
        #expect(resumed.code == 0 && resumed.err.contains("10 of 36"), "exit \(resumed.code): \(resumed.err)")
        #expect(try rows(out).count == 36)
        #expect(try sorted(rows(out)) == sorted(whole))
        let other = try Child(words + ["--out", out, "--temperature", "0.5"]).wait()
        #expect(other.code == 65 && other.err.contains("rows.jsonl:1: "), "exit \(other.code): \(other.err)")
    }

    @Test("--stop ends a completion before the text, streamed and not; --ignore-eos and --min-new-tokens go on") func stops() throws {
        let words = ["generate", "--model", folder.model, "--prompt", "Once", "--seed", "5", "--max-new-tokens", "60", "--precision", "fp32", "--ignore-eos"]
        let long = try #require(try Child(words + ["--json"]).wait().json()[0]["completion"]?.string)
        let stop = String(try #require(long.dropFirst(5).first { $0.isASCII }))
        let cut = String(long[..<(try #require(long.firstRange(of: stop)).lowerBound)])
        let json = try Child(words + ["--stop", stop, "--json"]).wait().json()[0], text = try Child(words + ["--stop", stop]).wait().out
        #expect(json["completion"]?.string == cut && json["finish_reason"] == "stop", "\(json.text()), expected \(cut.debugDescription)")
        #expect(text == (cut.hasSuffix("\n") ? cut : cut + "\n"), "\(text.debugDescription)")
        let least = try Child(words + ["--stop", stop, "--min-new-tokens", "60", "--json"]).wait().json()[0]
        #expect(least["tokens"]?.array?.count == 60 && least["finish_reason"] == "length", "\(least.text())")
        let bad = try Child.run("generate", "--model", folder.model, "--prompt", "a", "--min-new-tokens", "9", "--max-new-tokens", "3")
        #expect(bad.code == 64 && bad.err.contains("--min-new-tokens"), "\(bad.err)")
    }

    @Test("an interruption keeps whole rows: exit 75") func interrupted() throws {
        let file = try folder.write("many.jsonl", String(repeating: "{\"prompt\": \"a\"}\n", count: 20_000))
        let child = try Child(["generate", "--model", folder.model, "--prompts", file, "--max-new-tokens", "40", "--json"])
        for _ in 0..<600 where child.out.isEmpty { usleep(50_000) }
        kill(child.processID, SIGINT)
        let result = try child.wait()
        #expect(result.code == 75, "exit \(result.code): \(result.err.suffix(300))")
        let rows = try result.json()
        #expect(rows.count > 0 && rows.count < 20_000 && rows.allSatisfy { $0["finish_reason"]?.string != nil }, "\(rows.count) rows")
    }

    @Test("a reader that goes is no failure") func closedPipe() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The shell's pipefail is not everywhere: the program's own code goes to a file.
        let script = "{ \"$0\" generate --model \"$1\" --prompt hi --max-new-tokens 200 2>/dev/null; echo $? >\"$1.code\"; } | true"
        process.arguments = ["-c", script, try Child.program(), folder.model]
        try process.run()
        process.waitUntilExit()
        let code = try String(contentsOfFile: folder.model + ".code", encoding: .utf8)
        #expect(code == "0\n", "exit \(code)")
    }
}
