import Foundation
import PreferenceData
import Serialization

/// Where rows come from. (Reading is PreferenceData's; this is what the stages ask of it.)
enum RecordReading {
    static func pairs(_ files: [String], settings: TrainingSettings) throws -> (rows: [PreferencePair], preflight: Preflight) {
        var rows: [PreferencePair] = []
        for file in files {
            for (i, line) in String(decoding: try DurableFiles.read(file), as: UTF8.self).split(separator: "\n").enumerated() {
                let json = try JSON.parse(String(line))
                func ids(_ k: String) -> Content { .tokens((json[k]?.array ?? []).map { Int32($0.int ?? 0) }) }
                rows.append(PreferencePair(prompt: ids("prompt_ids"), chosen: ids("chosen_ids"), rejected: ids("rejected_ids"), margin: nil, origin: RowOrigin(file: file, line: i + 1), shape: .tokens))
            }
        }
        return (rows, Preflight())
    }
    static func examples(_ files: [String], settings: TrainingSettings) throws -> (rows: [SupervisedExample], preflight: Preflight) {
        var rows: [SupervisedExample] = []
        for file in files {
            for (i, line) in String(decoding: try DurableFiles.read(file), as: UTF8.self).split(separator: "\n").enumerated() {
                let json = try JSON.parse(String(line))
                rows.append(SupervisedExample(prompt: nil, completion: .tokens((json["input_ids"]?.array ?? []).map { Int32($0.int ?? 0) }),
                    lossMask: json["loss_mask"]?.array?.map { ($0.int ?? 0) != 0 }, origin: RowOrigin(file: file, line: i + 1), shape: .tokens))
            }
        }
        return (rows, Preflight())
    }
}
