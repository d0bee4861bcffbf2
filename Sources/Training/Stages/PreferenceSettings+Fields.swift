import Serialization

extension PreferenceSettings {
    public static let fields: [SettingField<PreferenceSettings>] =
        dataFields + lossFields + knobFields + TrainingSettings.fields.map { $0.lifted(to: \.training) }

    static var lossNames: String { "one of \(PreferenceLoss.all.map(\.name).joined(separator: ", ")), or several with commas between" }

    private static let dataFields: [SettingField<PreferenceSettings>] = [
        .list("pairs", \.pairs, placeholder: "FILE", group: "Preference", aliases: ["dataset_name", "dataset"],
            help: "preference pairs (kto: or single completions with labels): JSON lines or a JSON array, gzipped or not; FILE:2 counts a file twice; without any, those of the store"),
        .text("split", \.split, placeholder: "NAME", group: "Preference",
            help: "the store's pairs of this split; without it those of train and of no split"),
        .text("ref-model", \.referenceModel, placeholder: "PATH", group: "Preference", aliases: ["ref_model_name_or_path"],
            help: "frozen reference; the model itself, before training, if absent"),
        .flag("mask-format-tokens", \.masksFormat, group: "Preference",
            help: "leave special tokens, and white space after the last of them, out of the log-probs of both sides"),
        .flag("no-prefix-sharing", \.sharesPrefixes, inverted: true, group: "Preference",
            help: "compute each pair's prompt twice, once for either side: the same result, slower"),
    ]

    private static let lossFields: [SettingField<PreferenceSettings>] = [
        SettingField(
            name: "loss", kind: .text, placeholder: "NAME[,NAME]", help: "what is minimised, \(lossNames); sigmoid is DPO", aliases: ["loss_type"],
            group: "Preference", isRequired: false, expected: lossNames, read: { .string($0.loss) },
            write: { settings, value in
                let names = value.string.map(parts) ?? value.array?.compactMap(\.string) ?? []
                guard !names.isEmpty, names.count == value.array?.count ?? names.count, Set(names).count == names.count else { return false }
                guard names.allSatisfy({ PreferenceLoss.named($0) != nil }) else { return false }
                settings.loss = names.joined(separator: ",")
                return true
            }),
        SettingField(
            name: "loss-weights", kind: .text, placeholder: "W,W", help: "weights of several losses; 1 each if absent", aliases: [], group: "Preference",
            isRequired: false, expected: "numbers with commas between, one a loss", read: { .array($0.lossWeights.map { .number($0) }) },
            write: { settings, value in
                let numbers: [Double?]
                if let text = value.string { numbers = parts(text).map { Double($0) } } else if let array = value.array {
                    numbers = array.map(\.double)
                } else {
                    return false
                }
                guard numbers.allSatisfy({ $0?.isFinite == true }) else { return false }
                settings.lossWeights = numbers.compactMap { $0 }
                return true
            }),
        number("beta", \.beta, expected: "a number above 0, such as 0.1", where: { $0 > 0 },
            help: "strength of the pull to the reference, in nats⁻¹; orpo's λ"),
    ]

    private static let knobFields: [SettingField<PreferenceSettings>] = [
        number("label-smoothing", \.labelSmoothing, expected: "a number in [0, 0.5)", where: { $0 >= 0 && $0 < 0.5 },
            help: "assumed share of flipped labels"),
        number("nll-coefficient", \.nllCoefficient, aliases: ["rpo_alpha"], expected: "a number of at least 0", where: { $0 >= 0 },
            help: "weight of the chosen side's negative log-likelihood per token, as in RPO and Llama 3"),
        number("ld-alpha", \.tailWeight, expected: "a number in [0, 1]", where: { (0...1).contains($0) },
            help: "weight of the tokens that only the longer side has (LD-DPO)"),
        flag("wpo", \.weighsPairs, aliases: ["use_weighting"], help: "weigh pairs by how likely the policy is to write them (WPO)"),
        flag("reference-free", \.isReferenceFree, aliases: [], help: "take a uniform reference: none is computed"),
        flag("sync-ref-model", \.movesReference, aliases: [],
            help: "let the reference follow the policy (TR-DPO): its log-probs are then computed in every step"),
        number("ref-mixup-alpha", \.referenceMixture, aliases: ["ref_model_mixup_alpha"], expected: "a share in (0, 1]", where: { $0 > 0 && $0 <= 1 },
            help: "share of the policy's weights that a moving reference takes over"),
        knob("ref-sync-steps", .integer, "N", aliases: ["ref_model_sync_steps"], expected: "an integer of at least 1",
            help: "optimizer steps between two moves of the reference", read: { $0.referenceInterval.map { .integer($0) } ?? .null }
        ) {
            guard $1.isNull || ($1.int ?? 0) >= 1 else { return false }
            $0.referenceInterval = $1.int
            return true
        },
        choice("f-divergence", \.divergence, aliases: ["f_divergence_type"], help: "how distance from the reference is measured"),
        number("f-alpha", \.divergenceAlpha, aliases: ["f_alpha_divergence_coef"], expected: "a number", where: { _ in true },
            help: "α of alpha_divergence"),
        choice("ipo-norm", \.ipoNorm, aliases: [], help: "log-ratios per token or summed"),
        number("discopop-tau", \.discopopTau, expected: "a number above 0", where: { $0 > 0 }, help: "temperature of the blend"),
        number("dpop-lambda", \.dpopLambda, expected: "a number of at least 0", where: { $0 >= 0 }, help: "penalty on chosen log-probs below the reference's"),
        number("simpo-gamma", \.simpoGamma, expected: "a number of at least 0", where: { $0 >= 0 }, help: "margin that the chosen side is to win by"),
        number("cpo-alpha", \.cpoAlpha, expected: "a number of at least 0", where: { $0 >= 0 }, help: "weight of the chosen side's likelihood"),
        number("desirable-weight", \.desirableWeight, expected: "a number of at least 0", where: { $0 >= 0 }, help: "weight of desirable completions"),
        number("undesirable-weight", \.undesirableWeight, expected: "a number of at least 0", where: { $0 >= 0 },
            help: "weight of undesirable completions"),
    ]

    // MARK: Fields that are nil until given; help says who takes them, and what they are then

    private static func knob(
        _ name: String, _ kind: SettingKind, _ placeholder: String, aliases: [String], expected: String, help: String,
        read: @escaping @Sendable (PreferenceSettings) -> JSON, write: @escaping @Sendable (inout PreferenceSettings, JSON) -> Bool
    ) -> SettingField<PreferenceSettings> {
        SettingField(
            name: name, kind: kind, placeholder: placeholder, help: help + " (" + takers(of: name) + ")", aliases: aliases, group: "Loss", isRequired: false,
            expected: expected, read: read, write: write)
    }

    /// `sigmoid, robust 0; exo_pair 0.001`
    private static func takers(of setting: String) -> String {
        var groups: [(value: String, names: [String])] = []
        for loss in PreferenceLoss.all {
            guard let value = loss.knobs.first(where: { $0.setting == setting })?.value else { continue }
            let text = value.string ?? value.text()
            if let i = groups.firstIndex(where: { $0.value == text }) { groups[i].names.append(loss.name) } else { groups.append((text, [loss.name])) }
        }
        // Where most have one value, the others are named.
        return groups.sorted { $0.names.count > $1.names.count }.enumerated().map { i, group in
            (i == 0 && group.names.count > 8 ? "most losses" : group.names.joined(separator: ", ")) + ": " + group.value
        }.joined(separator: "; ")
    }

    private static func number(
        _ name: String, _ path: WritableKeyPath<PreferenceSettings, Double?> & Sendable, aliases: [String] = [], expected: String,
        where isValid: @escaping @Sendable (Double) -> Bool, help: String
    ) -> SettingField<PreferenceSettings> {
        knob(name, .number, "FLOAT", aliases: aliases, expected: expected, help: help, read: { $0[keyPath: path].map { .number($0) } ?? .null }) {
            guard $1.isNull || $1.double.map({ $0.isFinite && isValid($0) }) == true else { return false }
            $0[keyPath: path] = $1.double
            return true
        }
    }

    private static func flag(
        _ name: String, _ path: WritableKeyPath<PreferenceSettings, Bool?> & Sendable, aliases: [String], help: String
    ) -> SettingField<PreferenceSettings> {
        knob(name, .switched, "", aliases: aliases, expected: "true or false", help: help, read: { $0[keyPath: path].map { .bool($0) } ?? .null }) {
            guard $1.isNull || $1.bool != nil else { return false }
            $0[keyPath: path] = $1.bool
            return true
        }
    }

    private static func choice<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, _ path: WritableKeyPath<PreferenceSettings, Choice?> & Sendable, aliases: [String], help: String
    ) -> SettingField<PreferenceSettings> {
        let words = Choice.allCases.map(\.rawValue)
        return knob(
            name, .choice(words), words.joined(separator: "|"), aliases: aliases, expected: "one of \(words.joined(separator: ", "))", help: help,
            read: { $0[keyPath: path].map { .string($0.rawValue) } ?? .null }
        ) {
            guard !$1.isNull else {
                $0[keyPath: path] = nil
                return true
            }
            guard let value = $1.string.flatMap(Choice.init(rawValue:)) else { return false }
            $0[keyPath: path] = value
            return true
        }
    }
}
