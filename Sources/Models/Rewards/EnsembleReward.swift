/// Several reward models of one completion, put together.
///
///     mean:  r̄        min:  minᵢ rᵢ        mean-std:  r̄ − k·σ,  σ² = Σ(rᵢ − r̄)²/n
///
/// Source: Coste et al. 2024, "Reward Model Ensembles Help Mitigate Overoptimization", section 3 (mean, worst case, uncertainty weighted).
final class EnsembleReward: Reward {
    enum Combination: String, CaseIterable { case mean, min, meanStd = "mean-std" }

    let name: String
    private let members: [any Reward]
    private let combination: Combination
    private let k: Double

    init(_ members: [any Reward], _ combination: Combination, k: Double, name: String) {
        precondition(!members.isEmpty, "an ensemble of no reward")
        (self.members, self.combination, self.k, self.name) = (members, combination, k, name)
    }

    func scores(of items: [RewardItem]) async throws(RewardFailure) -> [RewardScore] {
        var all: [[Double]] = []
        for member in members { all.append(try await member.scores(of: items).map(\.value)) }
        return items.indices.map { index in combined(all.map { $0[index] }) }
    }

    func combined(_ values: [Double]) -> RewardScore {
        let mean = values.reduce(0, +) / Double(values.count)
        let deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)).squareRoot()
        let value =
            switch combination {
            case .mean: mean
            case .min: values.min() ?? mean
            case .meanStd: mean - k * deviation
            }
        return RewardScore(value, components: [.init("mean", mean), .init("std", deviation)])
    }
}

extension RewardKind {
    /// `model:DIR`, or `model:DIR|DIR|…,combine=mean|min|mean-std,k=1`.
    static let model = RewardKind(
        name: "model", form: "model:DIR", options: { _, _ in ["combine", "k"] },
        make: { term, context throws(RewardError) in
            guard let load = context.loadModel else { throw .unavailable(reward: term.text, reason: "reward models cannot be read here") }
            let words = EnsembleReward.Combination.allCases.map(\.rawValue)
            let combination = EnsembleReward.Combination(rawValue: try term.options.choice("combine", of: words)) ?? .mean
            let k = try term.options.number("k", in: 0...1000, default: 1, "a number from 0")
            var members: [any Reward] = []
            for path in term.argument.split(separator: "|") {
                do { members.append(try load(String(path.trimmingSpaces))) } catch { throw .cannotLoad(reward: term.text, reason: "\(error)") }
            }
            guard let first = members.first else { throw .badSpec(spec: term.options.spec, found: "no folder", expected: "model:DIR") }
            return members.count == 1 ? first : EnsembleReward(members, combination, k: k, name: term.text)
        })
}
