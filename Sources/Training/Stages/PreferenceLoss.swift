import Serialization

/// A loss that `--loss` names: what it takes, what it needs, and how it is made of settings.
public struct PreferenceLoss: Sendable {
    public enum Kind: Sendable {
        /// Of pairs; may be combined with others.
        case pairwise(@Sendable (PreferenceSettings) -> any PairwiseObjective)
        /// Of single completions, each with a label.
        case unpaired(@Sendable (PreferenceSettings) -> any UnpairedObjective)
    }

    public let name: String
    public let kind: Kind
    /// The settings that it takes, with the values they have where they are not given.
    public let knobs: [(setting: String, value: JSON)]
    /// False: there is no reference, none is computed.
    public let needsReference: Bool

    private static func pairs<Loss: PairwiseObjective>(
        _ type: Loss.Type, beta: Double = 0.1, _ own: KeyValuePairs<String, JSON> = [:], reference: Bool = true, weighs: Bool = true,
        _ make: @escaping @Sendable (PreferenceSettings) -> Loss
    ) -> PreferenceLoss {
        var knobs: [(String, JSON)] = [("beta", .number(beta))] + own.map { ($0.key, $0.value) }
        if Loss.takesDivergence { knobs += [("f-divergence", "reverse_kl"), ("f-alpha", 0.5)] }
        if reference {
            knobs += [("reference-free", false), ("ld-alpha", 1), ("nll-coefficient", 0), ("sync-ref-model", false)]
            if weighs { knobs.append(("wpo", false)) }
            knobs += [("ref-mixup-alpha", 0.6), ("ref-sync-steps", 512)]
        }
        return PreferenceLoss(name: type.name, kind: .pairwise(make), knobs: knobs, needsReference: reference)
    }

    private static func unpaired<Loss: UnpairedObjective>(
        _ type: Loss.Type, _ make: @escaping @Sendable (PreferenceSettings) -> Loss
    ) -> PreferenceLoss {
        PreferenceLoss(
            name: type.name, kind: .unpaired(make), knobs: [("beta", 0.1), ("desirable-weight", 1), ("undesirable-weight", 1)], needsReference: true)
    }

    /// One line each.
    public static let all: [PreferenceLoss] = [
        pairs(DPO.self, ["label-smoothing": 0]) { DPO(beta: $0[\.beta], labelSmoothing: $0[\.labelSmoothing]) },
        pairs(Hinge.self) { Hinge(beta: $0[\.beta]) },
        pairs(IPO.self, ["ipo-norm": "mean"]) { IPO(beta: $0[\.beta], norm: $0[\.ipoNorm]) },
        pairs(EXO.self, ["label-smoothing": 1e-3]) { EXO(beta: $0[\.beta], labelSmoothing: $0[\.labelSmoothing]) },
        pairs(NCA.self) { NCA(beta: $0[\.beta]) },
        pairs(RobustDPO.self, ["label-smoothing": 0]) { RobustDPO(beta: $0[\.beta], labelSmoothing: $0[\.labelSmoothing]) },
        pairs(BCOPair.self) { BCOPair(beta: $0[\.beta]) },
        pairs(SPPO.self) { SPPO(beta: $0[\.beta]) },
        pairs(AOT.self, ["label-smoothing": 0]) { AOT(beta: $0[\.beta], labelSmoothing: $0[\.labelSmoothing]) },
        // A weight of a pair has no meaning where the two sides are ranked apart.
        pairs(AOTUnpaired.self, ["label-smoothing": 0], weighs: false) { AOTUnpaired(beta: $0[\.beta], labelSmoothing: $0[\.labelSmoothing]) },
        pairs(APOZero.self) { APOZero(beta: $0[\.beta]) },
        pairs(APODown.self) { APODown(beta: $0[\.beta]) },
        pairs(DiscoPOP.self, ["discopop-tau": 0.05]) { DiscoPOP(beta: $0[\.beta], temperature: $0[\.discopopTau]) },
        pairs(NormalisedDPO.self, beta: 5) { NormalisedDPO(beta: $0[\.beta]) },
        pairs(ChosenLikelihood.self) { ChosenLikelihood(beta: $0[\.beta]) },
        pairs(DPOP.self, ["dpop-lambda": 50]) { DPOP(beta: $0[\.beta], lambda: $0[\.dpopLambda]) },
        pairs(SimPO.self, beta: 2, ["simpo-gamma": 0.5, "label-smoothing": 0], reference: false) {
            SimPO(beta: $0[\.beta], gamma: $0[\.simpoGamma], labelSmoothing: $0[\.labelSmoothing])
        },
        pairs(ORPO.self, reference: false) { ORPO(beta: $0[\.beta]) },
        pairs(CPO.self, ["cpo-alpha": 1, "label-smoothing": 0], reference: false) {
            CPO(beta: $0[\.beta], alpha: $0[\.cpoAlpha], labelSmoothing: $0[\.labelSmoothing])
        },
        unpaired(KTO.self) { KTO(beta: $0[\.beta], desirableWeight: $0[\.desirableWeight], undesirableWeight: $0[\.undesirableWeight]) },
        unpaired(APOZeroUnpaired.self) {
            APOZeroUnpaired(beta: $0[\.beta], desirableWeight: $0[\.desirableWeight], undesirableWeight: $0[\.undesirableWeight])
        },
        unpaired(BCO.self) { BCO(beta: $0[\.beta], desirableWeight: $0[\.desirableWeight], undesirableWeight: $0[\.undesirableWeight]) },
    ]

    public static func named(_ name: String) -> PreferenceLoss? { all.first { $0.name == name } }

    public var isUnpaired: Bool { if case .unpaired = kind { true } else { false } }

    /// Every setting that some losses take and others do not.
    static let settings: [String] = all.flatMap(\.knobs).map(\.setting).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }

    /// The losses that take a setting, for help and messages.
    static func names(taking setting: String) -> [String] { all.filter { loss in loss.knobs.contains { $0.setting == setting } }.map(\.name) }
}
