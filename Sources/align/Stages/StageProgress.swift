import Synchronization
import Training

/// Shows what a stage tells on standard error.
final class StageProgress: Sendable {
    /// Reference and evaluation passes have many small events: a line each tenth of the way is enough.
    private let tenths = Mutex<[String: Int]>([:])

    func show(_ event: StageEvent) {
        switch event {
        case let .notice(text): Output.note(text)
        case let .preflight(preflight): Output.note(PreflightText(preflight).brief)
        case let .reference(done, missing, cached):
            let known = cached > 0 ? " (\(cached) pairs were known)" : ""
            each("reference", done, missing) { "reference  \(done)/\(missing) pairs\(known)" }
        case let .step(report): Output.note(ProgressLine(report: report).description)
        case let .evaluating(done, rows): each("evaluation", done, rows) { "evaluation  \(done)/\(rows) rows" }
        case let .evaluation(step, metrics, isBest):
            let shown = metrics.filter { [
                "eval_loss", "eval_accuracy", "eval_rewards/margins", "eval_margin", "eval_mean_token_accuracy", "eval_reward", "eval_heldout_reward",
                "eval_objective/kl", "eval_completions/mean_length",
            ].contains($0.name) }
            let numbers = shown.map { "\($0.name.dropFirst(5)) " + formatted($0.value, "%.4f") }.joined(separator: "  ")
            Output.note("held-out after step \(step)  \(numbers)" + (isBest ? "  (the best)" : ""))
        case let .checkpoint(step, path): Output.note("checkpoint after step \(step): \(path)")
        case let .notFinite(step, quantity, dump): Output.warn("step \(step) was not applied: \(quantity). Its rows are in \(dump)")
        }
    }

    private func each(_ what: String, _ done: Int, _ total: Int, _ line: () -> String) {
        guard total > 0 else { return }
        let tenth = done * 10 / total
        let isNew = tenths.withLock { tenths in
            defer { tenths[what] = done >= total ? nil : tenth }
            return tenths[what] != tenth
        }
        if isNew, tenth > 0 { Output.note(line()) }
    }
}
