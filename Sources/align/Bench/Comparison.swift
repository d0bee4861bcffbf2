import Serialization

/// Two runs side by side.
struct Comparison {
    struct Row: Equatable {
        let part: String, name: String, unit: String
        let old: Double, new: Double
        /// The ratio of both figures' shares of their own run's ceiling: what is left when the machine was faster or slower.
        let normalised: Double?

        /// nil where the old figure is 0.
        var ratio: Double? { old == 0 ? nil : new / old }
    }

    let rows: [Row]
    /// Figures of one side only, `part: name`.
    let onlyOld: [String]
    let onlyNew: [String]
    /// What differs in the two runs' settings, `key: old, new`.
    let differences: [String]

    init(old: BenchReport, new: BenchReport) {
        func same(_ a: Figure, _ b: Figure) -> Bool { a.part == b.part && a.name == b.name && a.unit == b.unit }
        rows = new.figures.compactMap { figure in
            guard let before = old.figures.first(where: { same($0, figure) }) else { return nil }
            var normalised: Double?
            if let a = before.share, let b = figure.share, a > 0, before.limit?.ceiling.name == figure.limit?.ceiling.name { normalised = b / a }
            return Row(part: figure.part, name: figure.name, unit: figure.unit, old: before.median, new: figure.median, normalised: normalised)
        }
        func label(_ figure: Figure) -> String { "\(figure.part): \(figure.name) (\(figure.unit))" }
        onlyOld = old.figures.filter { figure in !new.figures.contains { same($0, figure) } }.map(label)
        onlyNew = new.figures.filter { figure in !old.figures.contains { same($0, figure) } }.map(label)
        let keys = new.setting.keys + old.setting.keys.filter { new.setting[$0] == nil }
        differences = keys.filter { old.setting[$0] != new.setting[$0] }.map { key in
            "\(key): \(old.setting[key]?.text() ?? "absent") then, \(new.setting[key]?.text() ?? "absent") now"
        }
    }

    private static func ratio(_ value: Double?) -> String { value.map { formatted($0, "%.2f") } ?? "-" }

    var lines: [String] {
        func line(_ name: String, _ old: String, _ new: String, _ unit: String, _ ratio: String, _ normalised: String) -> String {
            "  " + padded(name, Figure.nameWidth) + leftPadded(old, 9) + leftPadded(new, 9) + " " + padded(unit, 8) + leftPadded(ratio, 7) + leftPadded(normalised, 12)
        }
        var lines = differences.map { "differs: " + $0 }
        lines.append(line("", "old", "new", "", "ratio", "normalised"))
        var part = ""
        for row in rows {
            if row.part != part { lines.append(row.part) }
            part = row.part
            lines.append(
                line(row.name, Figure.text(row.old), Figure.text(row.new), row.unit, Self.ratio(row.ratio), Self.ratio(row.normalised)))
        }
        lines += onlyOld.map { "only old: " + $0 } + onlyNew.map { "only new: " + $0 }
        lines.append("ratio is new/old: of seconds and GB less is better. Normalised is the ratio of shares of each run's own ceiling;")
        lines.append("machines are noisy and shared, so trust that where it stands.")
        return lines
    }

    var json: JSON {
        func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
        func list(_ texts: [String]) -> JSON { .array(texts.map { .string($0) }) }
        return [
            "figures": .array(rows.map { row in
                [
                    "part": .string(row.part), "name": .string(row.name), "unit": .string(row.unit), "old": .number(row.old), "new": .number(row.new),
                    "ratio": number(row.ratio), "normalised": number(row.normalised),
                ]
            }),
            "only_old": list(onlyOld), "only_new": list(onlyNew), "differences": list(differences),
        ]
    }
}
