import Serialization

/// Everything a stage can be told, with defaults: one value from which flags, help, JSON config and run record derive.
public protocol StageSettings: Codable, Sendable, Equatable {
    init()
    static var fields: [SettingField<Self>] { get }
    /// Checks what no single field can see.
    func validate() throws(SettingError)
}

extension StageSettings {
    /// The field that `name` means, be it the name or an alias, with dashes or underscores.
    public static func field(named name: String) -> SettingField<Self>? {
        let wanted = dashed(name)
        return fields.first { $0.name == wanted } ?? fields.first { $0.aliases.contains { dashed($0) == wanted } }
    }

    /// Sets one setting from a flag's text.
    public mutating func set(_ name: String, text: String) throws(SettingError) {
        try Self.known(name).set(text: text, in: &self)
    }

    /// Sets what the members of a flat JSON object say; used for `--config` and for run records.
    public mutating func apply(_ object: JSONObject) throws(SettingError) {
        for (key, value) in object.members { try Self.known(key).set(value, in: &self) }
    }

    /// All settings by name, in the order in which they are declared.
    public var json: JSON { .object(JSONObject(Self.fields.map { ($0.name, $0.value(in: self)) })) }

    /// Names of the settings in which `other` differs.
    public func differences(from other: Self) -> [String] {
        Self.fields.filter { $0.value(in: self) != $0.value(in: other) }.map(\.name)
    }

    /// Throws `SettingError.missing` for the first required setting that is empty.
    func checkRequired() throws(SettingError) {
        for field in Self.fields where field.isRequired {
            let value = field.value(in: self)
            if value.isNull || value.array?.isEmpty == true {
                throw .missing(setting: field.name, placeholder: field.placeholder, help: field.help)
            }
        }
    }

    private static func known(_ name: String) throws(SettingError) -> SettingField<Self> {
        if let field = field(named: name) { return field }
        throw .unknown(setting: name, nearest: nearest(to: dashed(name)))
    }

    /// The flag with the fewest edits between it and `name`, if they are few.
    public static func nearest(to name: String) -> String? {
        let candidates = fields.flatMap { field in [(field.name, field.name)] + field.aliases.map { (dashed($0), field.name) } }
        let best = candidates.map { (editDistance($0.0, name), $0.1) }.min { $0.0 < $1.0 }
        return best.flatMap { $0.0 <= max(2, name.count / 3) ? $0.1 : nil }
    }
}

/// Levenshtein distance in characters.
func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a), Array(b))
    var previous = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var current = [i + 1]
        for (j, y) in b.enumerated() {
            current.append(min(previous[j + 1] + 1, current[j] + 1, previous[j] + (x == y ? 0 : 1)))
        }
        previous = current
    }
    return previous[b.count]
}
