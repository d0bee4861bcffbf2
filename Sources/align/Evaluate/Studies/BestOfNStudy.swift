import Evaluations
import Tensors

/// The best-of-n law: KL, and gold under a proxy's choice. Measures: `BestOfNLaw`.
struct BestOfNStudy: Study {
    static let name = "best-of-n"
    let world: WorldPlan
    private let proxies: [StudyWorkshop.Proxy]
    private let smallest: Double
    private let noisy: String
    private let sized: [StudyWorkshop.Proxy], fed: [StudyWorkshop.Proxy]

    init(_ plan: StudyPlan) throws {
        world = try WorldPlan(plan.part("world"))
        smallest = try plan.number("smallest_effect")
        func read(_ key: String) throws -> [StudyWorkshop.Proxy] { try plan.parts(key).map { try StudyWorkshop.Proxy($0) } }
        proxies = try read("proxies")
        (sized, fed) = (try read("by_size"), try read("by_pairs"))
        noisy = try StudyWorkshop.Proxy(plan.part("over_optimised")).name
    }

    func arms() -> [String] { ["toy", "gold", "random"] + proxies.map(\.name) }

    func run(_ arm: String, in workshop: StudyWorkshop) async throws -> [StudyLine] {
        let seed = workshop.seed
        if arm == "toy" {
            let toy = BestOfNToy(seed: UInt64(seed))
            let numbers = [2, 16, 128].flatMap { n in [("slack without ties, n=\(n)", toy.slack(toy.fine, of: n)), ("of three values, n=\(n)", toy.slack(toy.coarse, of: n))] }
            return [StudyLine(arm: arm, seed: seed, others: numbers.map { (name: $0.0, value: $0.1) })]
        }
        let law = try await workshop.law().law
        if arm == "gold" { return law.lines(arm, seed: seed, ranking: law.gold) }
        if arm == "random" {
            var stream = RandomStream(seed: UInt64(seed), stream: 0xD1CE, index: 0)
            return law.lines(arm, seed: seed, ranking: law.gold.map { $0.map { _ in stream.uniform() } })
        }
        guard let proxy = proxies.first(where: { $0.name == arm }) else { preconditionFailure("no arm \(arm)") }
        let model = try await workshop.rewardModel(proxy)
        return law.lines(arm, seed: seed, ranking: try await workshop.ranking(by: model), others: [("accuracy", try await workshop.accuracy(of: model))])
    }

    func report(_ lines: [StudyLine]) -> StudyReport {
        BestOfNLaw.report(
            lines, noisy: noisy, bySize: sized.map { (Double($0.size.parameters), $0.name) }, byPairs: fed.map { (Double($0.pairs.count), $0.name) },
            smallest: smallest)
    }
}

extension StudyWorkshop.Proxy {
    init(_ plan: StudyPlan) throws {
        let first = plan.has("from") ? try plan.integer("from") : 0
        self.init(pairs: first..<first + (try plan.integer("pairs", in: 64...1_000_000)), noise: try plan.number("noise"), size: try plan.word("size"))
    }
}
