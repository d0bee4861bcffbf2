import Serialization

/// A run's report.html: what was done, how the curves went, what the model said before and after. One file, no scripts, nothing fetched.
public struct RunReport: Sendable {
    /// A completion of a held-out prompt, at one step.
    public struct Sample: Sendable, Equatable {
        public var step: Int
        public var prompt: String, completion: String
        public init(step: Int, prompt: String, completion: String) {
            (self.step, self.prompt, self.completion) = (step, prompt, completion)
        }
        public init?(json: JSON) {
            guard let step = json["step"]?.int, let prompt = json["prompt"]?.string, let completion = json["completion"]?.string else { return nil }
            self.init(step: step, prompt: prompt, completion: completion)
        }
        public var json: JSON { ["step": .integer(step), "prompt": .string(prompt), "completion": .string(completion)] }
    }

    /// run.json.
    public var record: JSONObject
    /// Lines of metrics.jsonl.
    public var metrics: [JSON]
    public var samples: [Sample]
    /// What an online stage sampled to learn from, by step.
    public var rollouts: [Rollout]

    public init(record: JSONObject, metrics: [JSON], samples: [Sample], rollouts: [Rollout] = []) {
        (self.record, self.metrics, self.samples, self.rollouts) = (record, metrics, samples, rollouts)
    }

    // MARK: Text

    public var html: String {
        let stage = record["stage"]?.string ?? "run"
        let status = record["status"]?.string ?? ""
        return Self.page(title: "\(stage) run", heading: "\(Self.escaped(stage)) <small>\(Self.escaped(status))</small>", body: """
            \(outcome)
            <section class="plots">\(plots)</section>
            \(sampleSection)
            \(rolloutSection)
            <h2>Settings</h2>\(Self.table(record["settings"]))
            <h2>Inputs</h2>\(Self.table(record["inputs"]))
            <h2>Run</h2>\(Self.table(.object(rest)))
            """)
    }

    /// A page in the style of all reports.
    /// - Parameters:
    ///   - heading: HTML, as is `body`.
    public static func page(title: String, heading: String, body: String) -> String {
        """
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><title>\(escaped(title))</title>
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <style>\(style)</style></head><body>
        <h1>\(heading)</h1>
        \(body)
        </body></html>

        """
    }

    private static let style = """
        body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
        h1 small{color:#6a737d;font-weight:400;font-size:60%}h2{margin-top:2.2rem;border-bottom:1px solid #e1e4e8}
        table{border-collapse:collapse}td pre{min-width:14rem}td,th{padding:.15rem .9rem .15rem 0;text-align:left;vertical-align:top}
        td{font-variant-numeric:tabular-nums}.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}
        figcaption{font-weight:600}pre{white-space:pre-wrap;background:#f6f8fa;padding:.7rem;border-radius:6px;margin:.3rem 0}
        svg text{font:11px system-ui,sans-serif;fill:#586069}
        """

    private var rest: JSONObject {
        var rest = record
        for key in ["settings", "inputs", "outcome"] { rest[key] = nil }
        return rest
    }

    /// Held-out numbers before and after.
    private var outcome: String {
        guard let outcome = record["outcome"], let before = outcome["before"]?.object, let after = outcome["after"]?.object, !after.isEmpty else { return "" }
        let rows = after.keys.filter { !$0.hasPrefix(Self.calibrationPrefix) }.map { key in
            "<tr><td>\(Self.escaped(key))</td><td>\(before[key].map(Self.text) ?? "")</td><td>\(after[key].map(Self.text) ?? "")</td></tr>"
        }
        return "<h2>Held-out rows</h2><table><tr><th></th><th>before</th><th>after</th></tr>\(rows.joined())</table>"
    }

    private var sampleSection: String {
        guard !samples.isEmpty else { return "" }
        var prompts: [String] = []
        for sample in samples where !prompts.contains(sample.prompt) { prompts.append(sample.prompt) }
        let parts = prompts.map { prompt in
            let completions = samples.filter { $0.prompt == prompt }.map { sample in
                "<h4>\(sample.step == 0 ? "before training" : "after step \(sample.step)")</h4><pre>\(Self.escaped(sample.completion))</pre>"
            }
            return "<h3>Prompt</h3><pre>\(Self.escaped(prompt))</pre>" + completions.joined()
        }
        return "<h2>Samples</h2>" + parts.joined()
    }

    private static func table(_ json: JSON?) -> String {
        guard let object = json?.object, !object.isEmpty else { return "<p>none</p>" }
        let rows = object.members.map { "<tr><td>\(escaped($0.key))</td><td>\(text($0.value))</td></tr>" }
        return "<table>\(rows.joined())</table>"
    }

    static func text(_ value: JSON) -> String {
        switch value {
        case let .string(text): escaped(text)
        case .null: "–"
        case let .number(number): escaped(SVGPlot.label(number))
        default: escaped(value.text())
        }
    }

    public static func escaped(_ text: String) -> String {
        var out = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.unicodeScalars.append(character)
            }
        }
        return out
    }

    // MARK: Curves

    /// What is plotted: title, training series, held-out series; those without numbers are left out.
    private static let figures: [(title: String, series: [(name: String, key: String)])] = [
        ("Loss", [("training", "loss"), ("held-out", "eval_loss")]),
        ("Reward margin", [("training", "rewards/margins"), ("training", "margin"), ("held-out", "eval_rewards/margins"), ("held-out", "eval_margin")]),
        ("Rewards", [("chosen", "rewards/chosen"), ("rejected", "rewards/rejected"), ("least", "min_reward"), ("mean", "mean_reward"), ("greatest", "max_reward")]),
        ("Accuracy", [("training", "rewards/accuracies"), ("training", "accuracy"), ("held-out", "eval_accuracy"), ("tokens", "mean_token_accuracy")]),
        ("Mean reward", [("sampled", "reward"), ("held-out", "eval_reward"), ("held-out, --eval-reward", "eval_heldout_reward")]),
        ("KL to the reference, nats", [("sampled", "objective/kl"), ("held-out", "eval_objective/kl")]),
        ("Tokens of a completion", [("sampled", "completions/mean_length"), ("held-out", "eval_completions/mean_length")]),
        ("Repetition", [("sampled", "completions/repetition"), ("held-out", "eval_completions/repetition")]),
        ("Entropy, nats", [("a token", "entropy")]),
        ("Value model: variance explained", [("before the step", "val/var_explained")]),
        ("Gradient norm", [("before clipping", "grad_norm")]),
        ("Learning rate", [("used", "learning_rate")]),
    ]

    private var plots: String {
        Self.figures.compactMap { figure in
            let series = figure.series.map { SVGPlot.Series(name: $0.name, points: points($0.key)) }.filter { !$0.points.isEmpty }
            guard !series.isEmpty else { return nil }
            return "<figure><figcaption>\(figure.title)</figcaption>\(SVGPlot(series: series).svg)</figure>"
        }.joined(separator: "\n") + watch + reliability
    }

    private static let calibrationPrefix = "eval_calibration/"

    /// Of the last evaluation that has bins: accuracy at the centre of each.
    private var reliability: String {
        for line in metrics.reversed() {
            let bins = (line.object ?? JSONObject()).members.compactMap { key, value -> (confidence: Double, accuracy: Double, share: Double?)? in
                guard key.hasPrefix(Self.calibrationPrefix), let center = Double(key.dropFirst(Self.calibrationPrefix.count)), let accuracy = value.double
                else { return nil }
                return (center, accuracy, nil)
            }
            if !bins.isEmpty {
                return "\n<figure><figcaption>Reliability</figcaption>\(ReliabilityPlot(points: bins.sorted { $0.confidence < $1.confidence }).svg)</figure>"
            }
        }
        return ""
    }

    func points(_ key: String) -> [(x: Double, y: Double)] {
        metrics.compactMap { line in
            guard let step = line["step"]?.double, let value = line[key]?.double, value.isFinite else { return nil }
            return (step, value)
        }
    }
}
