/// Rewards added up: r = clip(Σ w_i · clip_i(r_i)).
final class WeightedSum: Reward {
    struct Part {
        var reward: any Reward
        var weight: Double
        /// Bounds of r_i, before its weight.
        var clip: ClosedRange<Double>?
    }

    let name: String
    private let parts: [Part]
    private let clip: ClosedRange<Double>?

    init(_ parts: [Part], clip: ClosedRange<Double>?, name: String) { (self.parts, self.clip, self.name) = (parts, clip, name) }

    /// Where a part fails, the sums of the items that every part has scored are kept.
    func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        var all: [[RewardScore]] = []
        var (count, failure): (Int, RewardError?) = (items.count, nil)
        for part in parts {
            do throws(RewardFailure) { all.append(try await part.reward.scores(of: Array(items[..<count]))) } catch {
                // The item it failed at is the first without a sum: an earlier part's failure came after it.
                (count, failure) = (error.done.count, error.reason)
                all.append(error.done)
            }
        }
        let sums = (0..<count).map { index in sum(all.map { $0[index] }) }
        if let failure { throw RewardFailure(failure, done: sums) }
        return sums
    }

    /// A component of a part is named for both: `rule:math/correct`; a part's own value, unbounded, for itself.
    private func sum(_ scores: [RewardScore]) -> RewardScore {
        var result = RewardScore(0)
        for (part, score) in zip(parts, scores) {
            result.value += part.weight * (part.clip.map { min(max(score.value, $0.lowerBound), $0.upperBound) } ?? score.value)
            result.components.append(.init(part.reward.name, score.value, isReward: true))
            result.components += score.components.map { .init("\(part.reward.name)/\($0.name)", $0.value) }
        }
        if let clip { result.value = min(max(result.value, clip.lowerBound), clip.upperBound) }
        return result
    }
}
