import Checkpoints
import Models
import Serialization
import Tensors

/// Whole training steps: a DPO step on pairs that share their prompt, and an SFT step.
struct TrainPart: BenchPart {
    static let name = "train"
    static let summary = "a DPO step and an SFT step: tokens/s, arithmetic, peak memory; with --profile, time by phase"

    func run(_ context: BenchContext) throws {
        let (config, settings) = (context.config, context.settings)
        let length = min(512, config.maxPositions)
        let steps = [
            ("DPO step, \(settings.pairs) pairs of \(settings.promptTokens)+\(settings.completionTokens)",
                BenchBatch.pairs(settings.pairs, prompt: settings.promptTokens, completion: settings.completionTokens, of: config)),
            ("SFT step, 4 x \(length)", BenchBatch.documents(4, length: length, of: config)),
        ]
        let before = ProcessMemory.restartPeak()
        let step = TrainingStep(try Transformer(try context.model(), compute: context.compute, precision: context.precision))
        var profiles: [JSON] = []
        for (name, batch) in steps {
            let seconds = try Stopwatch.seconds(rounds: context.rounds) { try step.run(batch) }
            try report(name, batch, seconds, context)
            guard settings.profiles else { continue }
            let profile = try Profile.measure(name, rounds: context.rounds, on: context.compute) { try step.run(batch) }
            for line in profile.lines { try context.say(line) }
            profiles.append(profile.json)
        }
        if settings.profiles { context.extra["profile"] = .array(profiles) }
        try memory(steps.map(\.1), before: before, context)
    }

    private func report(_ name: String, _ batch: BenchBatch, _ seconds: [Double], _ context: BenchContext) throws {
        let (plain, unique) = (Double(batch.batch.plainTokenCount), Double(batch.batch.tokenCount))
        let operations = 1e-9 * batch.operations(context.config)
        let limit = context.productLimit
        try context.report(Figure(name, seconds.map { plain / $0 }, "tokens/s", limit: limit?.limiting(perUnit: operations / plain)))
        if unique < plain {
            try context.report(
                Figure(
                    name + ", unique tokens", seconds.map { unique / $0 }, "tokens/s", limit: limit?.limiting(perUnit: operations / unique),
                    note: formatted(plain / unique, "%.2f plain tokens for each")))
        }
        try context.report(Figure(name + ", arithmetic", seconds.map { operations / $0 }, "GFLOP/s", limit: limit?.limiting()))
    }

    /// What the process took at most since the model was opened, beside what was foreseen.
    private func memory(_ batches: [BenchBatch], before: Int?, _ context: BenchContext) throws {
        let predicted = batches.map { $0.memoryEstimate(context.config, context.precision) }.max() ?? 0
        guard let peak = ProcessMemory.peak else { return }
        guard let before else {
            return try context.report(Figure("peak memory", [Double(peak) / 1e9], "GB", note: "of the whole process: the system does not restart its peak"))
        }
        try context.report(Figure("peak memory", [Double(peak) / 1e9], "GB", note: "\(byteCount(before)) of it were there before the model"))
        let share = predicted > 0 ? Double(peak - before) / Double(predicted) : 0
        try context.report(
            Figure("memory predicted", [Double(predicted) / 1e9], "GB", note: formatted(100 * share, "the steps took %.0f %% of that")))
    }
}
