import Checkpoints
import Models
import Tensors

/// Reading a prompt, and decoding alone and in batches.
struct DecodePart: BenchPart {
    static let name = "decode"
    static let summary = "reading a prompt of 512 tokens; decoding at batch 1, 4, 8 and 32 against memory; whole completions"

    /// One way to keep weights for decoding.
    private struct Variant {
        /// After the figures' names: "bf16".
        let name: String
        /// Whose products read a prompt.
        let precision: Precision
        let open: () throws -> Decoder
    }

    /// The ways, in the order in which they are measured: one entry each.
    private func variants(_ context: BenchContext) throws -> [Variant] {
        let checkpoint = try context.model()
        let compute = context.compute
        var variants = [
            Variant(name: context.precision.rawValue, precision: context.precision) {
                try Decoder(Transformer(checkpoint, compute: compute, precision: context.precision, trains: false))
            },
        ]
        if checkpoint.isQuantized { variants.append(Variant(name: "as stored", precision: context.precision) { try Decoder(stored: checkpoint, compute: compute) }) }
        return variants
    }

    func run(_ context: BenchContext) throws {
        for variant in try variants(context) {
            let decoder = try variant.open()
            try prompt(decoder, variant, context)
            for count in [1, 4, 8, 32] { try decode(decoder, variant, count: count, context) }
            for count in [1, 32] { try complete(decoder, variant, count: count, context) }
        }
    }

    private func prompt(_ decoder: Decoder, _ variant: Variant, _ context: BenchContext) throws {
        let length = min(512, context.config.maxPositions - 1)
        let tokens = BenchBatch.tokens(length, 0, of: context.config)
        var batch = SegmentTree()
        let root = batch.append(tokens)
        batch.addRow(segment: root, mask: (0..<length).map { $0 == length - 1 })
        var sampling = Sampling()
        (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, 1, [])
        let seconds = try Stopwatch.seconds(rounds: context.rounds) { _ = try Generator(decoder: decoder).generate(prompts: [tokens], sampling: sampling) }
        let operations = 1e-9 * Transformer.forwardOperations(config: context.config, batch: batch) / Double(length)
        let limit = context.ceilings.products[variant.precision]?.limiting(perUnit: operations)
        try context.report(Figure("prompt of \(length), \(variant.name)", seconds.map { Double(length) / $0 }, "tokens/s", limit: limit))
    }

    /// Tokens after the first of each sequence: the prompts' reading is not part of it.
    private func decode(_ decoder: Decoder, _ variant: Variant, count: Int, _ context: BenchContext) throws {
        var sampling = Sampling()
        (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, min(64, context.config.maxPositions / 2), [])
        let prompts = (0..<count).map { BenchBatch.tokens(16, $0, of: context.config) }
        var rates: [Double] = []
        for round in 0...context.rounds {
            var (seen, watch) = (0, Stopwatch())
            _ = try Generator(decoder: decoder).generate(prompts: prompts, sampling: sampling) { _, _ in
                seen += 1
                if seen == count { watch = Stopwatch() }
                return true
            }
            // The first round warms up.
            if round > 0 { rates.append(Double(seen - count) / watch.seconds) }
        }
        // A step reads the weights once for all its sequences.
        let perToken = Double(decoder.weightBytes) / Double(count)
        let limit = context.ceilings.reading(bytes: decoder.weightBytes)?.limiting(perUnit: 1e-9 * perToken)
        let note = count == 1 ? "\(byteCount(decoder.weightBytes)) a token" : ""
        try context.report(Figure("decoding, \(count) at a time, \(variant.name)", rates, "tokens/s", limit: limit, note: note))
    }

    /// New tokens a second of whole completions: prompts of 64 tokens, 128 new ones each, the prompts' reading included.
    private func complete(_ decoder: Decoder, _ variant: Variant, count: Int, _ context: BenchContext) throws {
        let (prompt, new) = (min(64, context.config.maxPositions / 4), min(128, context.config.maxPositions / 2))
        var sampling = Sampling()
        (sampling.temperature, sampling.maxNewTokens, sampling.stopIDs) = (0, new, [])
        let prompts = (0..<count).map { BenchBatch.tokens(prompt, $0, of: context.config) }
        let seconds = try Stopwatch.seconds(rounds: context.rounds) { _ = try Generator(decoder: decoder).generate(prompts: prompts, sampling: sampling) }
        try context.report(Figure("\(count) of \(prompt) + \(new) tokens, prompts included, \(variant.name)", seconds.map { Double(count * new) / $0 }, "tokens/s"))
    }
}
