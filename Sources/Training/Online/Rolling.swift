import Foundation
import Models
import Serialization
import Tensors

/// Samples and scores completions of an online stage's prompts.
struct Rolling {
    let settings: OnlineSettings
    /// Of every draw.
    let seed: UInt64
    let stopIDs: [Int32]
    let rollouts: any Rollouts

    /// A completion that has been scored.
    struct Scored {
        var rollout: Rollout
        var tokens: [Int32]
        var score: RewardScore
        /// Clipped, penalties taken off: what is trained on.
        var value: Double
        var isWhole: Bool
        /// Whether it was sampled in an earlier round.
        var isEarlier = false
    }

    private func sampling(seed: UInt64, samples: Int) -> Sampling {
        var sampling = Sampling()
        sampling.temperature = settings.temperature
        sampling.maxNewTokens = settings.maxNewTokens
        sampling.minNewTokens = settings.minNewTokens
        sampling.stopIDs = stopIDs
        sampling.samplesPerPrompt = samples
        sampling.seed = seed
        return sampling
    }

    /// Completions of `rows`, prompt by prompt; nil if cancelled.
    /// - Parameter evaluates: Draws that no training step makes, the same at every evaluation.
    func complete(_ rows: [(index: Int, row: PromptRow)], samples: Int, step: Int, evaluates: Bool, isCancelled: () -> Bool) async throws -> [Rollout]? {
        let seed = evaluates ? seed ^ 0x5EED_0E7A_1000_0000 : seed
        let request = RolloutRequest(
            prompts: rows.map { RolloutPrompt(.tokens($0.row.tokens), index: $0.index, samples: Array(0..<samples)) },
            sampling: sampling(seed: seed, samples: samples), step: evaluates ? 0 : step)
        var finished: [Rollout] = []
        try await rollouts.sample(request) { rollout in
            finished.append(rollout)
            return !isCancelled()
        }
        guard !isCancelled() else { return nil }
        guard finished.count == rows.count * samples else {
            throw RolloutError.failed(
                engine: rollouts.model.name, reason: "it gave \(finished.count) completions of \(rows.count * samples)", remedy: "Ask again with --resume.")
        }
        let place = Dictionary(uniqueKeysWithValues: rows.enumerated().map { ($0.element.index, $0.offset) })
        return finished.sorted { (place[$0.prompt] ?? 0, $0.sample) < (place[$1.prompt] ?? 0, $1.sample) }
    }

    /// - Throws: `RewardFailure`, `RolloutError.noTokens`.
    func score(_ completions: [Rollout], of rows: [PromptRow], by reward: any Reward) async throws -> [Scored] {
        let items = zip(completions, rows).map { rollout, row in
            RewardItem(
                prompt: row.content, completion: rollout.text, promptTokens: row.tokens, tokens: rollout.tokens, finishReason: rollout.finishReason,
                reference: row.answer)
        }
        let scores = try await reward.scores(of: items)
        return try zip(completions, scores).map { rollout, score in
            guard let tokens = rollout.tokens, !tokens.isEmpty else { throw RolloutError.noTokens(engine: rollout.model.name) }
            let isWhole = rollout.finishReason != .length
            var value = settings.rewardClip > 0 ? min(max(score.value, -settings.rewardClip), settings.rewardClip) : score.value
            if !isWhole { value -= settings.missingEOSPenalty }
            return Scored(rollout: rollout, tokens: tokens, score: score, value: value, isWhole: isWhole)
        }
    }
}

extension Metrics {
    /// TRL's names for a set of completions.
    mutating func record(_ scored: [Rolling.Scored], groups: [[Int]]) {
        record(ungraded: scored)
        once("reward", mean(scored.map(\.value)))
        let deviations = groups.map { group in deviation(group.map { scored[$0].value }) }
        once("reward_std", groups.isEmpty ? nil : mean(deviations))
        once("frac_reward_zero_std", groups.isEmpty ? nil : mean(deviations.map { $0 == 0 ? 1 : 0 }))
        for name in Set(scored.flatMap { $0.score.components.map(\.name) }).sorted() {
            let values = scored.compactMap { scored in scored.score.components.first { $0.name == name }?.value }
            once("rewards/\(name)/mean", mean(values))
            once("rewards/\(name)/std", deviation(values))
        }
    }

    /// What there is to say of completions that nobody has scored.
    mutating func record(ungraded scored: [Rolling.Scored]) {
        let lengths = scored.map { Double($0.tokens.count) }
        let whole = scored.filter(\.isWhole).map { Double($0.tokens.count) }
        once("completions/mean_length", mean(lengths))
        once("completions/min_length", lengths.min())
        once("completions/max_length", lengths.max())
        once("completions/clipped_ratio", mean(scored.map { $0.isWhole ? 0 : 1 }))
        once("completions/mean_terminated_length", whole.isEmpty ? 0 : mean(whole))
        once("completions/min_terminated_length", whole.min() ?? 0)
        once("completions/max_terminated_length", whole.max() ?? 0)
        once("completions/repetition", mean(scored.map { repetition($0.tokens) }))
    }

    private mutating func once(_ name: String, _ value: Double?) { if let value { record(name, sum: value, count: 1) } }
}

/// Share of the tokens' runs of four that appeared before: 0 without any, towards 1 for a text that goes round in circles.
func repetition(_ tokens: [Int32]) -> Double {
    guard tokens.count > 4 else { return 0 }
    let runs = (0...tokens.count - 4).map { Array(tokens[$0..<$0 + 4]) }
    return 1 - Double(Set(runs).count) / Double(runs.count)
}

func mean(_ values: [Double]) -> Double { values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count) }

/// The unbiased standard deviation; 0 for fewer than two values.
func deviation(_ values: [Double]) -> Double {
    guard values.count > 1 else { return 0 }
    let center = mean(values)
    return (values.reduce(0) { $0 + ($1 - center) * ($1 - center) } / Double(values.count - 1)).squareRoot()
}
