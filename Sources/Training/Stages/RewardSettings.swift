import Serialization

/// Settings of reward modelling: `align reward`.
public struct RewardSettings: StageSettings {
    /// Where a pair's margin comes from; the tables are Llama 2's, by strength of preference.
    public enum Margin: String, CaseIterable, Sendable, Codable { case column, llama2Small = "llama2-small", llama2Large = "llama2-large", none }
    /// Where the probability of a preference comes from; the table is AFM's, by strength of preference.
    public enum SoftLabels: String, CaseIterable, Sendable, Codable { case column, afm, none }
    /// How a new head begins: N(0, initializer_range²) as transformers has it, N(0, 1/(d + 1)) as Stiennon et al. 2020, or zeros.
    public enum HeadStart: String, CaseIterable, Sendable, Codable { case normal, scaled, zero }
    public enum LongRows: String, CaseIterable, Sendable, Codable { case drop, cut }

    public var pairs: [String] = []
    public var split: String?
    public var loss = BradleyTerry.name
    public var margin = Margin.column
    public var softLabels = SoftLabels.column
    public var labelSmoothing = 0.0
    public var centering = 0.0
    public var gradeWeight = 0.0
    public var head: String?
    public var headStart = HeadStart.normal
    public var longRows = LongRows.drop
    public var sharesPrefixes = true
    public var training = TrainingSettings(learningRate: 1e-5)

    public init() {}

    public static let fields: [SettingField<RewardSettings>] = ownFields + TrainingSettings.fields.map { $0.lifted(to: \.training) }

    private static let ownFields: [SettingField<RewardSettings>] = [
        .list("pairs", \.pairs, placeholder: "FILE", group: "Reward", aliases: ["data", "dataset_name", "dataset"],
            help: "preference pairs, ranked or scored completions, labelled steps: JSON lines or a JSON array; FILE:2 counts a file twice; without any, the store's pairs"),
        .text("split", \.split, placeholder: "NAME", group: "Reward",
            help: "the store's pairs of this split; without it those of train and of no split"),
        .word("loss", \.loss, of: RewardModelling.objectives.map(\.name), group: "Reward", aliases: ["loss_type"], help: "what is minimised"),
        .choice("margin", \.margin, group: "Reward", help: "a pair's margin: the rows' \"margin\", or Llama 2's tables by the rows' \"strength\""),
        .choice("soft-labels", \.softLabels, group: "Reward",
            help: "the probability of a preference: the rows' \"probability\", or AFM's 0.95, 0.85, 0.75, 0.65 by their \"strength\""),
        .number("label-smoothing", \.labelSmoothing, expected: "a number in [0, 0.5)", where: { $0 >= 0 && $0 < 0.5 }, group: "Reward",
            help: "assumed share of flipped labels"),
        .number("center-rewards-coefficient", \.centering, expected: "a number of at least 0, such as 0.01", where: { $0 >= 0 }, group: "Reward",
            help: "weight of the mean of (chosen + rejected)²; 0 is off"),
        .number("grade-weight", \.gradeWeight, expected: "a number of at least 0, such as 0.1", where: { $0 >= 0 }, group: "Reward",
            help: "weight of AFM's single-sided gradings by linear heads, from the rows' \"chosen_grades\" and \"rejected_grades\"; 0 trains no heads for them"),
        .text("head", \.head, placeholder: "FILE", group: "Reward", help: "safetensors file whose score.weight the head begins with"),
        .choice("head-init", \.headStart, group: "Reward", help: "how a head begins that no file gives"),
        .choice("long-rows", \.longRows, group: "Reward", help: "rows over --max-length: leave out, or cut (their end is then not scored)"),
        .flag("no-prefix-sharing", \.sharesPrefixes, inverted: true, group: "Reward",
            help: "compute each row's prompt once for every completion: the same result, slower"),
    ]

    public func validate() throws(SettingError) {
        try checkRequired()
        try training.validate()
        if split != nil, !pairs.isEmpty {
            throw .conflict(settings: ["split", "pairs"], reason: "splits are of the store's pairs, not of a file's")
        }
        guard loss != BradleyTerry.name else { return }
        let own: [(name: String, isSet: Bool)] = [
            ("label-smoothing", labelSmoothing > 0), ("center-rewards-coefficient", centering > 0), ("grade-weight", gradeWeight > 0),
            ("soft-labels", softLabels == .afm), ("margin", margin == .llama2Small || margin == .llama2Large),
        ]
        if let given = own.first(where: \.isSet) {
            throw .conflict(settings: [given.name, "loss"], reason: "only the loss \(BradleyTerry.name) has it")
        }
    }
}
