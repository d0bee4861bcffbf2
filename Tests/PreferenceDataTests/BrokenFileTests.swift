import Foundation
import Serialization
import Testing

@testable import PreferenceData

/// Files with something wrong in them: each says where, what and what to do, and costs no more than itself.
@Suite("Broken files") struct BrokenFileTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var bytes: [UInt8]
        /// Lines of the bad rows; empty where the whole file is refused.
        var lines: [Int]
        /// Said of the first bad row, or of the file.
        var says: String
        var testDescription: String { name }
    }

    static let good = #"{"prompt": "Q", "chosen": "A", "rejected": "B"}"#
    static func rows(_ name: String, _ bad: String, _ says: String) -> Case { Case(name: name, bytes: Array("\(good)\n\(bad)\n".utf8), lines: [2], says: says) }
    static func text(_ name: String, _ text: String, _ lines: [Int], _ says: String) -> Case { Case(name: name, bytes: Array(text.utf8), lines: lines, says: says) }

    static let cases: [Case] = [
        rows("bad JSON", #"{"prompt": "Q", "chosen": }"#, "found '}', expected a value"),
        rows("a line that ends early", #"{"prompt": "Q", "chosen": "A"#, "no valid JSON"),
        rows("missing columns", #"{"prompt_text": "Q", "better": "A"}"#, "found the fields \"prompt_text\", \"better\""),
        rows("half of a pair", #"{"prompt": "Q", "chosen": "A"}"#, "\"chosen\" has no \"rejected\" beside it"),
        rows("a wrong type", #"{"prompt": "Q", "chosen": 3, "rejected": "B"}"#, "\"chosen\" is a number, expected a string"),
        Case(name: "invalid UTF-8", bytes: Array("\(good)\n{\"prompt\": \"".utf8) + [0xC3, 0x28] + Array("\", \"chosen\": \"A\", \"rejected\": \"B\"}\n".utf8), lines: [2], says: "UTF-8"),
        rows("chosen is rejected", #"{"prompt": "Q", "chosen": "A", "rejected": "A"}"#, "chosen and rejected are the same"),
        rows("an empty completion", #"{"prompt": "Q", "chosen": " ", "rejected": "A"}"#, "the chosen completion is empty"),
        rows("mixed shapes in one row", #"{"chosen": "A", "rejected": [{"role": "assistant", "content": "B"}]}"#, "of different kinds"),
        rows("no number as a score", #"{"prompt": "Q", "completion": "A", "score": NaN}"#, "\"score\" is NaN, expected a finite number"),
        rows("an infinite score in a list", #"{"prompt": "Q", "completions": ["A", "B"], "scores": [1, Infinity]}"#, "\"scores\" is Infinity"),
        rows("fewer scores than completions", #"{"prompt": "Q", "completions": ["A", "B"], "scores": [1]}"#, "1 entries for 2 completions"),
        rows("a key twice", #"{"prompt": "Q", "chosen": "A", "chosen": "C", "rejected": "B"}"#, "the key \"chosen\" once"),
        rows("a null prompt", #"{"prompt": null, "chosen": "A x", "rejected": "A y"}"#, "\"prompt\" is null"),
        rows("roles out of order", #"{"messages": [{"role": "user", "content": "Q"}, {"role": "system", "content": "S"}, {"role": "assistant", "content": "A"}]}"#, "message 2 is the system's"),
        rows("two questions in a row", #"{"messages": [{"role": "user", "content": "Q"}, {"role": "user", "content": "R"}, {"role": "assistant", "content": "A"}]}"#, "both the user's"),
        rows("nested too deep", #"{"prompt": "Q", "chosen": "A", "rejected": "B", "x": \#(String(repeating: "[", count: 5000))\#(String(repeating: "]", count: 5000))}"#, "levels of nesting"),
        rows("a label that is a number", #"{"prompt": "Q", "completion": "A", "label": 1}"#, "\"label\" is a number, expected true or false"),
        rows("a label that is a word", #"{"prompt": "Q", "completion": "A", "label": "true"}"#, "\"label\" is a string, expected true or false"),
        rows("a judgment out of range", #"{"prompt": "Q", "response_1": "A", "response_2": "B", "label": 3}"#, "expected 0 (the first), 1 (the second) or 2 (a tie)"),
        rows("a judgment that is a boolean", #"{"input": "Q", "output_1": "A", "output_2": "B", "label": true}"#, "\"label\" is a boolean, expected 1 or 2"),
        rows("a tree without texts", #"{"message_tree_id": "t", "prompt": {"role": "prompter", "replies": []}}"#, "has no \"text\" and \"role\""),
        rows("an instance without an answer", #"{"instruction": "Q", "instances": [{"input": "x", "output": ""}]}"#, "instance 1 of \"instances\" has no \"output\""),
        rows("a dialogue that a user ends", #"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}, {"role": "user", "content": "R"}], "label": true}"#, "does not end with an answer"),
        rows("no object", "[1, 2]", "found an array, expected an object"),
        text("CRLF and a byte-order mark, one row bad", "\u{FEFF}\(good)\r\n{\"prompt\": 1}\r\n\(good)\r\n", [2], "\"prompt\" is"),
        text("an array that is not closed", "[\(good),\n\(good)", [2], "expected ',' or ']'"),
        text("text after the array", "[\(good)]\nmore", [2], "after the array's end"),
        text("a thread that answers nobody", #"[{"message_id": "a", "parent_id": "z", "role": "assistant", "text": "A"}]"#, [1], "which is not in the file"),
        text("threads in a circle", #"[{"message_id": "a", "parent_id": "b", "role": "assistant", "text": "A"}, {"message_id": "b", "parent_id": "a", "role": "prompter", "text": "B"}]"#, [1], "in a circle"),
        Case(name: "truncated gzip", bytes: Array(gzipped(Array("\(good)\n\(good)\n".utf8)).dropLast(30)), lines: [], says: "The copy is incomplete"),
        Case(name: "an empty file", bytes: [], lines: [], says: "found no rows"),
        text("blank lines alone", "\n\n  \n", [], "found no rows"),
        Case(name: "UTF-16", bytes: [0xFF, 0xFE] + good.utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }, lines: [], says: "UTF-16 text"),
        Case(name: "binary", bytes: (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }, lines: [], says: "expected JSON lines or one JSON array"),
        text("an object over several lines", "{\n\"prompt\": \"Q\"\n}\n", [], "an object over several lines"),
    ]

    @Test("is named with its line, a reason and a remedy; by stop nothing is taken, by skip all else", arguments: cases) func broken(_ broken: Case) throws {
        let file = try TemporaryFile(broken.bytes)
        try withTemporaryFolder { folder in
            let store = try PreferenceStore(path: folder + "/s.sqlite")
            func imports(_ onBadRow: OnBadRow) throws -> ImportReport { try store.importFile(file.path, onBadRow: onBadRow, at: "2026") }
            #expect { try imports(.stop) } throws: { error in
                guard let error = error as? RecordError else { return false }
                let text = error.description
                guard text.contains(broken.says), text.contains(file.path) else {
                    Issue.record("\(broken.name): \(text.prefix(300)), expected \(broken.says)")
                    return false
                }
                guard case let .badRows(rows, total) = error else { return broken.lines.isEmpty }
                return rows.map(\.line) == broken.lines && total == broken.lines.count && rows.allSatisfy { !$0.reason.isEmpty && !$0.remedy.isEmpty }
            }
            let taken = try store.comparisons().count
            #expect(taken == 0, "of a refused file \(taken) rows were taken")
            guard !broken.lines.isEmpty else {
                #expect(throws: RecordError.self) { try imports(.skip) }
                #expect(throws: RecordError.self) { try FileCheck(file.path) }
                return
            }
            let check = try FileCheck(file.path)
            #expect(check.problemCount == broken.lines.count && check.problems.first?.place == "\(file.path):\(broken.lines[0])", "\(check.problems)")
            guard broken.bytes.count > 300 || String(decoding: broken.bytes, as: UTF8.self).contains(Self.good) else { return }
            let report = try imports(.skip)
            let all = report.counts.newRows + report.counts.knownRows
            #expect(report.badRows.map(\.line) == broken.lines && all >= 1 && all + broken.lines.count == report.rows, "\(report.rows) rows, \(all) taken, \(report.badRows)")
        }
    }

    @Test("a folder and a missing file are named") func noFile() throws {
        try withTemporaryFolder { folder in
            for (path, says) in [(folder, "it is a folder"), (folder + "/none", "No such file")] {
                #expect { try FileCheck(path) } throws: { "\($0)".contains(says) && "\($0)".contains(path) }
            }
        }
    }

    @Test("a line of 100 MB is refused within 200 MB of memory, and the rows around it are read") func longLine() async {
        await #expect(processExitsWith: .success) {
            let file = try TemporaryFile("")
            let handle = try #require(FileHandle(forUpdatingAtPath: file.path))
            try handle.write(contentsOf: Array("\(BrokenFileTests.good)\n{\"prompt\": \"".utf8))
            let part = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
            for _ in 0..<100 { try handle.write(contentsOf: part) }
            try handle.write(contentsOf: Array("\", \"chosen\": \"A\", \"rejected\": \"B\"}\n\(BrokenFileTests.good)\n".utf8))
            try handle.close()
            try limitAddressSpace(toFurther: 200 << 20)
            let check = try FileCheck(file.path)
            #expect(check.problems.map(\.place) == ["\(file.path):2"] && check.report.rows == 3, "\(check.problems), \(check.report.rows) rows")
            #expect(check.problems.first?.reason.contains("found a row of 104857") == true, "\(check.problems)")
            #expect(check.warnings.map(\.place) == ["\(file.path):3"], "\(check.warnings)")
        }
    }

    @Test("rows that say the same twice, or the opposite, are warnings") func warnings() throws {
        let swapped = #"{"prompt": "Q", "chosen": "B", "rejected": "A"}"#
        let file = try TemporaryFile("\(Self.good)\n\(Self.good)\n\(swapped)\n")
        let check = try FileCheck(file.path)
        #expect(check.problemCount == 0 && check.warnings.map(\.place) == ["\(file.path):2", "\(file.path):3"], "\(check.warnings)")
        #expect(check.warnings.first?.reason.contains("line 1") == true && check.warnings.last?.reason.contains("rejects") == true)
    }
}
