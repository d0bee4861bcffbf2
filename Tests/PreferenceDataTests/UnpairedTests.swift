import Foundation
import Serialization
import Testing

@testable import PreferenceData

@Suite("Completions with labels") struct UnpairedTests {
    private func read(_ lines: [String], onBadRow: OnBadRow = .stop) throws -> (rows: [LabelledCompletion], report: ReadReport) {
        let path = NSTemporaryDirectory() + "align-unpaired-\(UUID().uuidString).jsonl"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: path))
        return try Records.unpaired([RecordFile(path: path)], onBadRow: onBadRow)
    }

    @Test("labels are of single completions, of dialogues, of token ids") func shapes() throws {
        let rows = try read([
            #"{"prompt": "Q", "completion": "A", "label": true}"#, #"{"prompt": "Q", "completion": "B", "label": false}"#,
            #"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "C"}], "kto_tag": true}"#,
            #"{"prompt_ids": [1, 2], "completion_ids": [3], "label": false}"#,
        ]).rows
        #expect(rows.map(\.isDesirable) == [true, false, true, false])
        #expect(rows[0].prompt == .text("Q") && rows[0].completion == .text("A"))
        #expect(rows[2].completion.messages(role: "assistant").map(\.content) == ["C"] && rows[2].prompt.messages(role: "user").map(\.content) == ["Q"])
        #expect(rows[3].prompt == .tokens([1, 2]) && rows[3].completion == .tokens([3]))
    }

    @Test("pairs are split in two: all that is good, then all that is bad") func pairs() throws {
        let (rows, report) = try read([
            #"{"prompt": "P", "chosen": "a", "rejected": "b"}"#, #"{"prompt": "R", "chosen": "c", "rejected": "d"}"#,
            #"{"prompt": "S", "completion": "e", "label": false}"#,
        ])
        #expect(rows.map(\.completion) == [.text("e"), .text("a"), .text("c"), .text("b"), .text("d")])
        #expect(rows.map(\.isDesirable) == [false, true, true, false, false] && report.rows == 5)
    }

    @Test("a label is true or false and nothing like them", arguments: ["1", "0", "\"true\"", "null", "1.0", "[true]"]) func labels(text: String) {
        do {
            _ = try read([#"{"prompt": "Q", "completion": "A", "label": "# + text + "}"])
            Issue.record("\(text) was taken for a label")
        } catch let error as RecordError {
            guard case let .badRows(rows, total) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(total == 1 && (rows[0].reason.contains("true or false") || text == "null"), "\(rows)")
        } catch { Issue.record("\(error)") }
    }
}
