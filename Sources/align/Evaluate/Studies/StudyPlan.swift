import CAlign
import Evaluations
import Foundation
import Serialization

/// A study's plan: what is claimed, how it is measured, and every number of the run. It is a file of its own, and the binary carries it.
struct StudyPlan {
    let file: String
    let json: JSON

    /// The plan of this name that the binary carries.
    init?(named name: String) {
        guard let text = align_study_plan(name), let json = try? JSON.parse(Array(String(cString: text).utf8)) else { return nil }
        (file, self.json) = ("studies/\(name).json", json)
    }

    init(file: String) throws {
        guard let data = FileManager.default.contents(atPath: file) else { throw CommandError.missingFile(path: file, what: "a study's plan") }
        self.file = file
        do throws(JSONError) { json = try JSON.parse(data) } catch { throw CommandError.badData(path: file, reason: "\(error)") }
    }

    private init(file: String, json: JSON) { (self.file, self.json) = (file, json) }

    private func bad(_ key: String, _ expected: String) -> CommandError {
        .badData(path: file, reason: "\"\(key)\" is \(json[key]?.text() ?? "not there"), expected \(expected)")
    }

    func text(_ key: String) throws -> String {
        guard let text = json[key]?.string else { throw bad(key, "a string") }
        return text
    }

    func number(_ key: String) throws -> Double {
        guard let value = json[key]?.double, value.isFinite else { throw bad(key, "a number") }
        return value
    }

    func integer(_ key: String, in range: ClosedRange<Int> = 1...1_000_000) throws -> Int {
        guard let value = json[key]?.int, range.contains(value) else { throw bad(key, "an integer in \(range.lowerBound)…\(range.upperBound)") }
        return value
    }

    func numbers(_ key: String) throws -> [Double] {
        guard let values = json[key]?.array, case let numbers = values.compactMap(\.double), numbers.count == values.count else { throw bad(key, "numbers") }
        return numbers
    }

    func word<Word: RawRepresentable<String> & CaseIterable>(_ key: String) throws -> Word {
        guard let word = json[key]?.string.flatMap(Word.init) else {
            throw bad(key, "one of \(Word.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return word
    }

    /// An object of the plan, read in the same way.
    func part(_ key: String) throws -> StudyPlan {
        guard let value = json[key], value.object != nil else { throw bad(key, "an object") }
        return StudyPlan(file: file, json: value)
    }

    func parts(_ key: String) throws -> [StudyPlan] {
        guard let values = json[key]?.array, values.allSatisfy({ $0.object != nil }) else { throw bad(key, "a list of objects") }
        return values.map { StudyPlan(file: file, json: $0) }
    }

    func has(_ key: String) -> Bool { json[key].map { !$0.isNull } ?? false }
}
