import Checkpoints
import Models
import Tensors

/// Reading a prompt, and decoding alone and in batches.
struct DecodePart: BenchPart {
    static let name = "decode"
    static let summary = "reading a prompt of 512 tokens; decoding at batch 1, 8 and 32 against memory"

    /// One way to keep weights for decoding.
    private struct Variant {
        /// After the figures' names: "bf16".
        let name: String
        /// Bytes of weights that one decoding step reads.
        let bytesPerStep: Int
        /// Whose products read a prompt.
        let precision: Precision
        let open: () throws -> Transformer
    }

    /// The ways, in the order in which they are measured: one entry each.
    private func variants(_ context: BenchContext) throws -> [Variant] {
        let checkpoint = try context.model()
        return [
            Variant(
                name: context.precision.rawValue, bytesPerStep: DecodePart.bytesPerStep(context.config, context.precision), precision: context.precision,
                open: { try Transformer(checkpoint, compute: context.compute, precision: context.precision, trains: false) }),
        ]
    }

    /// Every matrix once, and of the embedding only the head's use of it.
    static func bytesPerStep(_ config: ModelConfig, _ precision: Precision) -> Int {
        var bytes = 0
        for (name, shape) in config.requiredTensors() where name != "model.embed_tokens.weight" {
            bytes += shape.reduce(1, *) * (shape.count > 1 && precision == .bf16 ? 2 : 4)
        }
        if config.tiesEmbeddings { bytes += config.vocabularySize * config.hiddenSize * (precision == .bf16 ? 2 : 4) }
        return bytes
    }

    func run(_ context: BenchContext) throws {
        for variant in try variants(context) {
            let model = try variant.open()
            try prompt(model, variant, context)
            for count in [1, 8, 32] { try decode(model, variant, count: count, context) }
        }
    }

    private func prompt(_ model: Transformer, _ variant: Variant, _ context: BenchContext) throws {
        let length = min(512, context.config.maxPositions)
        var batch = SegmentTree()
        let root = batch.append(BenchBatch.tokens(length, 0, of: context.config))
        batch.addRow(segment: root, mask: (0..<length).map { $0 == length - 1 })
        let seconds = try Stopwatch.seconds(rounds: context.rounds) { _ = try model.scores(of: batch) }
        let operations = 1e-9 * Transformer.forwardOperations(config: context.config, batch: batch) / Double(length)
        let limit = context.ceilings.products[variant.precision]?.limiting(perUnit: operations)
        try context.report(Figure("prompt of \(length), \(variant.name)", seconds.map { Double(length) / $0 }, "tokens/s", limit: limit))
    }

    /// Tokens after the first of each sequence: the prompts' reading is not part of it.
    private func decode(_ model: Transformer, _ variant: Variant, count: Int, _ context: BenchContext) throws {
        var sampling = Sampling()
        (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, min(64, context.config.maxPositions / 2), [])
        let prompts = (0..<count).map { BenchBatch.tokens(16, $0, of: context.config) }
        var rates: [Double] = []
        for round in 0...context.rounds {
            var (seen, watch) = (0, Stopwatch())
            _ = try Generator(model: model).generate(prompts: prompts, sampling: sampling) { _, _ in
                seen += 1
                if seen == count { watch = Stopwatch() }
                return true
            }
            // The first round warms up.
            if round > 0 { rates.append(Double(seen - count) / watch.seconds) }
        }
        // A step reads the weights once for all its sequences.
        let perToken = Double(variant.bytesPerStep) / Double(count)
        let limit = context.ceilings.reading(bytes: variant.bytesPerStep)?.limiting(perUnit: 1e-9 * perToken)
        let note = count == 1 ? "\(byteCount(variant.bytesPerStep)) a token" : ""
        try context.report(Figure("decoding, \(count) at a time, \(variant.name)", rates, "tokens/s", limit: limit, note: note))
    }
}
