import Serialization

/// Settings of preference optimisation: `align dpo`, and `align ipo` with another loss preset.
public struct PreferenceSettings: StageSettings {
    public var pairs: [String] = []
    public var split: String?
    public var referenceModel: String?
    public var beta = 0.1
    public var loss = DPO.name
    public var labelSmoothing = 0.0
    public var ipoNorm = IPO.Norm.mean
    public var sharesPrefixes = true
    /// The paper's setting for full fine-tuning of a tuned model.
    public var training = TrainingSettings(learningRate: 1e-6)

    public init() {}

    public static let fields: [SettingField<PreferenceSettings>] = ownFields + TrainingSettings.fields.map { $0.lifted(to: \.training) }

    private static let ownFields: [SettingField<PreferenceSettings>] = [
        .list("pairs", \.pairs, placeholder: "FILE", group: "Preference", aliases: ["dataset_name", "dataset"],
            help: "preference pairs: JSON lines or a JSON array, gzipped or not; FILE:2 counts a file twice; without any, those of the store"),
        .text("split", \.split, placeholder: "NAME", group: "Preference",
            help: "the store's pairs of this split; without it those of train and of no split"),
        .text("ref-model", \.referenceModel, placeholder: "PATH", group: "Preference", aliases: ["ref_model_name_or_path"],
            help: "frozen reference; the model itself, before training, if absent"),
        .number("beta", \.beta, expected: "a number above 0, such as 0.1", where: { $0 > 0 }, group: "Preference",
            help: "strength of the pull to the reference, in nats⁻¹"),
        .word("loss", \.loss, of: PreferenceOptimization.objectives.map(\.name), group: "Preference", aliases: ["loss_type"],
            help: "what is minimised; sigmoid is DPO"),
        .number("label-smoothing", \.labelSmoothing, expected: "a number in [0, 0.5)", where: { $0 >= 0 && $0 < 0.5 }, group: "Preference",
            help: "assumed share of flipped labels (sigmoid)"),
        .choice("ipo-norm", \.ipoNorm, group: "Preference", help: "log-ratios per token or summed (ipo)"),
        .flag("no-prefix-sharing", \.sharesPrefixes, inverted: true, group: "Preference",
            help: "compute each pair's prompt twice, once for either side: the same result, slower"),
    ]

    public func validate() throws(SettingError) {
        try checkRequired()
        try training.validate()
        if split != nil, !pairs.isEmpty {
            throw .conflict(settings: ["split", "pairs"], reason: "splits are of the store's pairs, not of a file's")
        }
        if labelSmoothing > 0 && loss != DPO.name {
            throw .conflict(settings: ["label-smoothing", "loss"], reason: "only the loss \(DPO.name) smooths labels")
        }
        if ipoNorm != .mean && loss != IPO.name {
            throw .conflict(settings: ["ipo-norm", "loss"], reason: "only the loss \(IPO.name) has a norm")
        }
    }
}
