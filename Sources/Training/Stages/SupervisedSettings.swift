import Serialization

/// Settings of supervised fine-tuning: `align sft`.
public struct SupervisedSettings: StageSettings {
    public var data: [String] = []
    public var training = TrainingSettings(learningRate: 2e-5)

    public init() {}

    public static let fields: [SettingField<SupervisedSettings>] = ownFields + TrainingSettings.fields.map { $0.lifted(to: \.training) }

    private static let ownFields: [SettingField<SupervisedSettings>] = [
        .list("data", \.data, placeholder: "FILE", group: "Supervision", aliases: ["dataset_name", "dataset"], isRequired: true,
            help: "examples: JSON lines or a JSON array, gzipped or not; FILE:2 counts a file twice"),
    ]

    public func validate() throws(SettingError) {
        try checkRequired()
        try training.validate()
        if training.bestMetric != .loss {
            throw .conflict(settings: ["best-metric"], reason: "supervised fine-tuning measures only eval_loss")
        }
    }
}
