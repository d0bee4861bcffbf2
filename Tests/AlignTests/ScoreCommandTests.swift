import Foundation
import Models
import Serialization
import Testing

@testable import align

@Suite("align score") struct ScoreCommandTests {
    let folder: TinyFolder
    init() throws { folder = try TinyFolder() }

    /// log π of `completion` after `prompt`, straight from the model.
    private func logProbs(_ prompt: [Int32], _ completion: [Int32]) throws -> [Double] {
        var batch = SegmentTree()
        batch.addRow(segment: batch.append(completion, parent: batch.append(prompt)))
        return try folder.transformer().scores(of: batch).logProbs.values
    }

    private func expect(_ score: JSON?, _ prompt: [Int32], _ completion: [Int32], sourceLocation: SourceLocation = #_sourceLocation) throws {
        let score = try #require(score, sourceLocation: sourceLocation)
        let found = try #require(score["token_logprobs"]?.array?.numbers, sourceLocation: sourceLocation)
        let expected = try logProbs(prompt, completion)
        #expect(found == expected, "\(found) and \(expected)", sourceLocation: sourceLocation)
        #expect(score["logprob"]?.double == found.reduce(0, +), sourceLocation: sourceLocation)
        #expect(score["tokens"]?.array?.integers == completion.suffix(found.count).map { Int($0) }, sourceLocation: sourceLocation)
    }

    private func score(_ words: String...) throws -> [JSON] {
        let result = try Child(["score", "--model", folder.model, "--precision", "fp32"] + words).wait()
        #expect(result.code == 0, "exit \(result.code): \(result.err)")
        return try result.json()
    }

    @Test("one completion") func text() throws {
        try expect(score("--prompt", "ab", "--completion", "cd")[0], [256, 97, 98], [99, 100])
        // Without a prompt the beginning token is what the text follows.
        try expect(score("--completion", "cd")[0], [256], [99, 100])
        // The template: <s>user\nx</s>\n<s>assistant\n, then hi</s>\n
        func ids(_ text: String) -> [Int32] { text.utf8.map { Int32($0) } }
        let prompt = [256] + ids("user\nx") + [257, 10, 256] + ids("assistant\n")
        try expect(score("--prompt", "x", "--completion", "hi", "--chat")[0], prompt, ids("hi") + [257, 10])
    }

    @Test("pairs: both sides and their margin, in file order, in packs") func pairs() throws {
        let rows = (0..<60).map { i -> (prompt: [Int32], chosen: [Int32], rejected: [Int32]) in
            let prompt = [Int32](repeating: Int32(65 + i % 9), count: i % 50)
            return (prompt, [97, 98, Int32(97 + i % 20)], [Int32(99 + i % 5), 100])
        }
        let text = rows.map { "{\"prompt_ids\": \($0.prompt), \"chosen_ids\": \($0.chosen), \"rejected_ids\": \($0.rejected)}\n" }.joined()
        let found = try score("--pairs", folder.write("pairs.jsonl", text))
        #expect(found.count == 60)
        for (index, (json, row)) in zip(found, rows).enumerated() {
            try expect(json["chosen"], row.prompt, row.chosen)
            try expect(json["rejected"], row.prompt, row.rejected)
            let (chosen, rejected) = (json["chosen"]?["logprob"]?.double ?? .nan, json["rejected"]?["logprob"]?.double ?? .nan)
            #expect(json["margin"]?.double == chosen - rejected && json["origin"]?.string?.hasSuffix("pairs.jsonl:\(index + 1)") == true)
        }
    }

    @Test("examples: what a loss counts") func examples() throws {
        let file = try folder.write("rows.jsonl", """
            {"input_ids": [70, 71, 72, 73], "loss_mask": [0, 0, 1, 1]}
            {"prompt": "ab", "completion": "cd"}
            """)
        let found = try score("--data", file, "--template", "none")
        try expect(found[0], [70, 71], [72, 73])
        try expect(found[1], [256, 97, 98], [99, 100, 257])
    }

    @Test("greedy completions score what generating them said") func generated() throws {
        let made = try Child.run(
            "generate", "--model", folder.model, "--precision", "fp32", "--prompt", "Q", "--temperature", "0", "--max-new-tokens", "12", "--json").json()[0]
        let tokens = try #require(made["tokens"]?.array?.integers.map { Int32($0) })
        let said = try #require(made["token_logprobs"]?.array?.numbers), scored = try logProbs([256, 81], tokens)
        for (a, b) in zip(said, scored) { #expect(abs(a - b) < 1e-5, "\(a) and \(b)") }
    }

    @Test("rows that cannot be scored are named") func bad() throws {
        func run(_ name: String, _ text: String, _ more: String...) throws -> Child.Result {
            try Child(["score", "--model", folder.model, "--pairs", folder.write(name, text)] + more).wait()
        }
        let ids = try run("ids.jsonl", "{\"prompt_ids\": [], \"chosen_ids\": [1, 2], \"rejected_ids\": [1, 999]}\n")
        #expect(ids.code == 65 && ids.err.contains("ids.jsonl:1: found token id 999"), "exit \(ids.code): \(ids.err)")
        let empty = try run("empty.jsonl", "")
        #expect(empty.code == 65, "exit \(empty.code): \(empty.err)")
        let short = try run("short.jsonl", "{\"prompt\": \"abcdef\", \"chosen\": \"x\", \"rejected\": \"y\"}\n", "--template", "none", "--max-length", "4")
        #expect(short.code == 65 && short.err.contains("short.jsonl:1"), "exit \(short.code): \(short.err)")
        #expect(try Child.run("score", "--model", folder.model, "--pairs", "/nowhere/pairs.jsonl").code == 66)
        #expect(try run("ok.jsonl", "{\"prompt\": \"a\", \"chosen\": \"x\", \"rejected\": \"y\"}\n", "--template", "/nowhere/t.jinja").code == 66)
        #expect(try Child.run("score", "--model", folder.model, "--completion", "").code == 64)
    }
}
