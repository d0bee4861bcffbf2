import Serialization

// The ways to declare a field: a key path, and what its values may be.
extension SettingField {
    /// An integer of `range`.
    public static func integer(
        _ name: String, _ path: WritableKeyPath<Settings, Int> & Sendable, in range: ClosedRange<Int> = 0...Int.max, group: String,
        aliases: [String] = [], help: String
    ) -> Self {
        let upper = range.upperBound == .max ? "" : " and at most \(range.upperBound)"
        return SettingField(
            name: name, kind: .integer, placeholder: "N", help: help, aliases: aliases, group: group, isRequired: false,
            expected: "an integer of at least \(range.lowerBound)\(upper)", read: { .integer($0[keyPath: path]) },
            write: {
                guard let value = $1.int, range.contains(value) else { return false }
                $0[keyPath: path] = value
                return true
            }
        )
    }

    /// A number that `isValid` accepts and `expected` describes.
    public static func number(
        _ name: String, _ path: WritableKeyPath<Settings, Double> & Sendable, expected: String,
        where isValid: @escaping @Sendable (Double) -> Bool, group: String, aliases: [String] = [], help: String
    ) -> Self {
        SettingField(
            name: name, kind: .number, placeholder: "FLOAT", help: help, aliases: aliases, group: group, isRequired: false,
            expected: expected, read: { .number($0[keyPath: path]) },
            write: {
                guard let value = $1.double, value.isFinite, isValid(value) else { return false }
                $0[keyPath: path] = value
                return true
            }
        )
    }

    /// A text that may be absent (`null` in JSON).
    public static func text(
        _ name: String, _ path: WritableKeyPath<Settings, String?> & Sendable, placeholder: String, group: String,
        aliases: [String] = [], help: String
    ) -> Self {
        SettingField(
            name: name, kind: .text, placeholder: placeholder, help: help, aliases: aliases, group: group, isRequired: false,
            expected: "a text", read: { $0[keyPath: path].map { .string($0) } ?? .null },
            write: {
                guard $1.isNull || $1.string?.isEmpty == false else { return false }
                $0[keyPath: path] = $1.string
                return true
            }
        )
    }

    /// A text that is always there.
    public static func text(
        _ name: String, _ path: WritableKeyPath<Settings, String> & Sendable, placeholder: String, group: String,
        aliases: [String] = [], help: String
    ) -> Self {
        SettingField(
            name: name, kind: .text, placeholder: placeholder, help: help, aliases: aliases, group: group, isRequired: false,
            expected: "a text", read: { .string($0[keyPath: path]) },
            write: {
                guard let value = $1.string, !value.isEmpty else { return false }
                $0[keyPath: path] = value
                return true
            }
        )
    }

    /// One of the cases of an enumeration; `synonyms` are other tools' words for them.
    public static func choice<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, _ path: WritableKeyPath<Settings, Choice> & Sendable, group: String, aliases: [String] = [],
        synonyms: [String: Choice] = [:], help: String
    ) -> Self {
        let words = Choice.allCases.map(\.rawValue)
        return SettingField(
            name: name, kind: .choice(words), placeholder: words.joined(separator: "|"), help: help, aliases: aliases, group: group,
            isRequired: false, expected: "one of \(words.joined(separator: ", "))", read: { .string($0[keyPath: path].rawValue) },
            write: {
                guard let text = $1.string, let value = Choice(rawValue: text) ?? synonyms[text] else { return false }
                $0[keyPath: path] = value
                return true
            }
        )
    }

    /// One of `words`, which a registry names.
    public static func word(
        _ name: String, _ path: WritableKeyPath<Settings, String> & Sendable, of words: [String], group: String, aliases: [String] = [],
        help: String
    ) -> Self {
        SettingField(
            name: name, kind: .choice(words), placeholder: words.joined(separator: "|"), help: help, aliases: aliases, group: group,
            isRequired: false, expected: "one of \(words.joined(separator: ", "))", read: { .string($0[keyPath: path]) },
            write: {
                guard let text = $1.string, words.contains(text) else { return false }
                $0[keyPath: path] = text
                return true
            }
        )
    }

    /// A flag without a value. `inverted` is for `--no-…` flags: given, they set the property to false.
    public static func flag(
        _ name: String, _ path: WritableKeyPath<Settings, Bool> & Sendable, inverted: Bool = false, group: String, aliases: [String] = [],
        help: String
    ) -> Self {
        SettingField(
            name: name, kind: .switched, placeholder: "", help: help, aliases: aliases, group: group, isRequired: false,
            expected: "true or false", read: { .bool($0[keyPath: path] != inverted) },
            write: {
                guard let value = $1.bool else { return false }
                $0[keyPath: path] = value != inverted
                return true
            }
        )
    }

    /// A list of texts; in JSON an array, or one string for a list of one.
    public static func list(
        _ name: String, _ path: WritableKeyPath<Settings, [String]> & Sendable, placeholder: String, group: String,
        aliases: [String] = [], isRequired: Bool = false, help: String
    ) -> Self {
        SettingField(
            name: name, kind: .list, placeholder: placeholder, help: help, aliases: aliases, group: group, isRequired: isRequired,
            expected: "a text or an array of texts", read: { .array($0[keyPath: path].map { .string($0) }) },
            write: {
                let values = $1.string.map { [$0] } ?? $1.array?.compactMap(\.string)
                guard let values, values.count == $1.array?.count ?? 1, !values.contains("") else { return false }
                $0[keyPath: path] = values
                return true
            }
        )
    }
}

/// Flags and keys are compared with dashes: `learning_rate` is `learning-rate`.
func dashed(_ name: String) -> String { String(name.map { $0 == "_" ? "-" : $0 }) }
