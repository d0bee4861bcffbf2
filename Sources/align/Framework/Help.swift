/// Help texts, derived from what commands declare.
enum Help {
    /// `align --help`
    static func overview(_ commands: [any Command.Type]) -> String {
        let lines = list(Registry.groups.reduce(commands.map { ($0.usage.name, $0.usage.summary) }) { lines, group in
            // A group stands for its commands, where the first of them would.
            guard let place = lines.firstIndex(where: { $0.0.hasPrefix(group.name + " ") }) else { return lines }
            var others = lines.filter { !$0.0.hasPrefix(group.name + " ") }
            others.insert((group.name, group.summary), at: place)
            return others
        })
        return """
            align: turns a pretrained language model into one that people prefer.

            Usage: align COMMAND [flags]

            Commands:
            \(lines)

            'align COMMAND --help' lists a command's flags; 'align --version' names this build.
            Results go to standard output, progress and warnings to standard error.
            Exit codes: 0 done, 1 failed, 64 bad usage, 65 bad data, 66 missing input, 74 I/O error,
            75 interrupted and saved.

            """
    }

    /// `align GROUP --help`
    static func text(of group: CommandGroup) -> String {
        """
        \(group.summary)

        Usage: align \(group.name) COMMAND [flags]

        Commands:
        \(list(group.commands.map { ($0.usage.name, $0.usage.summary) }))

        'align \(group.name) COMMAND --help' lists a command's flags.

        """
    }

    private static func list(_ lines: [(String, String)]) -> String {
        let width = lines.map(\.0.count).max() ?? 0
        return lines.map { "  " + padded($0.0, width) + "  " + $0.1 }.joined(separator: "\n")
    }

    /// `align COMMAND --help`
    static func text(of usage: Usage) -> String {
        let words = usage.positionals.map(\.form) + usage.flags.filter(\.isRequired).map(\.form)
        let hasMore = usage.flags.contains { !$0.isRequired }
        var text = "\(usage.summary)\n\nUsage: align \(usage.name)" + words.map { " " + $0 }.joined() + (hasMore ? " [flags]" : "") + "\n"
        if !usage.positionals.isEmpty {
            text += "\n" + table(usage.positionals.map { ($0.placeholder, $0.help) })
        }
        var groups: [String] = []
        for flag in usage.flags where !groups.contains(flag.group) { groups.append(flag.group) }
        for group in groups {
            text += "\n" + (group.isEmpty ? "Flags" : group) + ":\n" + table(usage.flags.filter { $0.group == group }.map { ($0.form, description(of: $0)) })
        }
        text += "\nExample:\n  \(usage.example)\n"
        if !usage.notes.isEmpty { text += "\n" + usage.notes + "\n" }
        return text
    }

    private static func description(of flag: Flag) -> String {
        var text = flag.help
        if flag.isRequired { text += " (required)" } else if let value = flag.defaultText { text += " (default: \(value))" }
        if case .list = flag.kind { text += "; may be repeated" }
        return text
    }

    /// Two columns; the right one is wrapped and aligned.
    static func table(_ rows: [(String, String)]) -> String {
        let column = min(34, (rows.map { $0.0.count }.max() ?? 0) + 2)
        return rows.map { left, right in
            let lines = wrapped(right, to: max(40, 100 - column))
            let first = left.count <= column - 2 ? "  " + padded(left, column) + (lines.first ?? "") : "  \(left)\n" + indent(lines.first ?? "", column)
            return ([first] + lines.dropFirst().map { indent($0, column) }).joined(separator: "\n") + "\n"
        }.joined()
    }

    private static func indent(_ line: String, _ column: Int) -> String { String(repeating: " ", count: column + 2) + line }

    private static func wrapped(_ text: String, to width: Int) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            let line = lines[lines.count - 1]
            if !line.isEmpty && line.count + 1 + word.count > width { lines.append(String(word)) } else {
                lines[lines.count - 1] = line.isEmpty ? String(word) : line + " " + word
            }
        }
        return lines
    }
}

/// `text` followed by spaces up to `width` characters.
func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }

/// Spaces up to `width` characters, then `text`.
func leftPadded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
