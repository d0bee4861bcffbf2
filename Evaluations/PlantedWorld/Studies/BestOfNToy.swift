import Foundation
import PreferenceData
import Tensors

/// Best-of-n where everything can be listed: five tokens, strings of five, 3,125 of them, next tokens drawn from a random table.
public struct BestOfNToy: Sendable {
    static let tokens = 5, length = 5
    /// π of each string.
    public let probabilities: [Double]
    /// Rewards without ties, and of three values.
    public let fine: [Double], coarse: [Double]

    public init(seed: UInt64) {
        var stream = RandomStream(seed: seed, stream: 0x70F5, index: 0)
        let table = (0...Self.tokens).map { _ -> [Double] in
            let weights = (0..<Self.tokens).map { _ in exp(stream.normal()) }
            return weights.map { $0 / weights.reduce(0, +) }
        }
        let count = Int(pow(Double(Self.tokens), Double(Self.length)))
        probabilities = (0..<count).map { string in
            var (rest, last, p) = (string, Self.tokens, 1.0)
            for _ in 0..<Self.length {
                p *= table[last][rest % Self.tokens]
                (rest, last) = (rest / Self.tokens, rest % Self.tokens)
            }
            return p
        }
        let rewards = (0..<count).map { _ in stream.normal() }
        (fine, coarse) = (rewards, rewards.map { $0 < -0.5 ? -1 : $0 < 0.5 ? 0 : 1 })
    }

    /// KL(best of n ‖ π), exact: a value r is the best's with probability F(r)ⁿ − F(r⁻)ⁿ, shared among its strings as π shares it.
    public func divergence(_ rewards: [Double], of n: Int) -> Double {
        var (below, sum) = (0.0, 0.0)
        let order = rewards.indices.sorted { rewards[$0] < rewards[$1] }
        var place = 0
        while place < order.count {
            var (end, mass) = (place, 0.0)
            while end < order.count, rewards[order[end]] == rewards[order[place]] {
                mass += probabilities[order[end]]
                end += 1
            }
            let best = pow(min(1, below + mass), Double(n)) - pow(below, Double(n))
            if best > 0 { sum += best * log(best / mass) }
            below += mass
            place = end
        }
        return sum
    }

    /// Nats by which log n − (n − 1)/n lies above the exact divergence.
    public func slack(_ rewards: [Double], of n: Int) -> Double { ((try? BestOfN.klBound(n)) ?? .nan) - divergence(rewards, of: n) }
}
