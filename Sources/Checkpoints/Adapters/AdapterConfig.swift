import Serialization

/// What a low-rank adapter is: `adapter_config.json` as PEFT writes it.
///
///     y = W·x + s·B·A·x,   s = α/r,   or α/√r where rank-stabilised
///
/// DoRA: y = m ∘ (W·x + s·B·A·x)/‖W + s·B·A‖, the norm taken over each row and treated as a constant by the gradient.
/// Source: Hu et al. 2021, eq. 3; Kalajdzievski 2023 (rank-stabilised); Liu et al. 2024, eq. 5 and section 4.3 (DoRA).
public struct AdapterConfig: Sendable, Equatable {
    /// Which of a model's linear layers are adapted.
    public enum Targets: Sendable, Equatable {
        /// Module names or their last parts: `q_proj`.
        case modules([String])
        /// A regular expression that matches whole module names.
        case pattern(String)
    }

    public var rank: Int
    public var alpha: Double
    /// Share of the adapter's inputs that training drops.
    public var dropout: Double
    public var targets: Targets
    /// s = α/√r.
    public var isRankStabilised: Bool
    public var isDoRA: Bool
    /// Ranks and alphas of modules that differ, by name or regular expression.
    public var rankPattern: [String: Int] = [:]
    public var alphaPattern: [String: Double] = [:]
    /// Modules that are saved whole beside the adapter: heads.
    public var savedModules: [String] = []
    /// The checkpoint that the adapter belongs to.
    public var base: String?

    public static let rankLimit = 65536
    /// The linear layers of a decoder block, as the end of their names.
    public static let linearNames = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

    public init(rank: Int, alpha: Double, dropout: Double = 0, targets: Targets = .modules(linearNames), isRankStabilised: Bool = false, isDoRA: Bool = false) {
        (self.rank, self.alpha, self.dropout, self.targets) = (rank, alpha, dropout, targets)
        (self.isRankStabilised, self.isDoRA) = (isRankStabilised, isDoRA)
    }

    /// - Throws: `.unsupported` for adapters of other kinds, `.invalidValue` for values out of bounds.
    init(_ values: ConfigValues) throws(CheckpointError) {
        func refuse(_ key: String, _ supported: String) throws(CheckpointError) {
            throw .unsupported(
                file: values.file, line: values.line(key), key: key, found: String((values.object[key] ?? .null).text().prefix(80)), supported: [supported])
        }
        guard try values.text("peft_type") == "LORA" else { throw values.fault("peft_type", "\"LORA\"") }
        if let bias = try values.text("bias"), bias != "none" { try refuse("bias", "none") }
        for key in ["fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"] where values.has(key) && values.object[key]?.bool != false {
            try refuse(key, "false")
        }
        for key in ["layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config", "velora_config"] {
            if values.has(key) { try refuse(key, "null") }
        }
        rank = try values.integer("r", in: 1...Self.rankLimit)
        alpha = try values.number("lora_alpha", in: -1e9...1e9)
        dropout = try values.number("lora_dropout", in: 0...0.999999, default: 0)
        isRankStabilised = try values.flag("use_rslora", default: false)
        isDoRA = try values.flag("use_dora", default: false)
        for (key, value) in values.object["rank_pattern"]?.object?.members ?? [] {
            guard let rank = value.int, (1...Self.rankLimit).contains(rank) else { throw values.fault("rank_pattern", "ranks from 1 to \(Self.rankLimit)") }
            rankPattern[key] = rank
        }
        for (key, value) in values.object["alpha_pattern"]?.object?.members ?? [] {
            guard let alpha = value.double, alpha.isFinite else { throw values.fault("alpha_pattern", "numbers") }
            alphaPattern[key] = alpha
        }
        savedModules = (values.object["modules_to_save"]?.array ?? []).compactMap(\.string)
        switch values.object["target_modules"] {
        case let .string(text)?: targets = text == "all-linear" ? .modules(Self.linearNames) : .pattern(text)
        case let .array(names)?: targets = .modules(names.compactMap(\.string))
        default: targets = .modules([])
        }
        base = try values.text("base_model_name_or_path")
    }

    /// Whether the module of this name, such as `model.layers.0.self_attn.q_proj`, is adapted.
    /// - Throws: `.invalidValue` for a pattern that is no regular expression.
    public func adapts(_ module: String) throws(CheckpointError) -> Bool {
        switch targets {
        case let .modules(names): names.contains { module == $0 || module.hasSuffix("." + $0) }
        case let .pattern(pattern): try Self.matches(module, pattern, key: "target_modules")
        }
    }

    /// The rank of a module, before its tensors are known.
    public func rank(of module: String) throws(CheckpointError) -> Int { try entry(rankPattern, module, key: "rank_pattern") ?? rank }

    /// s of a module.
    public func scale(of module: String, rank: Int) throws(CheckpointError) -> Double {
        let alpha = try entry(alphaPattern, module, key: "alpha_pattern") ?? self.alpha
        return alpha / (isRankStabilised ? Double(rank).squareRoot() : Double(rank))
    }

    /// The entry of a pattern table for a module: PEFT's rule, the end of the name from a dot on.
    private func entry<Value>(_ table: [String: Value], _ module: String, key: String) throws(CheckpointError) -> Value? {
        for pattern in table.keys.sorted() where try Self.matches(module, "(.*\\.)?(\(pattern))", key: key) { return table[pattern] }
        return nil
    }

    private static func matches(_ module: String, _ pattern: String, key: String) throws(CheckpointError) -> Bool {
        guard let regex = try? Regex(pattern) else {
            throw .invalidValue(file: "adapter_config.json", line: 0, key: key, found: pattern, expected: "a regular expression")
        }
        return (try? regex.wholeMatch(in: module)) != nil
    }

    /// As PEFT reads it.
    /// - Parameter scoresSequences: The base's head scores sequences.
    public func json(scoresSequences: Bool) -> JSON {
        var targetModules: JSON
        switch targets {
        case let .modules(names): targetModules = .array(names.map { .string($0) })
        case let .pattern(pattern): targetModules = .string(pattern)
        }
        func table<Value>(_ values: [String: Value], _ json: (Value) -> JSON) -> JSON {
            .object(JSONObject(values.keys.sorted().compactMap { key in values[key].map { (key, json($0)) } }))
        }
        return [
            "alpha_pattern": table(alphaPattern) { .number($0) }, "auto_mapping": .null, "base_model_name_or_path": base.map { .string($0) } ?? .null,
            "bias": "none", "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "layers_pattern": .null,
            "layers_to_transform": .null, "lora_alpha": alpha == alpha.rounded() && abs(alpha) < 1e15 ? .integer(Int(alpha)) : .number(alpha),
            "lora_dropout": .number(dropout), "modules_to_save": savedModules.isEmpty ? .null : .array(savedModules.map { .string($0) }),
            "peft_type": "LORA", "r": .integer(rank), "rank_pattern": table(rankPattern) { .integer($0) }, "revision": .null,
            "target_modules": targetModules, "task_type": scoresSequences ? "SEQ_CLS" : "CAUSAL_LM", "use_dora": .bool(isDoRA),
            "use_rslora": .bool(isRankStabilised),
        ]
    }
}
