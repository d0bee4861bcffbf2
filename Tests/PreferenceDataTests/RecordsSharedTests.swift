import Foundation
import Testing

@testable import PreferenceData

@Suite struct RecordsSharedFiles {
    /// A file of the shared folder, or nil, with a note.
    private func shared(_ name: String) -> [RecordFile]? {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let folder = ProcessInfo.processInfo.environment["ALIGN_SHARED"] ?? root.deletingLastPathComponent().appendingPathComponent("shared").path
        let path = "\(folder)/data/\(name)"
        guard FileManager.default.fileExists(atPath: path) else {
            print("skipped: \(path) is not there")
            return nil
        }
        return [RecordFile(path: path)]
    }

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

@Suite struct RecordsMutations {
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let z = (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
            return z ^ (z >> 33)
        }
    }

    /// Whatever bytes change, files are read or refused; the type system says that nothing but `RecordError` is thrown.
    @Test func threeThousandMutations() throws {
        let rows = [
            #"{"prompt": "Q", "chosen": "A b", "rejected": "A é", "margin": 1}"#, #"{"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4]}"#,
            #"{"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Hi\n\nAssistant: B"}"#,
            #"{"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}"#,
            #"{"input_ids": [1, 2], "loss_mask": [0, 1]}"#, #"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}"#,
        ]
        let lines = Array(rows.joined(separator: "\n").utf8)
        let sources = [lines, Array("[\n\(rows.joined(separator: ",\n"))\n]".utf8), gzipped(lines)]
        let spare = Array("{}[]\",:\\\n\u{0}0-é".utf8)
        var generator = Generator(state: 7)
        var refused = 0
        for round in 0..<3000 {
            var bytes = sources[round % sources.count]
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.insert(spare.randomElement(using: &generator) ?? 0, at: place)
                case 2: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...20, using: &generator)))
                default: bytes.replaceSubrange(place..<place, with: bytes[place..<min(bytes.count, place + 9)])
                }
                if bytes.isEmpty { bytes = [0] }
            }
            let file = try TemporaryFile(bytes)
            do throws(RecordError) {
                let onBadRow: OnBadRow = round % 2 == 0 ? .skip : .stop
                switch round % 5 {
                case 0, 1: _ = try Records.pairs(file.files, onBadRow: onBadRow)
                case 2, 3: _ = try Records.supervised(file.files, onBadRow: onBadRow)
                default: _ = try Records.prompts(file.files, onBadRow: onBadRow)
                }
            } catch {
                refused += 1
                #expect(!error.description.isEmpty)
            }
        }
        print("3000 mutations: \(refused) refused")
        #expect(refused > 0 && refused < 3000, "\(refused) of 3000 refused")
    }
}
