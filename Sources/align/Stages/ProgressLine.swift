import Training

/// One line per optimizer step, in fixed columns: read by eye, diffed between runs, split on spaces.
///
///     dpo   120/2000  loss 0.6123  accuracy 0.7100  margin 0.1842  1832 tok/s  eta 12m04s
struct ProgressLine: CustomStringConvertible {
    var report: StepReport

    /// Columns after the loss: what they are called here, and in metrics.jsonl.
    private static let columns = [
        ("accuracy", "rewards/accuracies"), ("accuracy", "accuracy"), ("margin", "rewards/margins"), ("margin", "margin"),
        ("accuracy", "mean_token_accuracy"),
        ("reward", "reward"), ("kl", "objective/kl"), ("length", "completions/mean_length"),
    ]

    var description: String {
        let counter = leftPadded("\(report.step)", "\(report.steps)".count) + "/\(report.steps)"
        var shown = [("loss", report.loss)]
        for (name, key) in Self.columns where !shown.contains(where: { $0.0 == name }) {
            if let value = report.metrics.first(where: { $0.name == key })?.value { shown.append((name, value)) }
        }
        let numbers = shown.map { "\($0.0) " + formatted($0.1, "%.4f") }.joined(separator: "  ")
        let speed = report.tokensPerSecond.isFinite ? Int(min(max(report.tokensPerSecond, 0), 1e12)) : 0
        return "\(report.stage)  \(counter)  \(numbers)  \(speed) tok/s  eta \(duration(report.secondsLeft))"
    }
}
