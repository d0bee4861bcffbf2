/// Watches the chosen completions' log-probs: preference losses look at differences alone, and both sides may fall together.
///
/// Source: Razin et al. 2024, "Unintentional Unalignment: Likelihood Displacement in DPO".
struct ChosenWatch {
    /// Logged steps in a row with a falling chosen side before it is told: single batches are noise.
    static let patience = 10

    private var below = 0
    private var isTold = false

    /// - Parameter displacement: How far the chosen side lies above its reference in this step; nil where there is none.
    /// - Returns: What to tell, once.
    mutating func step(_ displacement: Double?) -> String? {
        guard let displacement, !isTold else { return nil }
        below = displacement < 0 ? below + 1 : 0
        guard below >= Self.patience else { return nil }
        return tell("have been less likely than under the reference for \(Self.patience) logged steps (rewards/chosen \(displacement))")
    }

    /// Compares held-out log-probs with those before training.
    mutating func evaluation(before: Double?, now: Double?) -> String? {
        guard let before, let now, now < before, !isTold else { return nil }
        return tell("of the held-out rows have become less likely (eval_logps/chosen \(short(before)) before, \(short(now)) now)")
    }

    private mutating func tell(_ what: String) -> String {
        isTold = true
        return "the chosen completions \(what). Where that hurts: --nll-coefficient 0.2, --loss dpop, a larger --beta or a lower rate"
    }
}

/// Two digits after the point, as a reader needs them.
private func short(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
