import Checkpoints
import Models
import Tensors
import Training

/// A step of every preference loss and of reward training, beside plain DPO's in the same round.
struct LossStepsPart: BenchPart {
    static let name = "losses"
    static let summary = "a step of every loss of `align dpo` and of `align reward`, beside plain DPO's: tokens/s and the ratio"
    static let isDefault = false

    /// A step's data under one loss.
    private struct Case {
        let name: String
        let training: TrainingStep
        let task: any TrainingTask
        var seconds: [Double] = []
        /// Seconds over DPO's of the same round, both by token.
        var ratios: [Double] = []
        /// Of the loss and its gradient alone.
        var lossSeconds: [Double] = []
        /// Tokens that a step computes, a shared prompt once; those that are only scored count a third.
        let tokens: Double

        init(_ name: String, _ training: TrainingStep, _ task: any TrainingTask) throws {
            (self.name, self.training, self.task) = (name, training, task)
            let rows = Array(0..<task.rowCount)
            let surveyed = try (task as? any CoupledTask)?.survey(rows, of: [rows])?.tokenCount ?? 0
            tokens = Double(task.batch(rows).tokenCount) + Double(surveyed) / 3
        }

        private var rows: [Int] { Array(0..<task.rowCount) }

        /// A whole step as the loop takes it: what couples the rows, forward, loss, backward, update.
        /// - Returns: Seconds of all of it, and of the loss and its gradient.
        func step() throws -> (whole: Double, loss: Double) {
            let watch = Stopwatch()
            var (bound, lossSeconds) = (task, 0.0)
            let totals = rows.map { task.totals(of: $0) }.reduce(StepTotals(), +)
            if let coupled = task as? any CoupledTask {
                let surveys = try coupled.survey(rows, of: [rows]).map { [try training.model.scores(of: $0)] } ?? []
                bound = try coupled.bound(to: [rows], surveys: surveys, totals: totals, memory: [:])
            }
            try training.run(bound.batch(rows)) { scores in
                let watch = Stopwatch()
                defer { lossSeconds = watch.seconds }
                return try bound.loss(scores, rows: rows, step: totals).scoreGradient
            }
            return (watch.seconds, lossSeconds)
        }
    }

    func run(_ context: BenchContext) throws {
        let checkpoint = try context.model()
        let step = TrainingStep(try Transformer(checkpoint, compute: context.compute, precision: context.precision))
        let data = Data(context.settings, context.config)
        var cases = try PreferenceLoss.all.map { loss in
            var settings = PreferenceSettings()
            settings.loss = loss.name
            return try Case(loss.name, step, data.task(settings.filled))
        }
        let source = ModelSource(checkpoint, compute: context.compute, precision: context.precision, recompute: false)
        if let scorer = try source.scoring?(ScoreHead()).load(true) as? Transformer {
            cases.append(try Case("reward model", TrainingStep(scorer), data.rewardTask))
        }
        for index in cases.indices { _ = try cases[index].step() }  // once to touch the memory
        // DPO is the first of all; each loss is held against the DPO steps before and behind it.
        var before = try cases[0].step().whole
        for _ in 0..<context.rounds {
            for index in cases.indices {
                let own = try cases[index].step(), after = try cases[0].step().whole
                cases[index].seconds.append(own.whole)
                cases[index].lossSeconds.append(own.loss)
                cases[index].ratios.append(cases[index].tokens / own.whole * (before + after) / 2 / cases[0].tokens)
                before = after
            }
        }
        for entry in cases {
            func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
            let note = formatted(median(entry.ratios), "%.2f of DPO's") + formatted(1e3 * median(entry.lossSeconds), "; the loss itself %.2f ms")
            try context.report(Figure(entry.name, entry.seconds.map { entry.tokens / $0 }, "tokens/s", note: note))
        }
    }

    /// Pairs of random tokens, one set for all.
    private struct Data {
        let pairs: [PairRow]

        init(_ settings: BenchSettings, _ config: ModelConfig) {
            pairs = (0..<settings.pairs).map { pair in
                func tokens(_ count: Int, _ part: Int) -> [Int32] { BenchBatch.tokens(count, 3 * pair + part, of: config) }
                return PairRow(prompt: tokens(settings.promptTokens, 0), chosen: tokens(settings.completionTokens, 1), rejected: tokens(settings.completionTokens, 2))
            }
        }

        func task(_ settings: PreferenceSettings) -> any TrainingTask {
            guard let objective = settings.unpairedObjective() else {
                return PairTask(rows: pairs, reference: pairs.map { _ in (0, 0) }, objective: settings.pairObjective(), isReferenced: settings.needsReference)
            }
            let rows = pairs.flatMap {
                [UnpairedRow(prompt: $0.prompt, completion: $0.chosen, isDesirable: true), UnpairedRow(prompt: $0.prompt, completion: $0.rejected, isDesirable: false)]
            }
            let mismatched = Dictionary(uniqueKeysWithValues: UnpairedTask.mismatches(of: Array(rows.indices)).map { ($0, 0.0) })
            return UnpairedTask(rows: rows, objective: objective, reference: rows.map { _ in 0 }, mismatched: mismatched, maxLength: .max)
        }

        var rewardTask: any TrainingTask {
            RewardTask(
                rows: pairs.map { RewardRow(prompt: $0.prompt, completions: [$0.chosen, $0.rejected], label: .preference(margin: 0, probability: 1)) },
                objective: BradleyTerry())
        }
    }
}
