/// Tells when a trained reward is being gamed: it rises from one evaluation to the next while a held-out one falls, several times in a row.
public enum RewardWatch {
    /// Mean rewards of one evaluation.
    public struct Reading: Sendable, Equatable {
        public var reward: Double, heldOut: Double
        public init(reward: Double, heldOut: Double) { (self.reward, self.heldOut) = (reward, heldOut) }
    }

    /// Evaluations in a row at which the reward rose and the held-out one fell, the last one included.
    /// - Parameter count: Their number before it.
    public static func count(after count: Int, from before: Reading, to now: Reading) -> Int {
        now.reward > before.reward && now.heldOut < before.heldOut ? count + 1 : 0
    }
}
