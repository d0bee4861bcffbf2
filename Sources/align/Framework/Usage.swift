/// What a command accepts, as data: help, parsing and error messages are all derived from it.
struct Usage: Sendable {
    var name: String
    var summary: String
    var flags: [Flag]
    var positionals: [Positional]
    /// One command line that works.
    var example: String
    /// Paragraphs after the flags.
    var notes: String

    init(_ name: String, _ summary: String, _ flags: [Flag] = [], positionals: [Positional] = [], example: String, notes: String = "") {
        self.name = name
        self.summary = summary
        self.flags = flags
        self.positionals = positionals
        self.example = example
        self.notes = notes
    }
}

/// One flag of a command. Dashes and underscores are equal in names and aliases.
struct Flag: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        case required
        case optional
        /// May be given several times.
        case list(isRequired: Bool)
        /// Takes no value; `--no-NAME` turns it off.
        case switched
    }

    var name: String
    var placeholder: String
    var help: String
    var kind: Kind
    /// What holds if it is not given, in help.
    var defaultText: String?
    var aliases: [String] = []
    /// The heading it stands under in help.
    var group = ""
    /// What its value must be, for messages; empty for any text.
    var expected = ""

    static func required(_ name: String, _ placeholder: String, _ help: String, aliases: [String] = []) -> Flag {
        Flag(name: name, placeholder: placeholder, help: help, kind: .required, aliases: aliases)
    }
    static func optional(_ name: String, _ placeholder: String, _ help: String, default defaultText: String? = nil, aliases: [String] = []) -> Flag {
        Flag(name: name, placeholder: placeholder, help: help, kind: .optional, defaultText: defaultText, aliases: aliases)
    }
    static func list(_ name: String, _ placeholder: String, _ help: String, aliases: [String] = []) -> Flag {
        Flag(name: name, placeholder: placeholder, help: help, kind: .list(isRequired: false), aliases: aliases)
    }
    static func switched(_ name: String, _ help: String) -> Flag {
        Flag(name: name, placeholder: "", help: help, kind: .switched)
    }

    var isRequired: Bool { kind == .required || kind == .list(isRequired: true) }
    var takesValue: Bool { kind != .switched }

    /// `--beta FLOAT`
    var form: String { takesValue ? "--\(name) \(placeholder)" : "--\(name)" }

    /// The same flag under a heading.
    func under(_ group: String) -> Flag {
        var flag = self
        flag.group = group
        return flag
    }
}

/// A word without a flag.
struct Positional: Sendable, Equatable {
    enum Count: Sendable, Equatable { case one, optional, any }
    var placeholder: String
    var help: String
    var count: Count

    var form: String {
        switch count {
        case .one: placeholder
        case .optional: "[\(placeholder)]"
        case .any: "[\(placeholder) …]"
        }
    }
}

/// Names are compared with dashes: `learning_rate` is `learning-rate`.
func dashed(_ name: some StringProtocol) -> String { String(name.map { $0 == "_" ? "-" : $0 }) }

extension Usage {
    /// The flag that `name` (without dashes before it) means, and whether it is meant to be on.
    func flag(named name: String) -> (flag: Flag, isOn: Bool)? {
        let name = dashed(name)
        func find(_ wanted: String) -> Flag? {
            flags.first { $0.name == wanted } ?? flags.first { $0.aliases.contains { dashed($0) == wanted } }
        }
        if let flag = find(name) { return (flag, true) }
        if name.hasPrefix("no-"), let flag = find(String(name.dropFirst(3))), !flag.takesValue { return (flag, false) }
        if let flag = find("no-" + name), !flag.takesValue { return (flag, false) }
        return nil
    }

    /// The flag whose name or alias is nearest to `name`, if it is near.
    func nearestFlag(to name: String) -> Flag? {
        let candidates = flags.flatMap { flag in ([flag.name] + flag.aliases.map { dashed($0) }).map { ($0, flag) } }
        return nearest(to: dashed(name), in: candidates.map(\.0)).flatMap { best in candidates.first { $0.0 == best }?.1 }
    }
}

/// The candidate with the fewest edits between it and `word`, if they are few for its length.
func nearest(to word: String, in candidates: [String]) -> String? {
    let best = candidates.map { (editDistance($0, word), $0) }.min { $0.0 < $1.0 }
    // A word typed in part ("learn") is near to what it begins.
    let begun = candidates.first { word.count >= 3 && $0.hasPrefix(word) }
    if let best, best.0 <= max(2, word.count / 3) { return best.1 }
    return begun
}

/// Edits (insertions, deletions, substitutions, swaps of neighbours) that turn one word into the other.
func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a), Array(b))
    var rows = [Array(0...b.count)]
    for i in 0..<a.count {
        var row = [i + 1]
        for j in 0..<b.count {
            var distance = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { distance = min(distance, rows[i - 1][j - 1] + 1) }
            row.append(distance)
        }
        rows.append(row)
    }
    return rows[a.count][b.count]
}
