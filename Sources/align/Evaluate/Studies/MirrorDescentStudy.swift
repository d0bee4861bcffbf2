import Evaluations
import Foundation
import Models
import Serialization
import Training

/// Mirror descent against other methods on gold. Measures: `MirrorDescentMeasure`.
struct MirrorDescentStudy: Study {
    static let name = "mirror-descent"
    let world: WorldPlan

    /// One run: a method and its settings, those that `align METHOD --config` takes.
    private struct Arm {
        var name: String, method: String
        var rate: Double, beta: Double
        var settings: JSONObject
        /// First steps that do not count: those in which a value model learns alone.
        var freeSteps = 0
        var isCompared: Bool
    }
    private let plan: StudyWorkshop.OnlinePlan
    private let all: [Arm]
    private let subject: String
    private let smallest: Double

    init(_ plan: StudyPlan) throws {
        world = try WorldPlan(plan.part("world"))
        self.plan = try StudyWorkshop.OnlinePlan(plan.part("online"))
        (subject, smallest) = (try plan.text("subject"), try plan.number("smallest_effect"))
        all = try plan.parts("arms").map { arm in
            let method = try arm.text("method")
            guard Self.methods[method] != nil else {
                throw CommandError.badData(path: plan.file, reason: "the method \"\(method)\" is none of \(Self.methods.keys.sorted().joined(separator: ", "))")
            }
            return Arm(
                name: try arm.text("arm"), method: method, rate: try arm.number("learning_rate"), beta: try arm.number("beta"),
                settings: try arm.part("settings").json.object ?? JSONObject(),
                freeSteps: arm.has("free_steps") ? try arm.integer("free_steps") : 0, isCompared: arm.json["compared"]?.bool ?? true)
        }
    }

    private typealias Run = @Sendable (Arm, StudyWorkshop.OnlinePlan, StudyWorkshop) async throws -> (lines: [StudyLine], run: String)

    /// The methods that an arm may name: one line each.
    private static let methods: [String: Run] = [
        MirrorDescentMethod.name: { try await run(MirrorDescentMethod.self, $0, $1, $2) },
        RLOOMethod.name: { try await run(RLOOMethod.self, $0, $1, $2) },
        PPOMethod.name: { try await run(PPOMethod.self, $0, $1, $2) },
        GRPOMethod.name: { try await run(GRPOMethod.self, $0, $1, $2) },
        OnlineDPOMethod.name: { try await run(OnlineDPOMethod.self, $0, $1, $2) },
        RejectionSamplingMethod.name: { try await run(RejectionSamplingMethod.self, $0, $1, $2) },
    ]

    private static func run<Method: OnlineMethod>(
        _: Method.Type, _ arm: Arm, _ plan: StudyWorkshop.OnlinePlan, _ workshop: StudyWorkshop
    ) async throws -> (lines: [StudyLine], run: String) {
        var plan = plan
        plan.steps += arm.freeSteps
        var settings = try await workshop.online(plan, Method.Settings(), rate: arm.rate, beta: arm.beta, reward: GoldReward.spec)
        try settings.apply(arm.settings)
        return try await workshop.lines(Method.self, settings, arm: arm.name)
    }

    private static let identity = "identity gate"

    func arms() -> [String] { [Self.identity] + all.map(\.name) }

    func run(_ name: String, in workshop: StudyWorkshop) async throws -> [StudyLine] {
        if name == Self.identity { return [try await identity(workshop)] }
        guard let arm = all.first(where: { $0.name == name }), let run = Self.methods[arm.method] else { preconditionFailure("no arm \(name)") }
        let (all, folder) = try await run(arm, plan, workshop)
        let lines = all.filter { $0.step > arm.freeSteps }.map { line in
            var line = line
            (line.step, line.rollouts) = (line.step - arm.freeSteps, line.rollouts / line.step * (line.step - arm.freeSteps))
            return line
        }
        let model = folder + "/" + RunDirectory.modelName
        let isFinished = StudyFiles.exists(model)
        let ending = isFinished ? try await workshop.final(model) : []
        let others = [("start_gold", try await workshop.law().law.meanGold), ("not_finite", isFinished ? 0 : 1)] + ending
        return StudyWorkshop.thinned(lines, below: 10) + [
            StudyLine(arm: name, seed: workshop.seed, rollouts: lines.last?.rollouts ?? 0, others: others.map { (name: $0.0, value: $0.1) })
        ]
    }

    /// With one update a step, mirror descent is RLOO, bit for bit: three steps of each.
    /// - Throws: `CommandError.badData` if it is not, and nothing of the study is believed.
    private func identity(_ workshop: StudyWorkshop) async throws -> StudyLine {
        var few = plan
        few.steps = 3
        func run(_ method: String) async throws -> [StudyLine] {
            let arm = Arm(name: "\(Self.identity) \(method)", method: method, rate: 1e-4, beta: 0.05, settings: JSONObject([("inner-epochs", 1), ("mini-batches", 1)]), isCompared: false)
            guard let run = Self.methods[method] else { preconditionFailure("no method \(method)") }
            return try await run(arm, few, workshop).lines
        }
        let pairs = zip(try await run(MirrorDescentMethod.name), try await run(RLOOMethod.name))
        let worst = pairs.map { max(abs(($0.gold ?? .nan) - ($1.gold ?? .nan)), abs(($0.kl ?? .nan) - ($1.kl ?? .nan))) }.max() ?? .nan
        guard worst == 0 else {
            throw CommandError.badData(path: workshop.runs, reason: "with one update a step mirror descent and RLOO differ by \(worst): nothing can be claimed of either")
        }
        return StudyLine(arm: Self.identity, seed: workshop.seed, others: [("difference", worst)])
    }

    func report(_ lines: [StudyLine]) -> StudyReport {
        let arms = all.map { MirrorDescentMeasure.Arm(name: $0.name, method: $0.method, isCompared: $0.isCompared) }
        return MirrorDescentMeasure(lines.filter { $0.arm != Self.identity }, arms: arms, subject: subject, smallest: smallest).report
    }
}
