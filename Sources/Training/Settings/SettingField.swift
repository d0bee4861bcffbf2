import Serialization

/// One setting of a stage, declared once: flag, help line, JSON key of `--config` and of the run record are all derived from it.
public struct SettingField<Settings>: Sendable {
    /// As in `--learning-rate` and in `"learning-rate": 1e-6`.
    public let name: String
    public let kind: SettingKind
    /// What the value is, in help: `FLOAT`, `FILE`.
    public let placeholder: String
    public let help: String
    /// Other spellings that mean the same; underscores and dashes are equal everywhere and need no alias.
    public let aliases: [String]
    /// The heading under which help lists it.
    public internal(set) var group: String
    public let isRequired: Bool
    /// What a value must be, for messages: `a number above 0, such as 0.1`.
    public let expected: String

    let read: @Sendable (Settings) -> JSON
    /// Returns false if the value is not what is expected.
    let write: @Sendable (inout Settings, JSON) -> Bool

    /// The value as it stands in config files and run records.
    public func value(in settings: Settings) -> JSON { read(settings) }

    /// Sets the value from JSON, as in `--config`.
    public func set(_ value: JSON, in settings: inout Settings) throws(SettingError) {
        guard write(&settings, value) else {
            throw .badValue(setting: name, found: value.text(), expected: expected)
        }
    }

    /// Sets the value from a flag's text; of a list, adds one element. A switch's text is ignored unless it is `false`.
    public func set(text: String, in settings: inout Settings) throws(SettingError) {
        let value: JSON
        switch kind {
        case .integer:
            guard let integer = Int(text) ?? Double(text).flatMap({ Int(exactly: $0) }) else {
                throw .badValue(setting: name, found: text, expected: expected)
            }
            value = .integer(integer)
        case .number:
            guard let number = Double(text), number.isFinite else {
                throw .badValue(setting: name, found: text, expected: expected)
            }
            value = .number(number)
        case .text, .choice: value = .string(text)
        case .switched:
            guard ["", "true", "false"].contains(text.lowercased()) else {
                throw .badValue(setting: name, found: text, expected: "no value")
            }
            value = .bool(text.lowercased() != "false")
        case .list: value = .array((read(settings).array ?? []) + [.string(text)])
        }
        guard write(&settings, value) else { throw .badValue(setting: name, found: text, expected: expected) }
    }

    /// The same field of a value that holds `Settings` as a part.
    public func lifted<Whole>(to part: WritableKeyPath<Whole, Settings> & Sendable) -> SettingField<Whole> {
        let (read, write) = (self.read, self.write)
        return SettingField<Whole>(
            name: name, kind: kind, placeholder: placeholder, help: help, aliases: aliases, group: group, isRequired: isRequired,
            expected: expected, read: { read($0[keyPath: part]) }, write: { write(&$0[keyPath: part], $1) }
        )
    }
}

/// What a setting's text looks like on a command line.
public enum SettingKind: Sendable, Equatable {
    case integer, number, text
    case choice([String])
    /// Takes no value: `--no-shuffle`.
    case switched
    /// May be given several times; each adds one value.
    case list
}

/// A value that cannot be a setting.
public enum SettingError: Error, Equatable {
    case badValue(setting: String, found: String, expected: String)
    case unknown(setting: String, nearest: String?)
    case missing(setting: String, placeholder: String, help: String)
    /// Two settings that exclude each other, or one that needs another.
    case conflict(settings: [String], reason: String)
}

extension SettingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case let .badValue(setting, found, expected): "--\(setting): found \"\(found)\", expected \(expected)."
        case let .unknown(setting, nearest):
            "there is no setting \"\(setting)\"" + (nearest.map { "; the nearest is \"\($0)\"." } ?? ".")
        case let .missing(setting, placeholder, help): "--\(setting) \(placeholder) is missing: \(help)."
        case let .conflict(settings, reason): settings.map { "--" + $0 }.joined(separator: ", ") + ": \(reason)."
        }
    }
}
