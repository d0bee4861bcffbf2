import Serialization

extension TrainingSettings {
    /// Composed into every stage's `fields` with `SettingField.lifted(to:)`. The aliases are TRL's spellings.
    public static let fields: [SettingField<TrainingSettings>] = modelFields + lengthFields + optimizerFields + mergingFields + adapterFields + dataFields + runFields

    private static let modelFields: [SettingField<TrainingSettings>] = [
        .text("model", \.model, placeholder: "PATH", group: "Model", aliases: ["model_name_or_path"],
            help: "checkpoint to start from: a Hugging Face folder or a GGUF file; the default model if absent"),
        .choice("precision", \.precision, group: "Model", aliases: ["dtype"], synonyms: ["float32": .fp32, "bfloat16": .bf16],
            help: "arithmetic of matrix products; auto is bf16 where the processor has it"),
        .flag("recompute", \.recompute, group: "Model", aliases: ["gradient_checkpointing"],
            help: "keep no activations inside blocks, compute them again in the backward pass: less memory, more time"),
        .choice("save-dtype", \.saveType, group: "Model", help: "type of the weights in model/; checkpoints are always F32"),
        .integer("seed", \.seed, group: "Model", help: "every draw follows from it"),
    ]

    private static let mergingFields = MergingSettings.fields.map { $0.lifted(to: \TrainingSettings.merging) }
    private static let adapterFields = AdapterSettings.fields.map { $0.lifted(to: \TrainingSettings.adapter) }

    private static let lengthFields: [SettingField<TrainingSettings>] = [
        .number("epochs", \.epochs, expected: "a number above 0, such as 3", where: { $0 > 0 && $0 <= 1e6 }, group: "Length",
            aliases: ["num_train_epochs"], help: "passes over the training rows"),
        .integer("max-steps", \.maxSteps, in: 0...1_000_000_000, group: "Length", help: "optimizer steps; above 0 it overrides --epochs"),
        .integer("batch-size", \.batchSize, in: 1...1_000_000, group: "Length", aliases: ["per_device_train_batch_size", "train_batch_size"],
            help: "rows (or pairs) of one micro-step"),
        .integer("gradient-accumulation-steps", \.accumulationSteps, in: 1...1_000_000, group: "Length",
            help: "micro-steps of one optimizer step"),
        .flag("no-shuffle", \.shuffles, inverted: true, group: "Length", help: "take the rows in file order in every epoch"),
    ]

    private static let optimizerFields: [SettingField<TrainingSettings>] = [
        .number("learning-rate", \.learningRate, expected: "a number of at least 0, such as 1e-6", where: { $0 >= 0 }, group: "Optimizer",
            aliases: ["lr"], help: "peak learning rate"),
        .choice("schedule", \.schedule, group: "Optimizer", aliases: ["lr_scheduler_type"],
            synonyms: [
                "constant_with_warmup": .constant, "cosine_with_min_lr": .cosine, "inverse_sqrt": .inverseSquareRoot,
                "warmup_stable_decay": .wsd,
            ], help: "how the rate goes on after the warm-up"),
        .integer("warmup-steps", \.warmupSteps, in: 0...1_000_000_000, group: "Optimizer",
            help: "steps in which the rate rises from 0 to its peak"),
        .number("warmup-ratio", \.warmupRatio, expected: "a share in [0, 1]", where: { (0...1).contains($0) }, group: "Optimizer",
            help: "the same as a share of all steps"),
        .number("min-lr-ratio", \.minimumRatio, expected: "a share in [0, 1]", where: { (0...1).contains($0) }, group: "Optimizer",
            help: "rate at the end over the peak (cosine, wsd)"),
        .number("decay-ratio", \.decayRatio, expected: "a share in [0, 1]", where: { (0...1).contains($0) }, group: "Optimizer",
            help: "share of all steps in which wsd decays"),
        .choice("decay", \.decay, group: "Optimizer", help: "shape of wsd's decay"),
        .integer("timescale", \.timescale, in: 0...1_000_000_000, group: "Optimizer",
            help: "timescale of inverse-sqrt in steps; 0 is the warm-up, or 10000 without one"),
        .number("weight-decay", \.weightDecay, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Optimizer",
            help: "decoupled decay of matrices; norms and biases have none"),
        .number("max-grad-norm", \.maxGradientNorm, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Optimizer",
            help: "gradients longer than this are scaled to it; 0 leaves them"),
        .number("adam-beta1", \.adamBeta1, expected: "a number in [0, 1)", where: { $0 >= 0 && $0 < 1 }, group: "Optimizer",
            help: "decay of the first moment"),
        .number("adam-beta2", \.adamBeta2, expected: "a number in [0, 1)", where: { $0 >= 0 && $0 < 1 }, group: "Optimizer",
            help: "decay of the second moment"),
        .number("adam-epsilon", \.adamEpsilon, expected: "a number of at least 0", where: { $0 >= 0 }, group: "Optimizer",
            help: "added to the root of the second moment"),
        .integer("max-nonfinite-steps", \.maxNonfiniteSteps, in: 1...1_000_000, group: "Optimizer",
            help: "give up after this many steps in a row whose loss or gradient is not finite"),
    ]

    private static let dataFields: [SettingField<TrainingSettings>] = [
        .integer("max-length", \.maxLength, in: 2...16_777_216, group: "Data",
            help: "tokens of prompt and completion; completions are cut at the end, prompts never"),
        .text("template", \.template, placeholder: "auto|none|FILE", group: "Data", aliases: ["chat_template_path"],
            help: "chat template: the model's own, none (raw text), or a Jinja file"),
        .text("columns", \.columns, placeholder: "prompt=A,chosen=B", group: "Data", help: "names of the columns in the files"),
        .choice("on-bad-row", \.onBadRow, group: "Data", help: "name bad rows and stop before training, or count, list and skip them"),
        .list("eval-data", \.evalData, placeholder: "FILE", group: "Data", aliases: ["eval_dataset", "dataset_test"],
            help: "held-out rows, evaluated before and after training"),
        .number("eval-split", \.evalSplit, expected: "a share in [0, 1)", where: { $0 >= 0 && $0 < 1 }, group: "Data",
            aliases: ["test_split_size"], help: "share of the prompts held out instead of --eval-data"),
    ]

    private static let runFields: [SettingField<TrainingSettings>] = [
        .integer("eval-steps", \.evalSteps, in: 0...1_000_000_000, group: "Run",
            help: "evaluate every N optimizer steps and keep the best weights; 0 is only before and after"),
        .integer("early-stopping-patience", \.earlyStoppingPatience, in: 0...1_000_000, group: "Run",
            help: "stop after N evaluations without a better one, and keep the best; 0 never stops"),
        .choice("best-metric", \.bestMetric, group: "Run", aliases: ["metric_for_best_model"], help: "what makes an evaluation the best"),
        .flag("load-best-model-at-end", \.loadsBest, group: "Run", help: "model/ holds the best evaluated weights, not the last"),
        .integer("save-steps", \.saveSteps, in: 0...1_000_000_000, group: "Run", help: "checkpoint every N optimizer steps; 0 never"),
        .integer("save-total-limit", \.saveTotalLimit, in: 1...1_000_000, group: "Run", help: "checkpoints kept"),
        .integer("log-steps", \.logSteps, in: 1...1_000_000_000, group: "Run", aliases: ["logging_steps"],
            help: "a line of metrics every N optimizer steps"),
    ]
}
