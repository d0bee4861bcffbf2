import Checkpoints
import Evaluations
import Foundation
import Models
import Serialization
import Tensors
import Training

/// One seed's world on disk: documents, start models, samples, pairs, reward models. Whatever is there is not made again.
final class StudyWorkshop {
    let world: PlantedWorld
    let plan: WorldPlan
    let seed: Int
    /// `OUT/worlds/VARIANT-seed-N`: studies of one world share it.
    let folder: String
    /// Where the runs of this study's arms go.
    let runs: String
    let compute: Compute
    static let precision = Precision.fp32
    /// Pairs that reward models are judged by, once they were asked for.
    var freshPairs: [[Rollout]] = []
    var pooled: (law: BestOfNLaw, rollouts: [Rollout])?

    private let out: String, study: String

    init(_ plan: WorldPlan, seed: Int, out: String, study: String, compute: Compute) throws {
        (self.out, self.study) = (out, study)
        (self.plan, self.seed, self.compute) = (plan, seed, compute)
        world = PlantedWorld(plan.variant, seed: UInt64(seed))
        folder = Self.folder(plan, seed: seed, out: out)
        runs = "\(out)/\(study)/seed-\(seed)"
        try StudyFiles.makeFolder(folder)
        try StudyFiles.makeFolder(runs)
        let training = "start steps: \(plan.startSteps.map { "\($0)" } ?? "each size's"), reward epochs: \(plan.rewardEpochs)\n"
        let file = try made(folder + "/training.txt") { try StudyFiles.write(training, to: $0) }
        guard FileManager.default.contents(atPath: file).map({ String(decoding: $0, as: UTF8.self) }) == training else {
            throw CommandError.badData(path: file, reason: "the models of this world were trained otherwise than the plan says; give another --out")
        }
    }

    static func folder(_ plan: WorldPlan, seed: Int, out: String) -> String { "\(out)/worlds/\(plan.variant.rawValue)-\(plan.documents)-seed-\(seed)" }

    /// The same seed in another world.
    func sibling(_ plan: WorldPlan) throws -> StudyWorkshop { try StudyWorkshop(plan, seed: seed, out: out, study: study, compute: compute) }

    func note(_ text: String) { Output.note("seed \(seed)  \(text)") }

    /// What is at `path`, made by `make` if it is not there yet.
    func made(_ path: String, _ make: (String) throws -> Void) rethrows -> String {
        if !StudyFiles.exists(path) { try make(path) }
        return path
    }

    // MARK: Stages

    /// What stages are handed: models of this program, the study's rewards.
    func context(_ run: String) -> StageContext {
        let (compute, world) = (compute, world)
        var context = StageContext(runPath: run, resumes: true, compute: compute) { path, settings in
            try ModelSource(try Checkpoint.open(path), compute: compute, precision: Self.precision, settings: settings)
        }
        context.openRollouts = { policy, source in
            guard let transformer = policy as? Transformer else { preconditionFailure("\(source.path) is no transformer") }
            return LocalRollouts(Decoder(transformer), text: nil, name: source.path, sequences: Self.sequences)
        }
        context.openReward = { spec in
            let gold = GoldReward(world)
            return WitnessedReward(spec == GoldReward.spec ? gold : try Self.model(spec, compute), witnesses: [("gold", gold)])
        }
        context.isCancelled = { Interrupt.isRequested }
        context.record = [("align", .string(Align.version)), ("command", "eval study"), ("seed-of-world", .integer(seed))]
        return context
    }

    private static func model(_ spec: String, _ compute: Compute) throws -> ModelReward {
        try ModelReward(path: String(spec.dropFirst(spec.hasPrefix("model:") ? 6 : 0)), compute: compute, precision: precision)
    }

    /// Runs a stage to its end, or finds that it was there.
    @discardableResult func run(_ stage: some Stage, as run: String) async throws -> StageOutcome {
        let outcome = try await stage.run(in: context(run))
        guard outcome.status != .interrupted else { throw CommandError.interrupted(run: nil) }
        return outcome
    }

    func training(_ rate: Double, batch: Int, model: String) -> TrainingSettings {
        var training = TrainingSettings(learningRate: rate)
        (training.model, training.batchSize, training.seed, training.precision) = (model, batch, seed, .fp32)
        (training.adamBeta2, training.maxLength, training.saveSteps) = (0.95, 32, 0)
        training.template = "none"
        return training
    }

    // MARK: Sampling

    /// Completions that are decoded side by side.
    static let sequences = 256

    func transformer(_ path: String) throws -> Transformer {
        try Transformer(Checkpoint.open(path), compute: compute, precision: Self.precision, trains: false)
    }

    /// Completions of prompts by a model at temperature 1, prompt by prompt.
    func sample(_ model: Transformer, _ prompts: [[Int32]], samples: Int, step: Int) async throws -> [Rollout] {
        var sampling = Sampling()
        (sampling.maxNewTokens, sampling.samplesPerPrompt, sampling.seed) = (PlantedWorld.longestCompletion, samples, UInt64(seed))
        sampling.stopIDs = [PlantedWorld.end]
        let rollouts = LocalRollouts(Decoder(model), text: nil, name: "policy", sequences: Self.sequences)
        return try await (rollouts as any Rollouts).sample(RolloutRequest(prompts.map { .tokens($0) }, sampling: sampling, step: step))
    }

    /// Steps of draws outside of training, each its own.
    enum DrawStep { static let pool = 1_000_001, pairs = 1_000_002, freshPairs = 1_000_003, evaluation = 1_000_004, ends = 1_000_005 }

    func gold(_ rollout: Rollout) -> Double { world.gold(rollout.tokens ?? [], after: rollout.promptTokens ?? []) }

    /// Scores of a reward model, in order.
    func scores(_ rollouts: [Rollout], by model: String) async throws -> [Double] {
        let reward = try Self.model(model, compute)
        let items = rollouts.map {
            RewardItem(prompt: .tokens($0.promptTokens ?? []), completion: "", promptTokens: $0.promptTokens, tokens: $0.tokens, finishReason: $0.finishReason)
        }
        return try reward.scores(of: items).map(\.value)
    }
}
