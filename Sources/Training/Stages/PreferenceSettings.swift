import Serialization

/// Settings of preference optimisation: `align dpo`, and `align ipo`, `kto`, … with other losses preset.
///
/// What only some losses take is nil until given; `filled` has the losses' own values, and run records show those.
public struct PreferenceSettings: StageSettings {
    public enum Divergence: String, CaseIterable, Sendable, Codable {
        case reverseKL = "reverse_kl", forwardKL = "forward_kl", jensenShannon = "js_divergence", alpha = "alpha_divergence"
    }

    public var pairs: [String] = []
    public var split: String?
    public var referenceModel: String?
    /// Names of `PreferenceLoss.all`, with commas between.
    public var loss = DPO.name
    /// One a loss; empty: 1 each.
    public var lossWeights: [Double] = []

    public var beta: Double?
    public var labelSmoothing: Double?
    public var ipoNorm: IPO.Norm?
    public var discopopTau: Double?
    public var dpopLambda: Double?
    public var simpoGamma: Double?
    public var cpoAlpha: Double?
    public var desirableWeight: Double?
    public var undesirableWeight: Double?
    public var divergence: Divergence?
    public var divergenceAlpha: Double?
    public var tailWeight: Double?
    public var weighsPairs: Bool?
    public var nllCoefficient: Double?
    public var isReferenceFree: Bool?
    public var movesReference: Bool?
    public var referenceMixture: Double?
    public var referenceInterval: Int?

    public var masksFormat = false
    public var sharesPrefixes = true
    /// The paper's setting for full fine-tuning of a tuned model.
    public var training = TrainingSettings(learningRate: 1e-6)

    public init() {}

    /// The defaults with another loss.
    public init(loss: String) { self.loss = loss }

    public var losses: [PreferenceLoss] { Self.parts(loss).compactMap(PreferenceLoss.named) }
    static func parts(_ names: String) -> [String] { names.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }

    /// A setting that the loss takes.
    subscript<Value>(path: KeyPath<PreferenceSettings, Value?>) -> Value {
        guard let value = self[keyPath: path] else { preconditionFailure("\(path) is nil: the settings of \(loss) are not filled") }
        return value
    }

    /// With the losses' own values where none are given; of several losses the first that takes a setting decides.
    public var filled: PreferenceSettings {
        var settings = self
        for (name, value) in losses.flatMap(\.knobs) {
            guard let field = Self.field(named: name), field.value(in: settings).isNull else { continue }
            let isSet = field.write(&settings, value)
            precondition(isSet, "\(name) does not take \(value.text())")
        }
        return settings
    }

    /// Whether a reference is computed.
    public var needsReference: Bool { losses.contains(where: \.needsReference) && isReferenceFree != true }

    /// What the settings minimise, of pairs.
    public func pairObjective() -> PreferenceObjective {
        let weights = lossWeights.isEmpty ? losses.map { _ in 1 } : lossWeights
        var objective = PreferenceObjective(zip(losses, weights).map { loss, weight in
            guard case let .pairwise(make) = loss.kind else { preconditionFailure("\(loss.name) is not a loss of pairs") }
            return PreferenceObjective.Term(make(self), weight: weight)
        })
        switch divergence {
        case nil, .reverseKL: objective.divergence = .reverseKL
        case .forwardKL: objective.divergence = .forwardKL
        case .jensenShannon: objective.divergence = .jensenShannon
        case .alpha: objective.divergence = .alpha(self[\.divergenceAlpha])
        }
        objective.tailWeight = tailWeight ?? 1
        objective.weighsPairs = weighsPairs ?? false
        objective.nllCoefficient = nllCoefficient ?? 0
        return objective
    }

    /// What the settings minimise, of single completions; nil if that is pairs.
    public func unpairedObjective() -> (any UnpairedObjective)? {
        guard case let .unpaired(make)? = losses.first?.kind else { return nil }
        return make(self)
    }

    public func validate() throws(SettingError) {
        try checkRequired()
        try training.validate()
        if split != nil, !pairs.isEmpty {
            throw .conflict(settings: ["split", "pairs"], reason: "splits are of the store's pairs, not of a file's")
        }
        if !sharesPrefixes, losses.contains(where: \.isUnpaired) {
            throw .conflict(settings: ["no-prefix-sharing", "loss"], reason: "\(loss) is of single completions, which share no prompt")
        }
        let names = Self.parts(loss)
        if let name = names.first(where: { PreferenceLoss.named($0) == nil }) {
            throw .badValue(setting: "loss", found: name, expected: Self.lossNames)
        }
        if names.count > 1, let single = losses.first(where: \.isUnpaired) {
            throw .conflict(settings: ["loss"], reason: "\(single.name) is of single completions and cannot be added to a loss of pairs")
        }
        if names.count > 1, Set(losses.map(\.needsReference)).count > 1 {
            throw .conflict(settings: ["loss"], reason: "losses with a reference and losses without one cannot be added: \(names.joined(separator: ", "))")
        }
        if !lossWeights.isEmpty && lossWeights.count != names.count {
            throw .conflict(settings: ["loss-weights", "loss"], reason: "\(lossWeights.count) weights for \(names.count) losses")
        }
        try checkKnobs()
        if filled.losses.contains(where: { $0.name == EXO.name }), filled.labelSmoothing == 0 {
            throw .conflict(settings: ["label-smoothing", "loss"], reason: "\(EXO.name) is infinite without smoothing; the paper's is 1e-3")
        }
        if divergenceAlpha != nil, filled.divergence != .alpha, divergenceAlpha != 0.5 {
            throw .conflict(settings: ["f-alpha", "f-divergence"], reason: "only alpha_divergence has an alpha")
        }
        if referenceModel != nil && !needsReference {
            throw .conflict(settings: ["ref-model", isReferenceFree == true ? "reference-free" : "loss"], reason: "no reference is used")
        }
        if movesReference == true && isReferenceFree == true {
            throw .conflict(settings: ["sync-ref-model", "reference-free"], reason: "without a reference there is none to move")
        }
        if movesReference == true, training.adapter.adapts {
            throw .conflict(settings: ["sync-ref-model", "lora"], reason: "with an adapter the reference is the frozen model, which does not move")
        }
        if movesReference != true, (referenceMixture ?? 0.6) != 0.6 || (referenceInterval ?? 512) != 512 {
            throw .conflict(settings: ["ref-mixup-alpha", "ref-sync-steps", "sync-ref-model"], reason: "the reference moves only with --sync-ref-model")
        }
        if losses.contains(where: { $0.name == KTO.name }), training.batchSize * training.accumulationSteps == 1 {
            throw .conflict(
                settings: ["batch-size", "gradient-accumulation-steps"],
                reason: "kto measures its KL on other prompts of the step and needs at least two rows in it")
        }
    }

    /// Refuses what the chosen losses do not take, unless it says what they do anyway.
    private func checkKnobs() throws(SettingError) {
        for setting in PreferenceLoss.settings {
            guard let field = Self.field(named: setting) else { preconditionFailure("no setting is called \(setting)") }
            let value = field.value(in: self)
            guard !value.isNull, !Self.neutral.contains(where: { $0.setting == setting && $0.value == value }) else { continue }
            guard losses.contains(where: { loss in loss.knobs.contains { $0.setting == setting } }) else {
                throw .conflict(
                    settings: [setting, "loss"],
                    reason: "\(loss) does not take it; \(PreferenceLoss.names(taking: setting).joined(separator: ", ")) would")
            }
        }
    }

    /// Values that change nothing, so that a configuration which spells them out goes with every loss.
    private static let neutral: [(setting: String, value: JSON)] = [
        ("label-smoothing", .number(0)), ("f-divergence", "reverse_kl"), ("reference-free", false), ("ld-alpha", .number(1)), ("wpo", false),
        ("nll-coefficient", .number(0)), ("sync-ref-model", false), ("ref-mixup-alpha", .number(0.6)), ("ref-sync-steps", .integer(512)), ("desirable-weight", .number(1)), ("undesirable-weight", .number(1)), ("ipo-norm", "mean"),
    ]
}
