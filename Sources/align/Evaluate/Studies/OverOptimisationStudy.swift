import Evaluations
import PreferenceData
import Serialization
import Training

/// Over-optimisation under reinforcement learning, and the watch. Measures: `OverOptimisation`.
struct OverOptimisationStudy: Study {
    static let name = "over-optimisation"
    let world: WorldPlan

    /// A run on a proxy, or on gold where there is none.
    fileprivate struct Arm {
        var name: String
        var proxy: StudyWorkshop.Proxy?
        var beta: Double, rate: Double, steps: Int
        var variant: PlantedWorld.Variant
    }
    private let plan: StudyWorkshop.OnlinePlan
    fileprivate let all: [Arm]
    /// What the watch compares a proxy with: a reward model on pairs of its own.
    private let heldOut: StudyWorkshop.Proxy
    private let smallest: Double
    private let watchPatience: Int, watchWithin: Int
    private let roles: OverOptimisation.Arms

    init(_ plan: StudyPlan) throws {
        let world = try WorldPlan(plan.part("world"))
        self.world = world
        let online = try StudyWorkshop.OnlinePlan(plan.part("online"))
        self.plan = online
        smallest = try plan.number("smallest_effect")
        let watch = try plan.part("watch")
        (watchPatience, watchWithin) = (try watch.integer("patience"), try watch.integer("within_steps"))
        heldOut = try StudyWorkshop.Proxy(watch.part("held_out"))
        let rate = try plan.number("learning_rate")
        all = try plan.parts("arms").map { arm in
            Arm(
                name: try arm.text("arm"), proxy: arm.has("proxy") ? try StudyWorkshop.Proxy(arm.part("proxy")) : nil, beta: try arm.number("beta"),
                rate: arm.has("learning_rate") ? try arm.number("learning_rate") : rate, steps: arm.has("steps") ? try arm.integer("steps") : online.steps,
                variant: arm.has("variant") ? try arm.word("variant") : world.variant)
        }
        let given = try plan.part("roles")
        let noisy = try given.text("noisy")
        let base = all.first { $0.name == noisy }
        roles = OverOptimisation.Arms(
            noisy: noisy, fewer: try given.text("fewer"), gold: try given.text("gold"), slower: try given.text("slower"), flat: given.has("flat") ? try given.text("flat") : nil,
            penalised: all.filter { $0.beta > 0 && $0.proxy?.name == base?.proxy?.name && $0.variant == base?.variant }.map { ($0.beta, $0.name) })
    }

    func arms() -> [String] { all.map(\.name) }

    func run(_ name: String, in workshop: StudyWorkshop) async throws -> [StudyLine] {
        guard let arm = all.first(where: { $0.name == name }) else { preconditionFailure("no arm \(name)") }
        var workshop = workshop
        if arm.variant != world.variant {
            var other = world
            other.variant = arm.variant
            workshop = try workshop.sibling(other)
        }
        let heldOut = try await workshop.rewardModel(self.heldOut)
        let proxy = try await arm.proxyModel(in: workshop)
        var plan = plan
        plan.steps = arm.steps
        var settings = try await workshop.online(plan, RLOOSettings(), rate: arm.rate, beta: arm.beta, reward: proxy.map { "model:" + $0 } ?? GoldReward.spec)
        settings.online.heldOutReward = "model:" + heldOut
        let (lines, run) = try await workshop.lines(RLOOMethod.self, settings, arm: name)
        return StudyWorkshop.thinned(lines) + [try await summary(arm, proxy, lines, run, workshop)]
    }

    /// What is known of the run as a whole: the start's numbers, the end on fresh prompts, where the watch would have stopped it.
    private func summary(_ arm: Arm, _ proxy: String?, _ lines: [StudyLine], _ run: String, _ workshop: StudyWorkshop) async throws -> StudyLine {
        let (law, rollouts) = try await workshop.law()
        let sample = Array(rollouts.prefix(4096))
        let scores = try SampleMean(try await proxy.asyncMap { try await workshop.scores(sample, by: $0) } ?? sample.map { workshop.gold($0) })
        let others: [(name: String, value: Double)] = [
            ("start_gold", law.meanGold), ("start_deviation", law.deviation), ("start_proxy", scores.mean), ("start_proxy_deviation", scores.standardDeviation),
            ("watch_stop", Double(try watchStop(run, heldOut: "eval_heldout_reward") ?? 0)),
            ("watch_stop_by_gold", Double(try watchStop(run, heldOut: "eval_rewards/gold/mean") ?? 0)),
        ]
        return StudyLine(
            arm: arm.name, seed: workshop.seed, step: 0, rollouts: lines.last?.rollouts ?? 0,
            others: others + (try await workshop.final(run + "/" + RunDirectory.modelName)))
    }

    /// The evaluation after which a run with the watch would have stopped; nil: none.
    /// - Parameter heldOut: The metric that is watched beside the proxy: another proxy, or gold itself.
    private func watchStop(_ run: String, heldOut name: String) throws -> Int? {
        var (count, before) = (0, RewardWatch.Reading?.none)
        for line in try StudyFiles.lines(run + "/" + RunDirectory.metricsName) {
            guard let step = line["step"]?.int, let reward = line["eval_reward"]?.double, let heldOut = line[name]?.double else { continue }
            let now = RewardWatch.Reading(reward: reward, heldOut: heldOut)
            if let before { count = RewardWatch.count(after: count, from: before, to: now) }
            before = now
            if count >= watchPatience { return step }
        }
        return nil
    }

    func report(_ lines: [StudyLine]) -> StudyReport { OverOptimisation(lines, arms: roles, smallest: smallest, watchWithin: watchWithin).report }
}

extension OverOptimisationStudy.Arm {
    fileprivate func proxyModel(in workshop: StudyWorkshop) async throws -> String? {
        guard let proxy else { return nil }
        return try await workshop.rewardModel(proxy)
    }
}

extension Optional {
    fileprivate func asyncMap<Result>(_ transform: (Wrapped) async throws -> Result) async rethrows -> Result? {
        guard let self else { return nil }
        return try await transform(self)
    }
}
