import Foundation
import Serialization

/// What a run of `align bench --json` says, written and read again.
struct BenchReport: Equatable {
    static let format = "align-bench"
    static let version = 1
    static let expected = "what 'align bench --json' printed (\"format\": \"\(format)\", \"version\": \(version))"

    /// The machine, the kernels, the model: what must be alike for figures to be compared.
    var setting: JSONObject
    var figures: [Figure]
    /// Further members, such as the profile; not read again.
    var extra = JSONObject()

    var json: JSON {
        var object = JSONObject([("format", .string(BenchReport.format)), ("version", .integer(BenchReport.version))])
        object["setting"] = .object(setting)
        object["figures"] = .array(figures.map(\.json))
        for (key, value) in extra.members { object[key] = value }
        return .object(object)
    }

    init(setting: JSONObject, figures: [Figure], extra: JSONObject = JSONObject()) {
        (self.setting, self.figures, self.extra) = (setting, figures, extra)
    }

    /// Reads a file.
    init(file: String) throws(BenchFileError) {
        guard fileExists(file) else { throw .missing(file: file) }
        guard !isFolder(file) else { throw .foreign(file: file, found: "a folder", expected: BenchReport.expected) }
        guard let handle = FileHandle(forReadingAtPath: file), let data = try? handle.read(upToCount: 64 << 20) else { throw .unreadable(file: file) }
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(data) } catch {
            throw .notJSON(file: file, line: error.line, found: error.found, expected: error.expected)
        }
        guard json["format"]?.string == BenchReport.format else {
            let found = json.object == nil ? "\(json.kind) at the top" : json["format"].map { "\"format\": \($0.text().prefix(80))" } ?? "JSON without \"format\""
            throw .foreign(file: file, found: found, expected: BenchReport.expected)
        }
        guard json["version"]?.int == BenchReport.version else {
            throw .foreign(file: file, found: "\"version\": \(json["version"]?.text().prefix(80) ?? "absent")", expected: BenchReport.expected)
        }
        guard let list = json["figures"]?.array else {
            throw .foreign(file: file, found: "\"figures\": \(json["figures"]?.kind ?? "absent")", expected: "a list of figures")
        }
        figures = []
        for (index, one) in list.enumerated() {
            guard let figure = Figure(json: one) else {
                throw .badFigure(file: file, index: index, found: String(one.text().prefix(120)), expected: "an object with part, name, unit and values")
            }
            figures.append(figure)
        }
        setting = json["setting"]?.object ?? JSONObject()
    }
}

/// Why a file is no earlier result.
enum BenchFileError: ExitCoded, Equatable {
    case missing(file: String)
    case unreadable(file: String)
    case notJSON(file: String, line: Int, found: String, expected: String)
    case foreign(file: String, found: String, expected: String)
    /// - Parameter index: Counted from 0.
    case badFigure(file: String, index: Int, found: String, expected: String)

    var exitCode: ExitCode {
        switch self {
        case .missing: .noInput
        case .unreadable: .io
        case .notJSON, .foreign, .badFigure: .data
        }
    }
}

extension BenchFileError: CustomStringConvertible {
    var description: String {
        switch self {
        case let .missing(file): "\(file): there is no such file; \(BenchReport.expected) was expected here."
        case let .unreadable(file): "\(file): cannot be read."
        case let .notJSON(file, line, found, expected):
            "\(file):\(line): not JSON: found \(found), expected \(expected). It must be \(BenchReport.expected)."
        case let .foreign(file, found, expected): "\(file): found \(found), expected \(expected)."
        case let .badFigure(file, index, found, expected): "\(file): figures[\(index)]: found \(found), expected \(expected)."
        }
    }
}
