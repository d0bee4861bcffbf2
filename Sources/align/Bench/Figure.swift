import Serialization

/// One measured quantity: all its rounds.
struct Figure {
    let name: String
    /// Sorted.
    let values: [Double]
    let unit: String
    /// What the number means beside others.
    var note = ""

    init(_ name: String, _ values: [Double], _ unit: String, note: String = "") {
        (self.name, self.values, self.unit, self.note) = (name, values.sorted(), unit, note)
    }

    var median: Double { values.isEmpty ? 0 : values[values.count / 2] }

    private func text(_ value: Double) -> String { formatted(value, value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f") }

    var line: String {
        var line = padded(name, 36) + leftPadded(text(median), 8) + " " + padded(unit, 9)
        if values.count > 1, let least = values.first, let most = values.last { line += " (\(text(least)) to \(text(most)))" }
        return line + (note.isEmpty ? "" : "  " + note)
    }

    var json: JSON {
        var object = JSONObject([("name", .string(name)), ("median", .number(median)), ("unit", .string(unit)), ("values", .array(values.map { .number($0) }))])
        if !note.isEmpty { object["note"] = .string(note) }
        return .object(object)
    }

    /// Seconds that `body` takes, `rounds` times, after one time that does not count.
    static func seconds(rounds: Int, _ body: () throws -> Void) rethrows -> [Double] {
        try body()
        return try (0..<rounds).map { _ in
            let start = ContinuousClock.now
            try body()
            let elapsed = (ContinuousClock.now - start).components
            return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
        }
    }
}
