import Evaluations
import Serialization
import Training

/// What a finished stage prints on standard output.
struct StageSummary {
    let outcome: StageOutcome
    let samples: [RunReport.Sample]

    /// Held-out numbers: title, metric, whether it is a share.
    private static let rows: [(title: String, key: String, isShare: Bool)] = [
        ("held-out accuracy", "eval_accuracy", true), ("  lengths within 10 %", "eval_accuracy_length_matched", true),
        ("held-out margin", "eval_rewards/margins", false), ("held-out margin", "eval_margin", false),
        ("calibration error", "eval_ece", true), ("held-out loss", "eval_loss", false),
        ("held-out token accuracy", "eval_mean_token_accuracy", true), ("held-out reward", "eval_reward", false),
        ("  by --eval-reward", "eval_heldout_reward", false), ("  KL, nats", "eval_objective/kl", false),
        ("  tokens", "eval_completions/mean_length", false), ("  cut off", "eval_completions/clipped_ratio", true),
    ]

    private var heldOut: [String] {
        let shown = Self.rows.filter { outcome.after[$0.key] != nil && !($0.key == "eval_mean_token_accuracy" && outcome.after["eval_accuracy"] != nil) }
        // What needs no model to know: the accuracy that a score has to beat.
        let baseline = outcome.after["eval_length_baseline"].map { length in
            let matched = outcome.after["eval_length_matched"].map { ", lengths within 10 % in " + formatted(100 * $0, "%.0f %%") + " of the pairs" } ?? ""
            return [padded("the longer one wins", 24) + formatted(100 * length, "%.1f %%") + matched]
        }
        return shown.map { row in
            func text(_ value: Double?) -> String { value.map { row.isShare ? formatted(100 * $0, "%.1f %%") : formatted($0, "%.4f") } ?? "?" }
            return padded(row.title, 24) + text(outcome.before[row.key]) + " before, " + text(outcome.after[row.key]) + " after"
        } + (baseline ?? [])
    }

    var text: String {
        var lines = ["\(outcome.stage): \(outcome.status.rawValue) after \(outcome.steps) steps"]
        if heldOut.isEmpty {
            if let loss = outcome.training["loss"] { lines.append(padded("last training loss", 24) + formatted(loss, "%.4f")) }
            lines.append("no held-out rows: --eval-data FILE or --eval-split 0.1 would show the effect")
        }
        lines += heldOut
        if let prompt = samples.first?.prompt {
            lines += ["", "a held-out prompt:", indented(prompt)]
            for sample in samples { lines += ["", sample.step == 0 ? "before:" : "after:", indented(sample.completion)] }
            lines.append("")
        }
        if let model = outcome.modelPath { lines.append(padded("model", 24) + model) }
        lines.append(padded("report", 24) + "\(outcome.runPath)/\(RunReportFile.name)")
        lines.append(padded("metrics", 24) + "\(outcome.runPath)/\(RunDirectory.metricsName)")
        return lines.joined(separator: "\n") + "\n"
    }

    private func indented(_ text: String) -> String { text.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n") }

    var json: JSON {
        var object = outcome.json.object ?? JSONObject()
        object["stage"] = .string(outcome.stage)
        object["run"] = .string(outcome.runPath)
        object["model"] = outcome.modelPath.map { .string($0) } ?? .null
        object["samples"] = .array(samples.map(\.json))
        return .object(object)
    }
}
