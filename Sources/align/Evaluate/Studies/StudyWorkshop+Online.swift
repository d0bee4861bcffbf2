import Evaluations
import Foundation
import Models
import Serialization
import Training

extension StudyWorkshop {
    /// What all online arms of a study share.
    struct OnlinePlan {
        var prompts: Int, samples: Int, steps: Int
        var warmup: Int
        /// Prompts that are looked at every so many steps, and how many; 0 steps: never.
        var evalSteps = 0, evalPrompts = 0

        init(_ plan: StudyPlan) throws {
            prompts = try plan.integer("prompts")
            samples = try plan.integer("samples")
            steps = try plan.integer("steps")
            warmup = try plan.integer("warmup", in: 0...1_000_000)
            if plan.has("eval_steps") { (evalSteps, evalPrompts) = (try plan.integer("eval_steps"), try plan.integer("eval_prompts")) }
        }
    }

    /// Fresh prompts that only gold looks at, at the end of an arm.
    static let finalPrompts = 2048

    /// Settings of an arm: the start model, 24-token completions, Adam (0.9, 0.95), a constant rate after the warm-up.
    func online<Settings: OnlineStageSettings>(_ plan: OnlinePlan, _ settings: Settings, rate: Double, beta: Double, reward: String) async throws -> Settings {
        var settings = settings
        let start = try await start(self.plan.size)
        settings.training = training(rate, batch: plan.prompts, model: start)
        settings.training.maxSteps = plan.steps
        settings.training.schedule = .constant
        settings.training.warmupSteps = plan.warmup
        settings.training.saveSteps = 50
        settings.training.saveTotalLimit = 1
        settings.online.prompts = [try promptFile(4096, for: .training)]
        settings.online.reward = reward
        settings.online.samples = plan.samples
        settings.online.maxNewTokens = PlantedWorld.longestCompletion
        settings.online.loggedCompletions = 1
        settings.online.beta = beta
        settings.online.tracksKL = true
        if plan.evalSteps > 0 {
            settings.training.evalSteps = plan.evalSteps
            settings.training.evalData = [try promptFile(plan.evalPrompts, for: .pool)]
        }
        return settings
    }

    private func promptFile(_ count: Int, for purpose: PlantedWorld.Purpose) throws -> String {
        try made("\(folder)/prompts-\(purpose)-\(count).jsonl") { path in
            try StudyFiles.writeLines(world.prompts(count, for: purpose).map { ["prompt_ids": StudyFiles.ids($0)] }, to: path)
        }
    }

    /// Runs an arm to its end.
    /// - Returns: A line for every step, and the run's folder; a run whose numbers ceased to be finite ends where they did.
    func lines<Method: OnlineMethod>(_: Method.Type, _ settings: Method.Settings, arm: String) async throws -> (lines: [StudyLine], run: String) {
        let run = runs + "/" + arm.replacing(" ", with: "-").replacing("/", with: "-")
        do { try await self.run(OnlineStage<Method>(settings), as: run) } catch TrainingError.notFinite { note("arm \(arm): not finite") }
        let perStep = settings.training.batchSize * settings.online.samples
        let lines = try StudyFiles.lines(run + "/" + RunDirectory.metricsName).compactMap { line -> StudyLine? in
            guard let step = line["step"]?.int, line["loss"] != nil else { return nil }
            return StudyLine(
                arm: arm, seed: seed, step: step, rollouts: step * perStep, kl: line["objective/kl"]?.double, proxy: line["reward"]?.double,
                gold: line["rewards/gold/mean"]?.double, length: line["completions/mean_length"]?.double)
        }
        return (lines, run)
    }

    /// Every step below `kl` nats, and beyond every fifth: what plots need.
    static func thinned(_ lines: [StudyLine], below kl: Double = 5) -> [StudyLine] {
        lines.filter { ($0.kl ?? 0) < kl || $0.step % 5 == 0 || $0.step == lines.last?.step }
    }

    /// Gold and KL of a model on fresh prompts, one sample each at temperature 1.
    func final(_ model: String) async throws -> [(name: String, value: Double)] {
        let policy = try transformer(model), reference = try transformer(try await start(plan.size))
        let rollouts = try await sample(policy, world.prompts(Self.finalPrompts, for: .evaluation), samples: 1, step: DrawStep.evaluation)
        let (own, theirs) = (try RolloutLogProbs(rollouts, under: policy).logProbs, try RolloutLogProbs(rollouts, under: reference).logProbs)
        let kl = rollouts.indices.reduce(0) { $0 + own.sum($1) - theirs.sum($1) } / Double(rollouts.count)
        return [("final_gold", rollouts.reduce(0) { $0 + gold($1) } / Double(rollouts.count)), ("final_kl", kl)]
    }
}
