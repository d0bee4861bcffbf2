import Foundation
import Models
import PreferenceData
import Serialization
import Testing

@testable import align

@Suite("align score --reward") struct RewardScoreTests {
    let folder: TinyFolder
    init() throws { folder = try TinyFolder() }

    @Test("rows are scored with their columns' usual names, or those that --columns says") func rows() throws {
        let file = try folder.write("rows.jsonl", """
            {"prompt": "1+1?", "completion": "#### 2", "answer": "2"}
            {"question": "1+1?", "response": "it is 3", "ground_truth": "#### 2"}
            """)
        let result = try Child.run("score", "--reward", "2*rule:math;clip=0..1.5", "--data", file)
        #expect(try result.json().compactMap { $0["reward"]?.double } == [1.5, 0], "\(result.out) \(result.err)")
        let named = try folder.write("named.jsonl", "{\"said\": \"ok\", \"wanted\": \"ok\"}\n")
        #expect(try Child.run("score", "--reward", "rule:exact", "--data", named, "--columns", "completion=said,reference=wanted").json()[0]["reward"] == 1.0)
        let pairs = try folder.write("pairs.jsonl", "{\"prompt\": \"p\", \"chosen\": \"a b c\", \"rejected\": \"a\"}\n")
        #expect(try Child.run("score", "--reward", "rule:length,min=2,soft=2", "--pairs", pairs).json()[0]["margin"] == 0.5)
    }

    @Test("scores before a failure are printed; mistakes name the row and the way out") func failures() throws {
        let file = try folder.write("some.jsonl", "{\"completion\": \"#### 2\", \"answer\": \"2\"}\n{\"completion\": \"#### 2\"}\n")
        let result = try Child.run("score", "--reward", "rule:math", "--data", file)
        #expect(result.code == 65 && result.lines.count == 1 && result.err.contains("some.jsonl:2") && result.err.contains("reference"), "\(result)")
        let unknown = try Child.run("score", "--reward", "rule:maths", "--completion", "x")
        #expect(unknown.code == 64 && unknown.err.contains("repetition"), "\(unknown)")
        #expect(try Child.run("score", "--reward", "rule:math", "--model", folder.model, "--completion", "x").code == 64)
    }

    @Test("a reward model's score is its head at the last token of the conversation") func model() throws {
        let rewards = try TinyFolder(architecture: "LlamaForSequenceClassification")
        let result = try Child.run("score", "--reward", "model:\(rewards.model)", "--prompt", "hi", "--completion", "yo", "--precision", "fp32")
        let found = try #require(try result.json()[0]["reward"]?.double, "\(result)")
        let text = "<s>user\nhi</s>\n<s>assistant\nyo</s>\n"
        var ids: [Int32] = []
        for part in text.replacingOccurrences(of: "</s>", with: "\u{2}").replacingOccurrences(of: "<s>", with: "\u{1}").utf8 {
            ids.append(part == 1 ? TinyFolder.begin : part == 2 ? TinyFolder.end : Int32(part))
        }
        var batch = SegmentTree()
        batch.addReadout(segment: batch.append(ids))
        let expected = try rewards.transformer().scores(of: batch).readouts[0]
        #expect(abs(found - expected) < 1e-4, "\(found), expected \(expected)")
        let ensemble = try Child.run(
            "score", "--reward", "model:\(rewards.model)|\(rewards.model),combine=mean-std:2", "--prompt", "hi", "--completion", "yo", "--precision", "fp32")
        #expect(try ensemble.json()[0]["reward"]?.double == found, "\(ensemble)")
        #expect(try Child.run("score", "--reward", "model:\(folder.model)", "--completion", "yo").err.contains("no score head"))
    }

    @Test("people's votes become scores; what is not voted on waits in the store") func human() throws {
        let path = folder.path + "/store.sqlite"
        let file = try folder.write("two.jsonl", "{\"prompt\": \"q\", \"completion\": \"good\"}\n{\"prompt\": \"q\", \"completion\": \"bad\"}\n")
        let words = ["score", "--reward", "human", "--data", file, "--store", path]
        let waiting = try Child(words).wait()
        #expect(waiting.code == 75 && waiting.out.isEmpty && waiting.err.contains("align label"), "\(waiting)")
        let store = try PreferenceStore(path: path)
        let prompt = StoredPrompt("q")
        let (good, bad) = (prompt.completionID("good"), prompt.completionID("bad"))
        #expect(try store.items().map(\.id) == [LabelItem(prompt: prompt.id, completions: [good, bad]).id])
        try store.register(annotator: "ann", as: .human, at: PreferenceStore.now())
        _ = try store.append(Vote(prompt: prompt.id, left: good, right: bad, choice: .left, annotator: "ann", time: PreferenceStore.now()))
        #expect(try Child(words).wait().json().compactMap { $0["reward"]?.double } == [1, 0])
        try store.register(annotator: "bob", as: .human, at: PreferenceStore.now())
        _ = try store.append(Vote(prompt: prompt.id, left: good, right: bad, choice: .tie, annotator: "bob", time: PreferenceStore.now()))
        #expect(try Child(words).wait().json().compactMap { $0["reward"]?.double } == [0.75, 0.25])
    }
}
