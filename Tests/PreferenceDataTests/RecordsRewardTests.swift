import Foundation
import Serialization
import Testing

@testable import PreferenceData

@Suite("Reward records") struct RecordsRewardTests {
    private func read(_ lines: String...) throws -> [RewardExample] {
        let path = FileManager.default.temporaryDirectory.path + "/align-reward-\(UUID().uuidString).jsonl"
        try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Records.rewards([RecordFile(path: path)]).rows
    }

    @Test("pairs with a margin, a strength, a probability, gradings and a subset") func pairs() throws {
        let rows = try read(
            #"{"prompt": "p", "chosen": "a", "rejected": "b", "margin": 1, "strength": "slightly better", "probability": 0.7, "subset": "hep-go"}"#,
            #"{"prompt": "p", "chosen": "a", "rejected": "b", "chosen_grades": [0, 1, 2, null], "rejected_grades": {"truthfulness": 2}}"#,
            #"{"prompt": "p", "chosen": "a", "rejected": "b", "strength": "Significantly better"}"#)
        #expect(rows[0].judgement == .preferred(margin: 1, strength: .slightly, probability: 0.7) && rows[0].subset == "hep-go")
        #expect(rows[1].judgement == .preferred(margin: nil, strength: nil, probability: nil))
        #expect(rows[1].grades == [[0, 1, 2, nil], [nil, nil, 2, nil]], "\(rows[1].grades)")
        #expect(rows[2].judgement == .preferred(margin: nil, strength: .significantly, probability: nil))
        #expect(rows[0].completions == [.text("a"), .text("b")] && rows[0].prompt == .text("p"))
    }

    @Test("rankings, scores and steps") func others() throws {
        let rows = try read(
            #"{"prompt": "p", "completions": ["a", "b", "c"], "ranks": [2, 1, 1]}"#,
            #"{"prompt": "p", "completions": ["a", "b"], "scores": [4, [1, null]]}"#,
            #"{"prompt": "p", "completion": "a", "score": 3.5}"#,
            #"{"prompt": "p", "completions": ["one", "two", "three"], "labels": [true, -100, 0.25]}"#,
            #"{"prompt": [{"role": "user", "content": "p"}], "completions": ["a", "b"], "ranks": [1, 2]}"#,
            #"{"prompt_ids": [1], "completions_ids": [[2], [3, 4]], "ranks": [1, 2]}"#)
        let judgements: [RewardExample.Judgement] = [.ranked([2, 1, 1]), .scored([[4], [1, nil]]), .scored([[3.5]]), .steps([1, nil, 0.25]), .ranked([1, 2]), .ranked([1, 2])]
        for (row, expected) in zip(rows, judgements) { #expect(row.judgement == expected, "\(row.judgement) and \(expected)") }
        guard case let .messages(messages) = rows[4].completions[0] else { return #expect(Bool(false), "\(rows[4].completions[0])") }
        #expect(messages.map(\.role) == ["assistant"] && rows[5].completions == [.tokens([2]), .tokens([3, 4])])
    }

    @Test("what is wrong is named, and 1 is not true", arguments: [
        #"{"prompt": "p", "chosen": "a", "rejected": "b", "strength": "very"}"#, #"{"prompt": "p", "chosen": "a", "rejected": "b", "probability": 1.5}"#,
        #"{"prompt": "p", "chosen": "a", "rejected": "b", "chosen_grades": [0, 1]}"#, #"{"prompt": "p", "chosen": "a", "rejected": "b", "chosen_grades": [0, 1, 3, 0]}"#,
        #"{"prompt": "p", "completions": ["a", "b"], "ranks": [1]}"#, #"{"prompt": "p", "completions": ["a", "b"], "ranks": [0, 1]}"#,
        #"{"prompt": "p", "completions": ["a"], "ranks": [1]}"#, #"{"prompt": "p", "completions": [], "scores": []}"#,
        #"{"prompt": "p", "completions": ["a", ""], "ranks": [1, 2]}"#, #"{"prompt": "p", "completions": ["a"], "labels": [null]}"#,
        #"{"prompt": "p", "completions": ["a"], "labels": [2]}"#, #"{"prompt": "p", "completions": ["a", "b"]}"#,
        #"{"prompt": "p", "completion": "a", "score": "high"}"#, #"{"prompt": "p", "completions_ids": [[1]], "labels": [true]}"#,
    ]) func wrong(line: String) {
        #expect(throws: RecordError.self) { try read(line) }
    }
}
