import Foundation
import Models
import Tensors

/// `align reject`.
public struct RejectionSamplingSettings: OnlineStageSettings {
    public enum Selection: String, CaseIterable, Sendable, Codable {
        /// The best completions of each prompt (Llama 2), the best of the whole step (RAFT), or draws from π·e^(r/β) (RSO).
        case best, batch, rso
    }

    public var selection = Selection.best
    public var keeps = 1
    public var acceptanceTemperature = 0.5
    /// Completions of earlier rounds compete with new ones of the same prompt.
    public var keepsEarlier = false
    public var online: OnlineSettings = {
        var settings = OnlineSettings()
        (settings.samples, settings.beta) = (8, 0)
        return settings
    }()
    public var training = TrainingSettings(learningRate: 1e-5)
    public init() {}

    public static let fields: [SettingField<RejectionSamplingSettings>] = [
        .choice("select", \.selection, group: "Objective", help: "which completions are kept: each prompt's best, as many of the step's best wherever they are, or draws in proportion to e^(reward/T)"),
        .integer("keep", \.keeps, in: 1...4096, group: "Objective", aliases: ["top_n_rollouts"], help: "completions kept of each prompt"),
        .number("accept-temperature", \.acceptanceTemperature, expected: "a number above 0", where: { $0 > 0 }, group: "Objective",
            help: "T of rso, in units of the reward: small keeps only the best"),
        .flag("keep-earlier", \.keepsEarlier, group: "Objective",
            help: "what was kept of a prompt competes with its new completions when an epoch comes back to it, so that only better ones replace it"),
    ] + sharedFields

    public func validate() throws(SettingError) {
        try validateShared()
        if keeps > online.samples { throw .conflict(settings: ["keep", "num-generations"], reason: "\(keeps) of \(online.samples) completions cannot be kept") }
    }
}

/// Rejection sampling: keep what scores best among n completions of each prompt, and imitate it.
///
/// A step is a round: it samples `batch-size` × `gradient-accumulation-steps` prompts and imitates what it kept in `inner-epochs` passes of
/// `mini-batches` updates.
///
/// Sources: Dong et al. 2023 (RAFT, algorithm 1: `batch`), Touvron et al. 2023 (Llama 2, §3.2.3: `best`, with the best of all rounds); rso: Liu et al. 2023, algorithm 1.
public struct RejectionSamplingMethod: OnlineMethod {
    public static let name = "reject"
    public static let summary = "sample many completions, keep the best, and fine-tune on them"
    private let settings: RejectionSamplingSettings
    public init(_ settings: RejectionSamplingSettings) { self.settings = settings }

    public var poolsSamples: Bool { settings.keepsEarlier }

    public func weigh(_ experience: Experience) -> Weighing {
        let scores = experience.samples.map(\.score)
        /// Ties go to the earlier sample.
        func best(_ samples: [Int], _ count: Int) -> [Int] { Array(samples.sorted { (scores[$0], $1) > (scores[$1], $0) }.prefix(count)).sorted() }
        let kept =
            switch settings.selection {
            case .best: experience.groups.flatMap { best($0, settings.keeps) }
            case .batch: best(Array(scores.indices), settings.keeps * experience.prompts.count)
            case .rso: experience.groups.flatMap { accepted($0, scores, experience) }
            }
        var weighing = Weighing(experience, advantages: scores.map { _ in 1 }, trained: kept)
        weighing.pairs = pairs(experience, kept: Set(kept))
        weighing.metrics.record("reward/kept", sum: kept.reduce(0) { $0 + scores[$1] }, count: Double(kept.count))
        weighing.metrics.record("kept_fraction", sum: Double(kept.count), count: Double(max(1, scores.count)))
        return weighing
    }

    /// Of each prompt the best completion that is kept and the worst of all, where the scores differ.
    private func pairs(_ experience: Experience, kept: Set<Int>) -> [Weighing.Pair] {
        experience.groups.compactMap { group in
            func score(_ sample: Int) -> Double { experience.samples[sample].score }
            guard let best = group.filter(kept.contains).max(by: { (score($0), $1) < (score($1), $0) }),
                let worst = group.min(by: { (score($0), $0) < (score($1), $1) }), score(best) > score(worst)
            else { return nil }
            return Weighing.Pair(chosen: best, rejected: worst)
        }
    }

    /// Accepts candidates with probability e^((r − r_max)/T), r_max being that of those not accepted yet, until enough are.
    ///
    /// The draws follow from the seed and the samples themselves, so that a resumed step makes them again.
    private func accepted(_ candidates: [Int], _ scores: [Double], _ experience: Experience) -> [Int] {
        var left = candidates
        var kept: [Int] = []
        guard let first = candidates.first else { return [] }
        let place = experience.samples[first].tokens.reduce(UInt64(first)) { $0 &* 31 &+ UInt64(UInt32(bitPattern: $1)) }
        var stream = RandomStream(seed: UInt64(settings.training.seed), stream: RandomStreamID.acceptance, index: place)
        while kept.count < settings.keeps, let top = left.map({ scores[$0] }).max() {
            for index in left where kept.count < settings.keeps {
                if stream.uniform() < exp((scores[index] - top) / settings.acceptanceTemperature) {
                    kept.append(index)
                    left.removeAll { $0 == index }
                }
            }
        }
        return kept.sorted()
    }

    public func loss(
        _ logProbs: Ragged, of samples: [Int], in experience: Experience, _ weighing: Weighing, step: StepTotals
    ) throws(ObjectiveError) -> Loss {
        try CrossEntropy()(logProbs, step: step)
    }
}
