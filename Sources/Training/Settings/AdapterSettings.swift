import Checkpoints
import Models
import Serialization

/// Settings of low-rank adaptation, common to all training stages: the model stays frozen, an adapter trains.
public struct AdapterSettings: Codable, Sendable, Equatable {
    public var isOn = false
    /// 0: `defaultRank` where an adapter is asked for, else none.
    public var rank = 0
    /// 0: twice the rank.
    public var alpha = 0.0
    public var dropout = 0.0
    public var target = allLinear
    public var isRankStabilised = false
    public var isDoRA = false
    /// Adapter to start from.
    public var initial: String?
    public var basePrecision = BasePrecision.auto

    public static let allLinear = "all-linear", defaultRank = 16

    public init() {}

    /// Whether an adapter trains, and not the model.
    public var adapts: Bool { isOn || rank > 0 || initial != nil }

    /// What a new adapter is; of `initial` the file says it.
    public var config: AdapterConfig {
        let rank = rank > 0 ? rank : Self.defaultRank
        return AdapterConfig(
            rank: rank, alpha: alpha != 0 ? alpha : 2 * Double(rank), dropout: dropout, targets: targets, isRankStabilised: isRankStabilised, isDoRA: isDoRA)
    }

    /// Names, unless the text has what only a regular expression has.
    private var targets: AdapterConfig.Targets {
        if target == Self.allLinear { return .modules(AdapterConfig.linearNames) }
        let isPattern = target.contains { "\\^$*+?()[]{}|".contains($0) }
        return isPattern ? .pattern(target) : .modules(target.split { $0 == "," || $0 == " " }.map(String.init))
    }

    static let fields: [SettingField<AdapterSettings>] = [
        .flag("lora", \.isOn, group: "Adapter", aliases: ["use_peft"],
            help: "train a low-rank adapter on the frozen model; implied by --lora-rank and --lora-init"),
        .integer("lora-rank", \.rank, in: 0...AdapterConfig.rankLimit, group: "Adapter", aliases: ["lora_r"],
            help: "rank r of the adapter; 0 is \(defaultRank) with --lora, and no adapter without"),
        .number("lora-alpha", \.alpha, expected: "a number of at least 0, such as 32", where: { $0 >= 0 }, group: "Adapter",
            help: "the adapter's share is scaled by alpha/r; 0 is twice the rank"),
        .number("lora-dropout", \.dropout, expected: "a share in [0, 1)", where: { $0 >= 0 && $0 < 1 }, group: "Adapter",
            help: "share of the adapter's inputs dropped in training"),
        .text("lora-target", \.target, placeholder: "all-linear|NAMES|REGEX", group: "Adapter", aliases: ["lora_target_modules"],
            help: "adapted layers: all-linear, names such as q_proj,v_proj, or a regular expression over whole module names"),
        .flag("rslora", \.isRankStabilised, group: "Adapter", aliases: ["use_rslora"], help: "scale by alpha/√r"),
        .flag("dora", \.isDoRA, group: "Adapter", aliases: ["use_dora"], help: "train each output's magnitude beside its direction"),
        .text("lora-init", \.initial, placeholder: "DIR", group: "Adapter",
            help: "PEFT adapter to start from; it says rank, alpha and layers. The reference is the model without it"),
        .choice("base-precision", \.basePrecision, group: "Adapter",
            help: "the frozen model in memory: auto keeps a quantized file's blocks, else bf16 under bf16 products; embeddings are always as stored"),
    ]

    func validate() throws(SettingError) {
        guard let first = Self.fields.first(where: { $0.value(in: self) != $0.value(in: Self()) }) else { return }
        guard adapts else { throw .conflict(settings: [first.name], reason: "there is no adapter; give --lora or --lora-rank N") }
        guard initial != nil else { return }
        for name in ["lora-rank", "lora-alpha", "lora-target", "rslora", "dora"] {
            guard let field = Self.fields.first(where: { $0.name == name }), field.value(in: self) == field.value(in: Self()) else {
                throw .conflict(settings: ["lora-init", name], reason: "the adapter to start from says it already")
            }
        }
    }
}
