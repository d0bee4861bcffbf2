import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// How a training step's speed and memory grow with length, batch, model and threads; on random models, so that no file is needed.
struct GrowthPart: BenchPart {
    static let name = "growth"
    static let summary = "a training step against length, batch, model size and threads, on random models; once each unless --rounds says more"
    static let isDefault = false
    static let needsModel = false

    /// One row of the table.
    private struct Case {
        var axis: String
        /// Where it stands on its axis.
        var place: Double
        var name: String
        var config: ModelConfig
        var rows: Int
        var length: Int
        var threads: Int
    }

    func run(_ context: BenchContext) throws {
        try context.say("  activations: bytes of the batch, as predicted and as measured above a model that has made a step")
        var points: [(axis: String, x: Double, y: Double)] = []
        for one in try cases(context) {
            guard let figure = try measure(one, context) else { continue }
            try context.report(figure)
            points.append((one.axis, one.place, figure.median))
        }
        guard let plot = context.settings.plot else { return }
        let axes = ["tokens a row", "rows of 128", "parameters", "threads"]
        let panels = axes.map { axis in GrowthPlot.Panel(title: axis, points: points.filter { $0.axis == axis }.map { ($0.x, $0.y) }) }
        do { try Data(GrowthPlot(panels: panels).svg.utf8).write(to: URL(fileURLWithPath: plot)) } catch {
            throw CommandError.cannotWrite(path: plot, reason: error.localizedDescription)
        }
    }

    private func cases(_ context: BenchContext) throws -> [Case] {
        let (base, threads) = (try GrowthModel.base.config(), context.compute.threads)
        func one(_ axis: String, _ place: Int, _ name: String, _ config: ModelConfig, _ rows: Int, _ length: Int, _ threads: Int) -> Case {
            Case(axis: axis, place: Double(place), name: name, config: config, rows: rows, length: length, threads: threads)
        }
        let lengths = [128, 256, 512, 1024, 2048, 4096, 8192].map { length in
            let rows = max(1, 2048 / length)
            return one("tokens a row", length, "length \(rows) x \(length)", base, rows, length, threads)
        }
        let batches = [1, 2, 4, 8, 16, 32, 64].map { one("rows of 128", $0, "batch \($0) x 128", base, $0, 128, threads) }
        let models = try GrowthModel.all.map { model in
            let config = try model.config()
            let name = "model of \(config.parameterCount / 1_000_000) M, 4 x 256"
            return one("parameters", config.parameterCount, name, config, 4, 256, threads)
        }
        var counts = Array(sequence(first: 1) { $0 * 2 }.prefix { $0 < threads })
        counts.append(threads)
        let teams = counts.map { one("threads", $0, "\($0) thread\($0 == 1 ? "" : "s"), 4 x 256", base, 4, 256, $0) }
        return lengths + batches + models + teams
    }

    /// nil where memory would not suffice.
    private func measure(_ one: Case, _ context: BenchContext) throws -> Figure? {
        let batch = BenchBatch.documents(one.rows, length: one.length, of: one.config)
        let predicted = batch.memoryEstimate(one.config, context.precision)
        if let available = ProcessMemory.available, Double(predicted) > 0.85 * Double(available) {
            try context.say("  \(padded(one.name, Figure.nameWidth)) skipped: it takes \(byteCount(predicted)), \(byteCount(available)) are free")
            return nil
        }
        let compute = one.threads == context.compute.threads ? context.compute : try Compute(threads: one.threads, path: context.compute.path)
        let step = TrainingStep(try Transformer(random: one.config, seed: 1, compute: compute, precision: context.precision))
        // Touches weights, gradients and moments, so that what comes after is the batch's.
        let small = BenchBatch.documents(1, length: 16, of: one.config)
        try step.run(small)
        let before = ProcessMemory.restartPeak()
        let seconds = try Stopwatch.seconds(rounds: context.settings.rounds ?? 1) { try step.run(batch) }
        let tokens = Double(batch.batch.tokenCount)
        let activations = predicted - small.memoryEstimate(one.config, context.precision)
        var note = "activations \(byteCount(activations))"
        if let before, let peak = ProcessMemory.peak {
            // A small batch fits into what loading has freed and the allocator has kept.
            note += peak > before ? ", measured \(byteCount(peak - before))" : ", measured none beyond what was there"
        }
        // The ceiling was measured with all threads; fewer have no part in it to compare with.
        let limit = one.threads == context.compute.threads ? context.productLimit : nil
        return Figure(
            one.name, seconds.map { tokens / $0 }, "tokens/s", limit: limit?.limiting(perUnit: 1e-9 * batch.operations(one.config) / tokens), note: note)
    }
}

/// Llama's shape at several sizes.
struct GrowthModel {
    let hidden: Int, layers: Int, heads: Int, keyValueHeads: Int, intermediate: Int, vocabulary: Int

    /// 5, 15, 46, 134 and 361 million parameters.
    static let all = [
        GrowthModel(hidden: 192, layers: 8, heads: 3, keyValueHeads: 3, intermediate: 512, vocabulary: 8192),
        base,
        GrowthModel(hidden: 512, layers: 12, heads: 8, keyValueHeads: 8, intermediate: 1408, vocabulary: 16384),
        GrowthModel(hidden: 576, layers: 30, heads: 9, keyValueHeads: 3, intermediate: 1536, vocabulary: 49152),
        GrowthModel(hidden: 960, layers: 32, heads: 15, keyValueHeads: 5, intermediate: 2560, vocabulary: 49152),
    ]
    /// What is held fixed where something else grows.
    static let base = GrowthModel(hidden: 320, layers: 10, heads: 5, keyValueHeads: 5, intermediate: 896, vocabulary: 8192)

    func config() throws -> ModelConfig {
        try ModelConfig(
            json: [
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": .integer(vocabulary), "hidden_size": .integer(hidden),
                "intermediate_size": .integer(intermediate), "num_hidden_layers": .integer(layers), "num_attention_heads": .integer(heads),
                "num_key_value_heads": .integer(keyValueHeads), "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                "tie_word_embeddings": true, "hidden_act": "silu",
            ], file: "growth")
    }
}
