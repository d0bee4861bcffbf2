import Serialization
import Training

/// What a stage's command accepts, derived from its settings: each setting is a flag, a key of `--config` and a line of help.
enum StageUsage {
    static let runFlags: [Flag] = [
        .optional("out", "DIR", "run directory", default: "runs/<stage>-<n>", aliases: ["output_dir"]),
        .optional("store", "FILE", "preference store: pairs, reference log-probs and lineage", default: "runs/align.sqlite"),
        .switched("resume", "go on with the run in --out (or the stage's latest), with the settings it was started with"),
        .switched("dry-run", "show what was detected, one example with its loss mask, memory and time; train nothing"),
        ModelChoice.threadsFlag,
        .optional("config", "FILE", "JSON object whose keys are these flags; flags win"),
        .optional("sample-tokens", "N", "length of the held-out completion before and after; 0 for none", default: "96"),
        .switched("json", "print the outcome as one JSON object"),
    ].map { $0.under("This run") }

    /// - Parameter samples: Whether the stage shows a completion before and after.
    static func usage<Settings: StageSettings>(
        _ name: String, _ summary: String, preset: Settings, example: String, samples: Bool = true
    ) -> Usage {
        let runFlags = runFlags.filter { samples || $0.name != "sample-tokens" }
        let own = Settings.fields.map { field in
            let value = field.value(in: preset)
            return Flag(
                name: field.name, placeholder: field.placeholder, help: field.help, kind: kind(of: field), defaultText: text(value),
                aliases: field.aliases, group: field.group, expected: field.expected)
        }
        return Usage(name, summary, own + runFlags.filter { flag in !own.contains { $0.name == flag.name } }, example: example, notes: """
            Progress goes to standard error, one line a step. The run directory holds run.json, metrics.jsonl,
            checkpoints/, model/ (Hugging Face layout) and report.html. Ctrl-C saves and stops (exit code 75).
            """)
    }

    private static func kind<Settings>(of field: SettingField<Settings>) -> Flag.Kind {
        switch field.kind {
        case .switched: .switched
        case .list: .list(isRequired: field.isRequired)
        default: field.isRequired ? .required : .optional
        }
    }

    /// A default, as help shows it; switches and empty values have none to show.
    private static func text(_ value: JSON) -> String? {
        switch value {
        case .null, .bool: nil
        case let .string(text): text
        case let .array(values): values.isEmpty ? nil : values.map { $0.string ?? $0.text() }.joined(separator: ", ")
        default: value.text()
        }
    }
}
