/// Where completions wait for people, and their labels are kept. The program puts the preference store behind it.
public protocol HumanQueue: Sendable {
    /// The score that people gave each item; nil where they have not yet, and then the item is in the queue (once, however often it is asked).
    func scores(of items: [RewardItem]) throws -> [Double?]
}

/// `human`: completions are queued for labelling; they score what people say.
final class HumanReward: Reward {
    let name = "human"
    private let queue: any HumanQueue

    init(_ queue: any HumanQueue) { self.queue = queue }

    /// - Throws: `.awaitingLabels` until all of them are labelled.
    func scores(of items: [RewardItem]) throws(RewardFailure) -> [RewardScore] {
        let scores: [Double?]
        do { scores = try queue.scores(of: items) } catch { throw RewardFailure(.unavailable(reward: name, reason: "\(error)")) }
        precondition(scores.count == items.count, "\(scores.count) labels for \(items.count) items")
        let done = scores.prefix { $0 != nil }.compactMap { $0.map { RewardScore($0) } }
        guard done.count == items.count else {
            throw RewardFailure(.awaitingLabels(queued: scores.count { $0 == nil }, of: items.count), done: done)
        }
        return done
    }
}

extension RewardKind {
    static let human = RewardKind(
        name: "human", form: "human", takesArgument: false, options: { _, _ in [] },
        make: { _, context throws(RewardError) in
            guard let labels = context.labels else {
                throw .unavailable(reward: "human", reason: "there is no queue for labels here; name a store with --store FILE")
            }
            return HumanReward(labels)
        })
}
