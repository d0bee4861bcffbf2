import Foundation

/// The learning rate of every optimizer step, as a multiple of its peak; transformers' conventions.
///
/// With s the step from 0, W the warm-up, S the total: during warm-up the rate is peak·s/W, so the first step has rate 0 when
/// W > 0. Afterwards, with p = (s − W)/(S − W):
///
///     constant       peak
///     linear         peak·max(0, (S − s)/(S − W))
///     cosine         peak·(r + (1 − r)·½(1 + cos πp)),  r = `minimumRatio`
///     inverse-sqrt   peak/√((s + τ − W)/τ),  τ = `timescale`
///     wsd            peak until the last D = `decaySteps` steps, then r + (1 − r)·f(q), q the share of D that is over:
///                    f = 1 − q (linear), ½(1 + cos πq) (cosine), 1 − √q (1-sqrt)
///
/// Source: Hu et al. 2024 (MiniCPM) for wsd; the formulas are those of `transformers.optimization`, beyond S too.
public struct LearningRateSchedule: Sendable, Equatable {
    public enum Kind: String, CaseIterable, Sendable, Codable {
        case constant, linear, cosine
        case inverseSquareRoot = "inverse-sqrt"
        case wsd
    }
    public enum Decay: String, CaseIterable, Sendable, Codable {
        case linear, cosine
        case oneMinusSquareRoot = "1-sqrt"
    }

    public var kind: Kind
    public var peak: Double
    /// W, in optimizer steps.
    public var warmupSteps: Int
    /// S, in optimizer steps.
    public var totalSteps: Int
    /// r: the rate at the end over the peak, for `cosine` and `wsd`.
    public var minimumRatio: Double
    /// D, for `wsd`.
    public var decaySteps: Int
    public var decay: Decay
    /// τ, for `inverse-sqrt`; nil is W, or 10,000 without warm-up.
    public var timescale: Int?

    public init(
        _ kind: Kind, peak: Double, warmupSteps: Int = 0, totalSteps: Int = 0, minimumRatio: Double = 0, decaySteps: Int = 0,
        decay: Decay = .linear, timescale: Int? = nil
    ) {
        self.kind = kind
        self.peak = peak
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
        self.minimumRatio = minimumRatio
        self.decaySteps = decaySteps
        self.decay = decay
        self.timescale = timescale
    }

    /// The rate used in optimizer step `step`, counted from 0.
    public func rate(at step: Int) -> Double { peak * factor(at: step) }

    private func factor(at step: Int) -> Double {
        if step < warmupSteps {
            let progress = Double(step) / Double(warmupSteps)
            return kind == .wsd ? lifted(progress) : progress
        }
        let progress = Double(step - warmupSteps) / Double(max(1, totalSteps - warmupSteps))
        switch kind {
        case .constant: return 1
        case .linear: return max(0, Double(totalSteps - step) / Double(max(1, totalSteps - warmupSteps)))
        case .cosine: return max(0, lifted(0.5 * (1 + cos(.pi * progress))))
        case .inverseSquareRoot:
            let timescale = Double(timescale ?? (warmupSteps > 0 ? warmupSteps : 10_000))
            return 1 / ((Double(step - warmupSteps) + timescale) / timescale).squareRoot()
        case .wsd:
            let decayed = step - (totalSteps - decaySteps)
            if decayed < 0 { return 1 }
            if decayed >= decaySteps { return minimumRatio }
            let share = Double(decayed) / Double(decaySteps)
            switch decay {
            case .linear: return lifted(1 - share)
            case .cosine: return lifted(0.5 * (1 + cos(.pi * share)))
            case .oneMinusSquareRoot: return lifted(1 - share.squareRoot())
            }
        }
    }

    /// [0, 1] onto [r, 1].
    private func lifted(_ factor: Double) -> Double { factor * (1 - minimumRatio) + minimumRatio }
}
