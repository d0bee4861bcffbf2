import Foundation
import Serialization
import Testing

@testable import PreferenceData

private let good = #"{"prompt": "Q", "chosen": "A", "rejected": "B"}"#

@Suite struct RecordsReading {
    @Test func lineEndingsMarksAndBlankLines() throws {
        let rows = try pairs("\u{FEFF}\r\n\(good)\r\n\n  \t\n\(good)")
        #expect(rows.map(\.origin.line) == [2, 5], "lines \(rows.map(\.origin.line))")
    }

    @Test func arraysAndTheirLines() throws {
        #expect(try pairs("[\(good),\(good)]").map(\.origin.line) == [1, 1])
        let pretty = "\u{FEFF}[\n  {\n    \"prompt\": \"a, ] } \\\" \",\n    \"chosen\": \"A\",\n    \"rejected\": \"B\"\n  },\n\n  \(good)\n]\n"
        #expect(try pairs(pretty).map(\.origin.line) == [2, 8])
    }

    @Test func gzipByItsBytes() throws {
        let file = try TemporaryFile(gzipped(Array("\(good)\n\(good)\n".utf8)), name: "rows.json")
        #expect(try Records.pairs(file.files).rows.count == 2)
        let broken = try TemporaryFile(Array(gzipped(Array(good.utf8)).dropLast(9)))
        #expect { try Records.pairs(broken.files) } throws: { if case RecordError.unreadable? = $0 as? RecordError { true } else { false } }
        let huge = try TemporaryFile(gzipped([UInt8](repeating: 0x20, count: 5000)))
        #expect { try RecordBytes.load(huge.path, unpackedLimit: 4999) } throws: {
            $0 as? RecordError == .tooLarge(file: huge.path, bytes: 4999, limit: 4999)
        }
        #expect { try RecordBytes.load(huge.path, fileLimit: 100) } throws: {
            if case .tooLarge(_, _, 100)? = $0 as? RecordError { true } else { false }
        }
    }

    @Test func badRowsSayWhereAndWhy() throws {
        let text = Array("\(good)\n{\"prompt\": \n\n[1]\n{\"prompt\": \"Q\", \"chosen\": \"".utf8) + [0xFF, 0xFE] + Array("\", \"rejected\": \"B\"}\n\(good)\n".utf8)
        let file = try TemporaryFile(text)
        let (rows, report) = try Records.pairs(file.files, onBadRow: .skip)
        #expect(rows.map(\.origin.line) == [1, 6] && report.badRows.map(\.line) == [2, 4, 5], "\(report.badRows)")
        #expect(report.badRows[2].reason.contains("UTF-8") && report.badRowCount == 3 && report.rows == 2 && report.files == [file.path])
        let stop = RecordError.badRows(report.badRows, total: 3)
        #expect { try Records.pairs(file.files) } throws: { $0 as? RecordError == stop }
        #expect("\(stop)".contains("\(file.path):2: no valid JSON"))
    }

    @Test func badItemsOfArraysCostThemselves() throws {
        let file = try TemporaryFile("[\n\(good),\n{\"prompt\": tru},\n\(good)\n]\nmore")
        let (rows, report) = try Records.pairs(file.files, onBadRow: .skip)
        #expect(rows.map(\.origin.line) == [2, 4] && report.badRows.map(\.line) == [3, 6], "\(report.badRows)")
        let open = try TemporaryFile("[\n\(good),\n\(good)")
        #expect(try Records.pairs(open.files, onBadRow: .skip).rows.count == 1)
        #expect(try Records.pairs(open.files, onBadRow: .skip).report.badRows.map(\.line) == [3])
    }

    @Test func atMostTwentyAreNamed() throws {
        let file = try TemporaryFile(String(repeating: "{\"a\": 1}\n", count: 50))
        for onBadRow in OnBadRow.allCases {  // nothing good is left, so skipping does not help
            #expect { try Records.pairs(file.files, onBadRow: onBadRow) } throws: {
                if case let .badRows(rows, 50)? = $0 as? RecordError { rows.count == 20 && rows[0].reason.contains("\"a\"") } else { false }
            }
        }
    }

    @Test(arguments: [
        ("[1]", "found a number, expected an object"), (#"{"prompt": "Q"}"#, "expected one of {prompt, chosen, rejected}"),
        (#"{"prompt": "Q", "chosen": 3, "rejected": "B"}"#, "is a number"), (#"{"prompt": "Q", "chosen": "A", "rejected": "A"}"#, "are the same"),
        (#"{"prompt": "Q", "chosen": " \n", "rejected": "A"}"#, "chosen completion is empty"),
        (#"{"prompt_ids": [1], "chosen_ids": [-1], "rejected_ids": [2]}"#, "token 1 of \"chosen_ids\" is -1"),
        (#"{"prompt_ids": [1], "chosen_ids": [2147483648], "rejected_ids": [2]}"#, "2147483648"),
        (#"{"prompt_ids": [1], "chosen_ids": [1.5], "rejected_ids": [2]}"#, "1.5"), (#"{"prompt_ids": [], "chosen_ids": [], "rejected_ids": [2]}"#, "empty"),
        (#"{"prompt": [{"content": "Q"}], "chosen": "A", "rejected": "B"}"#, "no string \"role\""),
        (#"{"prompt": [{"role": "user"}], "chosen": "A", "rejected": "B"}"#, "\"content\" is missing"),
        (#"{"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "A", "rejected": "B"}"#, "not text"),
        (#"{"prompt": [], "chosen": "A", "rejected": "B"}"#, "no messages"), (#"{"prompt": ["x"], "chosen": "A", "rejected": "B"}"#, "is a string"),
        (#"{"prompt": "Q", "chosen": "A", "rejected": "B", "margin": "x"}"#, "finite number"),
        (#"{"prompt": "Q", "chosen": "A", "rejected": "B", "margin": NaN}"#, "finite number"),
        (#"{"chosen": "A", "rejected": [{"role": "user", "content": "Q"}]}"#, "different kinds"),
        (#"{"chosen": [{"role": "assistant", "content": "A"}], "rejected": [{"role": "assistant", "content": "B"}]}"#, "part at the first message"),
        (#"{"chosen": "A b", "rejected": "A c", "system": "S"}"#, "without a prompt"),
        (#"{"prompt": "Q", "chosen": [{"role": "assistant", "content": "A"}, {"role": "user", "content": "B"}], "rejected": "B"}"#, "ends with a user message"),
    ]) func badPairs(row: String, expected: String) throws {
        let reason = try badPair(row)
        #expect(reason?.contains(expected) == true, "\(row): found \(reason ?? "no error"), expected \(expected)")
    }

    @Test(arguments: [
        (#"{"prompt": "Q", "completion": ""}"#, "empty"), (#"{"input_ids": [1, 2], "loss_mask": [1]}"#, "has 1 entries, \"input_ids\" 2"),
        (#"{"input_ids": [1], "loss_mask": [2]}"#, "0 and 1"), (#"{"input_ids": [1], "loss_mask": "1"}"#, "0 and 1"),
        (#"{"messages": [{"role": "user", "content": "Q"}]}"#, "no answer"), (#"{"chosen": "A"}"#, "expected one of {prompt, completion}"),
        (#"{"text": 5}"#, "a number"), (#"{"prompt": "Q", "completion": [{"role": "tool", "content": "x"}]}"#, "ends with a tool message"),
    ]) func badExamples(row: String, expected: String) throws {
        let reason = try badExample(row)
        #expect(reason?.contains(expected) == true, "\(row): found \(reason ?? "no error"), expected \(expected)")
    }

    @Test(arguments: [
        ("PAR1\u{0}\u{0}", "rows.jsonl", "Parquet"), ("ARROW1\u{0}\u{0}", "rows.jsonl", "an Arrow file"), ("PK\u{3}\u{4}x", "rows.jsonl", "a zip archive"),
        ("prompt,chosen,rejected\nQ,A,B\n", "rows.csv", "comma-separated values"), ("prompt\tchosen\nQ\tA\n", "rows.txt", "tab-separated values"),
        ("- prompt: Q\n  chosen: A\n", "rows.yaml", "YAML"), ("prompt: Q\nchosen: A\n", "rows.txt", "YAML"), ("{\n  \"prompt\": \"Q\"\n}\n", "rows.json", "an object over several lines"),
        ("<!doctype html>", "rows.jsonl", "HTML or XML"), ("hello world", "rows.jsonl", "text that begins \"hello world\""), ("SQLite format 3\u{0}", "a.db", "an SQLite database"),
    ]) func otherFormats(text: String, name: String, expected: String) throws {
        let file = try TemporaryFile(text, name: name)
        #expect { try Records.pairs(file.files) } throws: {
            guard case let .unsupportedFormat(_, found, remedy)? = $0 as? RecordError else { return false }
            return found == expected && !remedy.isEmpty
        }
    }

    @Test func filesThatGiveNothing() throws {
        for text in ["", "\n \r\n", "[]", "\u{FEFF}[ \n]"] {
            let file = try TemporaryFile(text)
            #expect { try Records.pairs(file.files) } throws: { $0 as? RecordError == .emptyFile(file: file.path) }
        }
        for path in ["/nonexistent/rows.jsonl", FileManager.default.temporaryDirectory.path] {
            #expect { try Records.pairs([RecordFile(path: path)]) } throws: { if case .unreadable? = $0 as? RecordError { true } else { false } }
        }
    }

    @Test func columnsThatAreNotThere() throws {
        let file = try TemporaryFile(good)
        #expect { try Records.pairs(file.files, columns: ["promt": "q"]) } throws: {
            if case .unknownColumn("promt", _)? = $0 as? RecordError { true } else { false }
        }
        #expect { try Records.pairs(file.files, columns: ["margin": "score"]) } throws: {
            $0 as? RecordError == .missingColumn(file: file.path, name: "margin", column: "score", found: ["prompt", "chosen", "rejected"])
        }
    }

    @Test func weights() throws {
        let file = try TemporaryFile((0..<100).map { "{\"prompt\": \"\($0)\", \"chosen\": \"A\", \"rejected\": \"B\"}\n" }.joined())
        func lines(_ weight: Double, seed: UInt64 = 0) throws -> [Int] {
            try Records.pairs([RecordFile(path: file.path, weight: weight)], seed: seed).rows.map(\.origin.line)
        }
        let quarter = try lines(0.25)
        #expect(quarter.count == 25 && quarter == quarter.sorted() && Set(quarter).count == 25, "\(quarter.count) of 25")
        #expect(try lines(0.25) == quarter && lines(0.25, seed: 1) != quarter)
        #expect(try lines(2.25) == Array(1...100) + Array(1...100) + quarter)
        for weight in [0, -1, 1001, Double.nan, .infinity] {
            #expect { try lines(weight) } throws: { if case .badWeight? = $0 as? RecordError { true } else { false } }
        }
        let (_, report) = try Records.pairs([RecordFile(path: file.path, weight: 0.5), RecordFile(path: file.path)])
        #expect(report.rows == 150 && report.rowsRead == 200 && report.shapes.first?.count == 200, "\(report.rows) of \(report.rowsRead)")
    }

    @Test func weightsInNames() throws {
        #expect(RecordFile.parse("a.jsonl:0.5") == RecordFile(path: "a.jsonl", weight: 0.5))
        for name in ["a.jsonl", "a.jsonl:", "a.jsonl:x", ":2", "a:b.jsonl", "a:nan", "a:0x1p4"] { #expect(RecordFile.parse(name) == RecordFile(path: name)) }
        #expect(RecordFile.parse("a:b.jsonl:2") == RecordFile(path: "a:b.jsonl", weight: 2))
        let file = try TemporaryFile(good, name: "rows:3")
        #expect(RecordFile.parse(file.path) == RecordFile(path: file.path))
        #expect(RecordFile.parse(file.path + ":3") == RecordFile(path: file.path, weight: 3))
    }
}
