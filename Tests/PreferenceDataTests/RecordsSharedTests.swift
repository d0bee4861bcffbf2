import Foundation
import Testing

@testable import PreferenceData

@Suite struct RecordsSharedFiles {
    @Test(arguments: [
        ("hh-helpful-base.train.jsonl", 1411, RecordShape.chosenRejectedTranscripts), ("hh-helpful-base.test.jsonl", 467, .chosenRejectedTranscripts),
        ("hh-harmless-base.train.jsonl.gz", 927, .chosenRejectedTranscripts), ("hh-harmless-base.test.jsonl", 926, .chosenRejectedTranscripts),
        ("rasbt-instruction-preference.json", 1100, .instructionChosenRejected), ("llamafactory-dpo-en-demo.json", 300, .conversationsChosenRejected),
        ("stack-exchange-paired-tiny.json", 25, .questionResponses), ("hhh-alignment.jsonl", 221, .promptChosenRejected),
    ]) func pairCounts(name: String, count: Int, shape: RecordShape) throws {
        guard let files = shared("preferences/\(name)") else { return }
        let (rows, report) = try Records.pairs(files, onBadRow: .skip)
        print("\(name): \(rows.count) rows, \(report.badRowCount) bad, \(report.shapes)", report.badRows.prefix(3).map { "\($0.line): \($0.reason)" })
        #expect(rows.count + report.badRowCount == count, "\(rows.count) + \(report.badRowCount), expected \(count)")
        #expect(report.badRows.allSatisfy { $0.reason.contains("are the same") || $0.reason.contains("is empty") })
        #expect(report.shapes.map(\.shape) == [shape])
        for row in rows {
            guard let raw = row.raw else { continue }
            #expect(raw.prompt.hasSuffix("Assistant:") || raw.prompt.hasSuffix("Human:"), "\(row.origin.line): \(raw.prompt.suffix(40))")
        }
    }

    @Test(arguments: [
        ("alpaca-gpt4-en-demo.json", 999, RecordShape.instructionOutput), ("dolly-hhrlhf-1000.jsonl", 1000, .promptResponse),
        ("rasbt-instruction-data.json", 1100, .instructionOutput), ("fastchat-dummy-conversation.json", 500, .conversations),
        ("glaive-toolcall-en-demo.json.gz", 300, .conversations),
    ]) func exampleCounts(name: String, count: Int, shape: RecordShape) throws {
        guard let files = shared("instructions/\(name)") else { return }
        let (rows, report) = try Records.supervised(files, onBadRow: .skip)
        print("\(name): \(rows.count) rows, \(report.badRowCount) bad, \(report.shapes)", report.badRows.prefix(3).map { "\($0.line): \($0.reason)" })
        #expect(rows.count + report.badRowCount == count, "\(rows.count) + \(report.badRowCount), expected \(count)")
        #expect(report.badRows.allSatisfy { $0.reason.contains("is empty") || $0.reason.contains("no answer") })
        #expect(report.shapes.map(\.shape) == [shape])
    }
}
