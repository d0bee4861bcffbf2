import Evaluations
import Models
import Serialization
import Tensors

/// What `align eval reward` found, as text, JSON and HTML.
struct RewardSuiteResult {
    let models: [String]
    let accuracy: RewardAccuracy
    let bench: RewardBench
    let benchInterval: ClosedRange<Double>?

    init(models: [String], pairs: [RewardAccuracy.Pair], table: [RewardBench.Entry], random: RandomStream) {
        var random = random
        self.models = models
        accuracy = RewardAccuracy(pairs)
        bench = RewardBench(pairs.compactMap { pair in pair.subset.map { ($0, Calibration.hit(pair.margin)) } }, table: table)
        benchInterval = bench.interval(using: &random)
    }

    /// Tables of accuracies: title, and rows with a name each.
    private var tables: [(title: String, rows: [(name: String, accuracy: PairwiseAccuracy)])] {
        // More kinds of strength than a reader takes in are margins on a scale.
        let strengths = accuracy.byStrength
        return [
            ("", [("accuracy", accuracy.all), ("lengths within 10 %", accuracy.lengthMatched), ("the longer one wins", accuracy.lengthBaseline)]),
            ("by length", accuracy.byLength), ("by strength", strengths.count <= 12 ? strengths : []), ("by subset", accuracy.bySubset),
        ].filter { !$0.rows.isEmpty }
    }

    private var numbers: [(name: String, key: String, value: Double?)] {
        [
            ("calibration error (ECE)", "ece", accuracy.calibration.error), ("Brier score", "brier", accuracy.brier),
            ("negative log-likelihood", "nll", accuracy.negativeLogLikelihood()), ("best temperature", "temperature", accuracy.temperature),
            ("correlation with length", "length_correlation", accuracy.lengthCorrelation),
        ]
    }

    private static func percent(_ value: Double) -> String { formatted(100 * value, "%.1f %%") }
    private static func cells(_ accuracy: PairwiseAccuracy) -> String {
        let interval = accuracy.interval()
        let ties = accuracy.ties > 0 ? ", \(accuracy.ties) ties" : ""
        return "\(percent(accuracy.accuracy))  [\(percent(interval.lowerBound)), \(percent(interval.upperBound))]  of \(accuracy.count)\(ties)"
    }

    private var benchRows: [(name: String, text: String)] {
        guard let score = bench.score else { return [] }
        var rows = bench.sections.map { ($0.name, "\(Self.percent($0.accuracy))  \($0.pairs) pairs, \($0.subsets) of \($0.listed) subsets") }
        let interval = benchInterval.map { "  [\(Self.percent($0.lowerBound)), \(Self.percent($0.upperBound))] (bootstrap)" } ?? ""
        rows.append(("score", Self.percent(score) + interval))
        return rows
    }

    var text: String {
        var lines = ["model  \(models.joined(separator: ", "))"]
        let width = 28
        for table in tables {
            if !table.title.isEmpty { lines += ["", table.title] }
            for row in table.rows { lines.append(padded(row.name, width) + Self.cells(row.accuracy)) }
        }
        lines.append("")
        for number in numbers { lines.append(padded(number.name, width) + (number.value.map { formatted($0, "%.4f") } ?? "?")) }
        if !benchRows.isEmpty { lines += ["", "RewardBench sections"] }
        for row in benchRows { lines.append(padded(row.name, width) + row.text) }
        lines += ["", "intervals are Wilson's, 95 %; a tie is half right"]
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: JSON

    private static func json(_ accuracy: PairwiseAccuracy) -> JSON {
        let interval = accuracy.interval()
        return [
            "accuracy": .number(accuracy.accuracy), "interval": [.number(interval.lowerBound), .number(interval.upperBound)],
            "pairs": .integer(accuracy.count), "ties": .integer(accuracy.ties), "margin": .number(accuracy.meanMargin),
        ]
    }

    private static func json(_ rows: [(name: String, accuracy: PairwiseAccuracy)]) -> JSON {
        .object(JSONObject(rows.map { ($0.name, json($0.accuracy)) }))
    }

    var json: JSON {
        var object = JSONObject([
            ("suite", "reward"), ("models", .array(models.map { .string($0) })), ("all", Self.json(accuracy.all)),
            ("length_matched", Self.json(accuracy.lengthMatched)), ("length_baseline", Self.json(accuracy.lengthBaseline)),
            ("by_length", Self.json(accuracy.byLength)), ("by_strength", Self.json(accuracy.byStrength)), ("by_subset", Self.json(accuracy.bySubset)),
        ])
        for number in numbers { object[number.key] = number.value.map { .number($0) } ?? .null }
        object["calibration"] = .array(accuracy.calibration.bins.map {
            ["count": .integer(Int($0.count)), "accuracy": .number($0.accuracy), "confidence": .number($0.meanConfidence)]
        })
        if let score = bench.score {
            object["rewardbench"] = [
                "score": .number(score), "interval": benchInterval.map { [.number($0.lowerBound), .number($0.upperBound)] } ?? .null,
                "sections": .object(JSONObject(bench.sections.map {
                    ($0.name, ["accuracy": .number($0.accuracy), "pairs": .integer($0.pairs), "subsets": .integer($0.subsets), "of": .integer($0.listed)])
                })),
                "unknown_subsets": .array(bench.unknown.map { .string($0) }),
            ]
        }
        return .object(object)
    }

    // MARK: HTML

    var html: String {
        var body = ""
        for table in tables {
            let rows = table.rows.map { "<tr><td>\(RunReport.escaped($0.name))</td><td>\(Self.cells($0.accuracy))</td></tr>" }
            body += (table.title.isEmpty ? "" : "<h2>\(table.title)</h2>") + "<table>\(rows.joined())</table>\n"
        }
        let rows = numbers.map { "<tr><td>\($0.name)</td><td>\($0.value.map { formatted($0, "%.4f") } ?? "?")</td></tr>" }
        body += "<h2>differences as probabilities</h2><table>\(rows.joined())</table>\n"
        body += "<figure><figcaption>Reliability</figcaption>\(ReliabilityPlot(accuracy.calibration).svg)</figure>\n"
        if !benchRows.isEmpty {
            body += "<h2>RewardBench sections</h2><table>\(benchRows.map { "<tr><td>\(RunReport.escaped($0.name))</td><td>\($0.text)</td></tr>" }.joined())</table>\n"
        }
        return RunReport.page(title: "reward evaluation", heading: "reward evaluation", body: "<p>\(RunReport.escaped(models.joined(separator: ", ")))</p>\n" + body)
    }
}
