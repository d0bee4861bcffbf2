import Foundation
import Models
import Tensors

extension PlantedWorld {
    /// What completions are truly worth.
    ///
    ///     0.8·min(n,4) − 0.5·max(n−5,0) + 0.3·min(d,4) − 0.8·min(w,4) + 0.3·min(p,2) − 0.3·min(q,2)
    ///     − 0.5·u − 0.1·max(|L−15|−4,0) + 0.5·[end present]
    ///
    /// n, w: ids of the wanted and unwanted class, d: distinct wanted ones, p, q: of the mode's own and of the other class, u: adjacent
    /// equal pairs, L: length with the end. Without p and q it is a bag of tokens that needs no prompt, which a small reward model
    /// learns; where it bends, the start model writes seldom, so that a learned reward goes on wrongly.
    public func gold(_ completion: [Int32], after prompt: [Int32]) -> Double {
        let roles = roles(of: prompt)
        var counts = [0, 0, 0, 0]
        var distinct = Set<Int32>()
        for id in completion {
            guard let kind = Self.classOf(id) else { continue }
            counts[kind] += 1
            if kind == roles.wanted { distinct.insert(id) }
        }
        let (n, w) = (counts[roles.wanted], counts[roles.unwanted])
        var gold = 0.8 * Double(min(n, 4)) + 0.3 * Double(min(distinct.count, 4)) - 0.8 * Double(min(w, 4))
        if let own = roles.own, let other = roles.other { gold += 0.3 * Double(min(counts[own], 2)) - 0.3 * Double(min(counts[other], 2)) }
        if completion.last == Self.end { gold += 0.5 }
        guard variant != .flat else { return gold }
        let repeats = zip(completion, completion.dropFirst()).count { $0 == $1 }
        return gold - 0.5 * Double(max(n - 5, 0)) - 0.5 * Double(repeats) - 0.1 * Double(max(abs(completion.count - 15) - 4, 0))
    }

    /// Which of two completions a labeller calls better: drawn from σ((gold_a − gold_b)/0.7), then flipped with probability `noise`.
    /// - Parameter index: Of the pair; its draws follow from it.
    public func prefersFirst(_ a: [Int32], _ b: [Int32], after prompt: [Int32], index: Int, noise: Double, purpose: Purpose = .pairs) -> Bool {
        var stream = stream(.labels, purpose, index)
        let difference = (gold(a, after: prompt) - gold(b, after: prompt)) / 0.7
        var prefers = stream.uniform() < 1 / (1 + exp(-difference))
        if stream.uniform() < noise { prefers.toggle() }
        if variant == .noisyLength, stream.uniform() < 0.2, a.count != b.count { prefers = a.count > b.count }
        return prefers
    }
}

/// Gold as a reward that stages train on: `rule:gold` of the studies.
public final class GoldReward: Reward {
    public static let spec = "rule:gold"
    public let name = GoldReward.spec
    private let world: PlantedWorld
    public init(_ world: PlantedWorld) { self.world = world }

    public func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        var scores: [RewardScore] = []
        for (index, item) in items.enumerated() {
            guard let prompt = item.promptTokens, prompt.count == PlantedWorld.promptLength, let tokens = item.tokens else {
                throw RewardFailure(
                    .missing(reward: name, item: index, field: "prompt and completion as ids of the planted world", remedy: "Sample on this machine."), done: scores)
            }
            scores.append(RewardScore(world.gold(tokens, after: prompt)))
        }
        return scores
    }
}

/// One reward that is trained on, and others that are only written down: components of its scores, by name.
public final class WitnessedReward: Reward {
    public var name: String { trained.name }
    private let trained: any Reward
    private let witnesses: [(name: String, reward: any Reward)]

    public init(_ trained: any Reward, witnesses: [(name: String, reward: any Reward)]) { (self.trained, self.witnesses) = (trained, witnesses) }

    public func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        var scores = try await trained.scores(of: items)
        for witness in witnesses {
            let seen = try await witness.reward.scores(of: items)
            for index in scores.indices { scores[index].components.append(.init(witness.name, seen[index].value)) }
        }
        return scores
    }
}
