import Foundation
import Serialization
import Testing

@testable import PreferenceData

@Suite("Import shapes") struct ImportShapeTests {
    /// A store with the rows of a text, and what became of them.
    func imported(_ text: String, format: ImportFormat = .auto, _ body: (PreferenceStore, ImportReport, String) throws -> Void) throws {
        let file = try TemporaryFile(text, name: "people.jsonl")
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/s.sqlite")
            var reader = RowReader()
            reader.format = format
            let report = try store.importFile(file.path, with: reader, at: "2026-01-01T00:00:00Z")
            try body(store, report, folder)
            try store.check()
            try expectRoundTrip(store, folder)
        }
    }

    @Test("each shape is known by its fields", arguments: [
        (#"{"prompt": "Q", "chosen": "A", "rejected": "B", "margin": 1.5}"#, RecordShape.promptChosenRejected, [StoredRow.Kind.comparisons: 1]),
        (#"{"chosen": "Say it: yes", "rejected": "Say it: no"}"#, .chosenRejectedTexts, [.comparisons: 1]),
        (#"{"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}"#, .chosenRejectedTranscripts, [.comparisons: 1]),
        (#"{"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4]}"#, .tokenPair, [.comparisons: 1]),
        (#"{"prompt": "Q", "completion": "A", "label": true}"#, .labelledCompletion, [.labels: 1]),
        (#"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "kto_tag": false}"#, .labelledCompletion, [.labels: 1]),
        (#"{"prompt": "Q", "completion": "A", "score": -0.5}"#, .scoredCompletion, [.scores: 1]),
        (#"{"input": "Q", "output": "A", "reward": 2}"#, .scoredCompletion, [.scores: 1]),
        (#"{"prompt": "Q", "completions": ["A", "B", "C"], "scores": [1, 2, 3]}"#, .candidates, [.scores: 3]),
        (#"{"instruction": "Q", "completions": [{"response": "A", "overall_score": 1, "model": "m"}, {"response": "B", "overall_score": 2}]}"#, .candidates, [.scores: 2]),
        (#"{"prompt": "Q", "completions": ["A", "B", "C"], "ranks": [2, 1, 2]}"#, .candidates, [.votes: 1]),
        (#"{"prompt": "Q", "completions": ["A", "B"]}"#, .candidates, [.items: 1]),
        (#"{"prompt": "Q", "response_a": "A", "response_b": "B", "winner": "tie"}"#, .responseWinner, [.votes: 1]),
        (#"{"conversation_a": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "conversation_b": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}], "winner": "model_b", "judge": "j1"}"#, .battle, [.votes: 1]),
        (#"{"prompt": "Q", "response_1": "A", "response_2": "B", "label": 2}"#, .labelledResponses, [.votes: 1]),
        (#"{"input": "Q", "output_1": "A", "output_2": "B", "label": 2}"#, .labelledOutputs, [.votes: 1]),
        (#"{"instruction": "Q", "input": "", "response1": "A", "response2": "B", "annotator1": 0, "annotator2": 2}"#, .annotatedResponses, [.votes: 2]),
        (#"{"instruction": "Q", "input": "x", "output": "A"}"#, .instructionOutput, [.examples: 1]),
        (#"{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "tools": "[]"}"#, .conversations, [.examples: 1]),
        (#"{"question": "2 + 2?", "answer": "It is\n#### 4"}"#, .questionAnswer, [.examples: 1, .tasks: 1]),
        (#"{"input_ids": [1, 2, 3], "loss_mask": [0, 1, 1]}"#, .tokens, [.examples: 1]), (#"{"text": "Once\nupon"}"#, .text, [.examples: 1]),
        (#"{"prompt": "2 + 2?", "ground_truth": 4}"#, .prompt, [.tasks: 1]),
        (#"{"prompt": [{"role": "user", "content": "Q"}]}"#, .prompt, [.tasks: 1]), (#"{"messages": [{"role": "user", "content": "Q"}]}"#, .prompt, [.tasks: 1]),
        (#"{"instruction": "Q", "instances": [{"input": "a", "output": "A"}, {"input": "b", "output": "B"}]}"#, .instances, [.examples: 2]),
    ] as [(String, RecordShape, [StoredRow.Kind: Int])]) func shapes(row: String, shape: RecordShape, kinds: [StoredRow.Kind: Int]) throws {
        try imported(row) { store, report, _ in
            #expect(report.shapes.map(\.shape) == [shape] && report.counts.new == kinds, "\(row): \(report.shapes), \(report.counts.new)")
        }
    }

    @Test("a format that is named is the only one") func format() throws {
        let row = #"{"instruction": "Q", "input": "", "output": "C", "chosen": "A", "rejected": "B"}"#
        try imported(row, format: .examples) { _, report, _ in #expect(report.counts.new == [.examples: 1], "\(report.counts)") }
        try imported(row) { _, report, _ in #expect(report.counts.new == [.comparisons: 1], "\(report.counts)") }
    }

    @Test("sides, ties and ranks are what the file says, whatever the ids' order") func judgments() throws {
        let rows = (0..<8).map { #"{"prompt": "Q\#($0)", "response_1": "good \#($0)", "response_2": "bad \#($0)", "label": 0}"# }
            + [#"{"prompt": "T", "completions": ["x", "y", "z"], "ranks": [2, 1, 2], "annotator": "ann"}"#]
        try imported(rows.joined(separator: "\n")) { store, _, _ in
            var chosen: [String] = []
            try store.preferences { chosen += $0.map { $0.comparison.chosen.text } }
            #expect(chosen.sorted() == (0..<8).map { "good \($0)" } + ["y", "y"], "\(chosen.sorted())")
            #expect(try store.annotators().map(\.id) == ["ann", "people"], "the file's name stands for who is not named")
            #expect(try store.verdicts().count { $0.preferred == nil } == 1, "x and z are tied")
        }
    }

    @Test("votes come back whole: strength, sides, notes, edits, undoings") func votes() throws {
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/s.sqlite")
            let candidates = [
                Candidates(prompt: StoredPrompt("p"), completions: ["a", "b"]),
                Candidates(prompt: StoredPrompt(StoredContent(.messages([Message(role: "user", content: "Q")])), tools: #"[{"name": "f"}]"#),
                    completions: [StoredContent(.messages([Message(role: "assistant", content: "A")])), StoredContent(.messages([Message(role: "assistant", content: "B")]))]),
                Candidates(prompt: StoredPrompt(.init(kind: .transcript, text: "\n\nHuman: Q\n\nAssistant:")), completions: [.init(kind: .transcript, text: " A"), .init(kind: .transcript, text: " B")]),
            ]
            for (index, candidate) in candidates.enumerated() {
                let item = try store.enqueue([candidate], source: StoredSource(named: "q"), added: "2026").items[0]
                var vote = Vote(prompt: item.prompt, left: item.second, right: item.first, choice: .right, annotator: "ann", time: "2026-01-01T00:00:0\(index).000Z")
                (vote.strength, vote.note, vote.session, vote.grades) = (2, "why\n\"so\"", "s", #"{"first": 1}"#)
                if index == 0 { vote.edited = try store.add(completion: "a, but better", of: candidate.prompt) }
                try store.append(vote)
                if index == 1 { try store.append(Vote(withdrawing: vote, time: "2026-01-01T01:00:00.000Z", session: "s")) }
            }
            try expectRoundTrip(store, folder)
            #expect(try store.votes().count == 4)
        }
    }

    @Test("token ids, tools and transcripts train as they would from the file") func records() throws {
        let rows = [
            #"{"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4], "margin": 0.25}"#,
            #"{"chosen": "\n\nHuman: Q \n\nAssistant: A", "rejected": "\n\nHuman: Q \n\nAssistant: B\n\nHuman: C\n\nAssistant: "}"#,
            #"{"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}, "tools": "[1]"}"#,
            #"{"prompt": "Q é", "chosen": "A", "rejected": "B"}"#,
        ]
        let file = try TemporaryFile(rows.joined(separator: "\n"))
        let direct = try Records.pairs(file.files).rows
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/s.sqlite")
            _ = try store.importFile(file.path, at: "2026")
            var stored: [PreferencePair] = []
            try store.preferences { rows in stored += try rows.map { try $0.comparison.pair() } }
            #expect(stored.count == direct.count)
            for pair in direct {
                let found = try #require(stored.first { $0.origin == pair.origin })
                #expect(turns(found.prompt) == turns(pair.prompt) && turns(found.chosen) == turns(pair.chosen) && turns(found.rejected) == turns(pair.rejected))
                #expect(found.raw == pair.raw && found.margin == pair.margin && found.tools == pair.tools, "\(pair.origin.line)")
                if case .tokens = pair.prompt { #expect(found.prompt == pair.prompt && found.chosen == pair.chosen) }
                if case .text = pair.prompt { #expect(found.prompt == pair.prompt && found.chosen == pair.chosen) }
            }
        }
    }
}
