import Foundation
import Models

/// How far a policy has moved from the one that sampled, on the samples' tokens.
struct Drift {
    var (tokens, ratios, squares, most) = (0.0, 0.0, 0.0, 0.0)
    /// Σ ρ log ρ − ρ + 1, and Σ (log ρ)².
    var (divergence, logs) = (0.0, 0.0)

    mutating func add(_ logProbs: Ragged, _ samples: [Int], _ experience: Experience) {
        for (row, sample) in samples.enumerated() {
            for (now, old) in zip(logProbs[row], experience.old[sample]) {
                let difference = now - old
                let ratio = exp(min(max(difference, -30), 30))
                tokens += 1
                ratios += ratio
                squares += ratio * ratio
                most = max(most, abs(ratio - 1))
                divergence += ratio * difference - ratio + 1
                logs += difference * difference
            }
        }
    }

    func record(into metrics: inout Metrics, isFirst: Bool) {
        metrics.record("val/ratio", sum: ratios, count: tokens)
        let mean = ratios / max(1, tokens)
        metrics.record("val/ratio_var", sum: max(0, squares - tokens * mean * mean), count: tokens)
        metrics.record("policy/approxkl_avg", sum: 0.5 * logs, count: tokens)
        // Exactly 0: old log-probs come from the kernels that train.
        if isFirst { metrics.record("val/first_ratio_error", sum: most, count: 1) }
    }
}
