import Foundation
import Serialization

/// A command line taken apart by a command's `Usage`.
struct Arguments {
    let usage: Usage
    /// Values by flag name, in the order given; a switch has "true" or "false".
    private(set) var values: [String: [String]] = [:]
    /// What `--config` says, by flag name; flags win.
    private(set) var config: [String: JSON] = [:]
    private(set) var positionals: [String] = []

    /// - Parameter words: What follows the command's name.
    init(_ usage: Usage, _ words: [String]) throws(UsageError) {
        self.usage = usage
        var index = 0
        var flagsEnded = false
        while index < words.count {
            let word = words[index]
            index += 1
            guard word.hasPrefix("--"), !flagsEnded else {
                try take(word)
                continue
            }
            if word == "--" {
                flagsEnded = true
                continue
            }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let attached = parts.count > 1 ? parts[1] : nil
            // A value may begin with one dash (-1), not with two.
            let following = index < words.count && !words[index].hasPrefix("--") ? words[index] : nil
            guard let (flag, isOn) = usage.flag(named: parts[0]) else {
                throw .unknownFlag(
                    command: usage.name, flag: "--" + parts[0], value: attached ?? following, nearest: usage.nearestFlag(to: parts[0])?.form)
            }
            if flag.takesValue {
                guard let value = attached ?? following else {
                    throw .missingValue(command: usage.name, form: flag.form, help: flag.expected.isEmpty ? flag.help : flag.expected)
                }
                if attached == nil { index += 1 }
                values[flag.name, default: []].append(value)
            } else {
                switch attached?.lowercased() {
                case nil, "true", "1", "yes": values[flag.name] = [isOn ? "true" : "false"]
                case "false", "0", "no": values[flag.name] = [isOn ? "false" : "true"]
                default: throw .badValue(command: usage.name, flag: flag.name, found: attached ?? "", expected: "no value, true or false")
                }
            }
        }
        if let file = values["config"]?.last, usage.flag(named: "config") != nil { try read(config: file) }
        // A resumed run brings its own settings.
        let resumes = values["resume"]?.last == "true"
        for flag in usage.flags where flag.isRequired && !resumes && values[flag.name] == nil && config[flag.name] == nil {
            throw .missingFlag(command: usage.name, form: flag.form, help: flag.help)
        }
        if let missing = usage.positionals.first(where: { $0.count == .one }), positionals.isEmpty {
            throw .missingArgument(command: usage.name, placeholder: missing.placeholder, help: missing.help)
        }
    }

    private mutating func take(_ word: String) throws(UsageError) {
        let unlimited = usage.positionals.contains { $0.count == .any }
        guard unlimited || positionals.count < usage.positionals.count else {
            let accepts = usage.positionals.isEmpty ? "flags only" : usage.positionals.map(\.form).joined(separator: " ")
            throw .extraArgument(command: usage.name, found: word, accepts: accepts)
        }
        positionals.append(word)
    }

    // MARK: --config

    private mutating func read(config file: String) throws(UsageError) {
        guard let data = FileManager.default.contents(atPath: file) else { throw .badConfig(file: file, reason: "no such file") }
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(data) } catch { throw .badConfig(file: file, reason: "not JSON: \(error)") }
        guard let object = json.object else { throw .badConfig(file: file, reason: "found \(json.kind), expected an object whose keys are flags") }
        for (key, value) in object.members {
            guard let (flag, isOn) = usage.flag(named: key), flag.name != "config" else {
                throw .unknownKey(file: file, key: key, nearest: usage.nearestFlag(to: key)?.name)
            }
            config[flag.name] = isOn ? value : .bool(value.bool == false)
        }
    }

    // MARK: Values

    /// The flag's last value, from the command line or from `--config`.
    func optionalText(_ name: String) -> String? {
        precondition(usage.flags.contains { $0.name == name }, "\(usage.name) declares no flag --\(name)")
        if let value = values[name]?.last { return value }
        return config[name].flatMap { value in
            switch value {
            case .null: nil
            case let .string(text): text
            default: value.text()
            }
        }
    }

    func text(_ name: String) throws(UsageError) -> String {
        if let value = optionalText(name) { return value }
        let flag = usage.flags.first { $0.name == name }
        throw .missingFlag(command: usage.name, form: flag?.form ?? "--\(name)", help: flag?.help ?? "")
    }

    /// All values of a flag that may be given several times.
    func list(_ name: String) -> [String] {
        if let given = values[name] { return given }
        guard let value = config[name] else { return [] }
        return value.array?.compactMap(\.string) ?? value.string.map { [$0] } ?? []
    }

    func isOn(_ name: String) -> Bool { optionalText(name) == "true" }

    func optionalInteger(_ name: String, in range: ClosedRange<Int>, expected: String) throws(UsageError) -> Int? {
        guard let text = optionalText(name) else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw .badValue(command: usage.name, flag: name, found: text, expected: expected)
        }
        return value
    }

    func integer(_ name: String, in range: ClosedRange<Int>, default value: Int, expected: String) throws(UsageError) -> Int {
        try optionalInteger(name, in: range, expected: expected) ?? value
    }

    func number(_ name: String, in range: ClosedRange<Double>, default value: Double, expected: String) throws(UsageError) -> Double {
        guard let text = optionalText(name) else { return value }
        guard let value = Double(text), value.isFinite, range.contains(value) else {
            throw .badValue(command: usage.name, flag: name, found: text, expected: expected)
        }
        return value
    }

    func choice<Choice: RawRepresentable<String> & CaseIterable>(_ name: String, default value: Choice) throws(UsageError) -> Choice {
        guard let text = optionalText(name) else { return value }
        guard let choice = Choice(rawValue: text) else {
            let words = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw .badValue(command: usage.name, flag: name, found: text, expected: "one of \(words)")
        }
        return choice
    }
}
