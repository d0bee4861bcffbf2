import Serialization

/// What a figure cannot exceed on this machine: a rate measured in the same run.
struct Ceiling: Equatable {
    /// As it is called in a sentence: `products, bf16`, `memory`.
    let name: String
    let value: Double
    let unit: String

    /// A quantity that takes `perUnit` of the ceiling's unit for each of its own.
    func limiting(perUnit: Double = 1) -> Limit { Limit(ceiling: self, perUnit: perUnit) }
}

/// How a figure relates to its ceiling: tokens/s, say, to GFLOP/s.
struct Limit: Equatable {
    let ceiling: Ceiling
    let perUnit: Double
}

/// One measured quantity: all its rounds.
struct Figure: Equatable {
    let name: String
    /// Sorted.
    let values: [Double]
    let unit: String
    let limit: Limit?
    /// What the number means beside others.
    var note: String
    /// The part that measured it; with the name it says which figure this is.
    var part = ""

    init(_ name: String, _ values: [Double], _ unit: String, limit: Limit? = nil, note: String = "") {
        (self.name, self.values, self.unit, self.limit, self.note) = (name, values.sorted(), unit, limit, note)
    }

    var median: Double { values.isEmpty ? 0 : values[values.count / 2] }

    /// The highest value.
    var best: Double { values.last ?? 0 }

    /// The median's share of its ceiling.
    var share: Double? {
        guard let limit, limit.ceiling.value > 0 else { return nil }
        return median * limit.perUnit / limit.ceiling.value
    }

    /// Three digits.
    static func text(_ value: Double) -> String {
        formatted(value, value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : value >= 1 || value == 0 ? "%.2f" : value >= 0.1 ? "%.3f" : "%.3g")
    }

    static let nameWidth = 46

    var line: String {
        let line = "  " + padded(name, Figure.nameWidth) + leftPadded(Figure.text(median), 8) + " " + padded(unit, 8)
        var remarks: [String] = []
        if let share, let limit { remarks.append(leftPadded(formatted(100 * share, "%.0f"), 3) + " % of " + limit.ceiling.name) }
        if values.count > 1, let least = values.first, let most = values.last { remarks.append("(\(Figure.text(least)) to \(Figure.text(most)))") }
        if !note.isEmpty { remarks.append(note) }
        return (line + remarks.map { "  " + $0 }.joined()).trimmedRight
    }

    var json: JSON {
        var object = JSONObject([
            ("part", .string(part)), ("name", .string(name)), ("median", .number(median)), ("unit", .string(unit)),
            ("values", .array(values.map { .number($0) })),
        ])
        if let limit, let share {
            object["ceiling"] = [
                "name": .string(limit.ceiling.name), "value": .number(limit.ceiling.value), "unit": .string(limit.ceiling.unit),
                "per_unit": .number(limit.perUnit), "share": .number(share),
            ]
        }
        if !note.isEmpty { object["note"] = .string(note) }
        return .object(object)
    }

    /// A figure that `json` wrote; nil for anything else.
    init?(json: JSON) {
        guard let part = json["part"]?.string, let name = json["name"]?.string, let unit = json["unit"]?.string,
            let list = json["values"]?.array, case let values = list.compactMap(\.double), values.count == list.count, !values.isEmpty,
            values.allSatisfy(\.isFinite)
        else { return nil }
        var limit: Limit?
        if let ceiling = json["ceiling"] {
            guard let name = ceiling["name"]?.string, let value = ceiling["value"]?.double, let unit = ceiling["unit"]?.string,
                let perUnit = ceiling["per_unit"]?.double, value > 0, perUnit > 0
            else { return nil }
            limit = Limit(ceiling: Ceiling(name: name, value: value, unit: unit), perUnit: perUnit)
        }
        self.init(name, values, unit, limit: limit, note: json["note"]?.string ?? "")
        self.part = part
    }
}

/// Seconds by the clock that does not jump.
struct Stopwatch {
    private let start = ContinuousClock.now

    var seconds: Double {
        let elapsed = (ContinuousClock.now - start).components
        return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
    }

    /// Seconds that `body` takes, `rounds` times, after one time that does not count.
    static func seconds(rounds: Int, _ body: () throws -> Void) rethrows -> [Double] {
        try body()
        return try (0..<rounds).map { _ in
            let watch = Stopwatch()
            try body()
            return watch.seconds
        }
    }
}
