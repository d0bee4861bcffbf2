/// Several reward models of one completion, put together as `RewardEnsemble` says.
final class EnsembleReward: Reward {
    let name: String
    private let members: [any Reward]
    private let combination: RewardEnsemble

    init(_ members: [any Reward], _ combination: RewardEnsemble, name: String) {
        precondition(!members.isEmpty, "an ensemble of no reward")
        (self.members, self.combination, self.name) = (members, combination, name)
    }

    /// Where a member fails, the items that every member has scored are kept.
    func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        var all: [[Double]] = []
        var (count, failure): (Int, RewardError?) = (items.count, nil)
        for member in members {
            do throws(RewardFailure) { all.append(try await member.scores(of: Array(items[..<count])).map(\.value)) } catch {
                (count, failure) = (error.done.count, error.reason)
                all.append(error.done.map(\.value))
            }
        }
        let scores = (0..<count).map { index in
            let parts = all.map { $0[index] }
            return RewardScore(combination(parts), components: zip(members, parts).map { .init($0.name, $1, isReward: true) })
        }
        if let failure { throw RewardFailure(failure, done: scores) }
        return scores
    }
}

extension RewardKind {
    /// `model:DIR`, or `model:DIR|DIR|…,combine=mean|min|mean-std[:K]`.
    static let model = RewardKind(
        name: "model", form: "model:DIR", options: { _, _ in ["combine"] },
        make: { term, context throws(RewardError) in
            guard let load = context.loadModel else { throw .unavailable(reward: term.text, reason: "reward models cannot be read here") }
            guard let combination = RewardEnsemble(term.options.text("combine") ?? "mean") else {
                throw term.options.bad("combine", "mean, min, mean-std or mean-std:K with K of at least 0")
            }
            var members: [any Reward] = []
            for path in term.argument.split(separator: "|") {
                do { members.append(try load(String(path.trimmingSpaces))) } catch let error as RewardError { throw error } catch {
                    throw .cannotLoad(reward: term.text, reason: "\(error)")
                }
            }
            guard let first = members.first else { throw .badSpec(spec: term.options.spec, found: "no folder", expected: "model:DIR") }
            return members.count == 1 ? first : EnsembleReward(members, combination, name: term.text)
        })
}
