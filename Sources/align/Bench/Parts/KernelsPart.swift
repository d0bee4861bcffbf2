import Tensors

/// The kernels of a training step, each alone, on the model's shapes at 4 rows of 512 tokens.
struct KernelsPart: BenchPart {
    static let name = "kernels"
    static let summary = "products of the model's training shapes (own and OpenBLAS), attention, AdamW, norms"

    private let rows = 4
    private let length = 512

    func run(_ context: BenchContext) throws {
        try products(context)
        try attention(context)
        try optimizer(context)
        try elementwise(context)
    }

    /// They were measured to find the ceilings.
    private func products(_ context: BenchContext) throws {
        for product in context.ceilings.measured {
            let shape = product.shape
            let isOpenBLAS = product.products == .openblas
            var note = ""
            if isOpenBLAS {
                let own = context.ceilings.measured.first {
                    $0.shape.name == shape.name && $0.kind == product.kind && $0.precision == .fp32 && $0.products == .own
                }
                if let own { note = formatted(own.median / product.median, "own is %.2f times as fast") }
            } else if product.kind == .forward {
                note = "\(shape.rows) x \(shape.outputs) x \(shape.inputs)"
            }
            let name = "\(shape.name), \(product.kind.rawValue), \(isOpenBLAS ? "OpenBLAS" : product.precision.rawValue)"
            let limit = context.ceilings.products[product.precision]?.limiting()
            try context.report(Figure(name, product.rates, "GFLOP/s", limit: limit, note: note))
        }
    }

    /// Attention of one layer. Operations are those of the causal half: two products forward, five backward.
    private func attention(_ context: BenchContext) throws {
        let (config, compute) = (context.config, context.compute)
        let (queries, keys, count) = (config.heads * config.headDimension, config.keyValueHeads * config.headDimension, rows * length)
        let shape = AttentionShape(
            heads: config.heads, keyValueHeads: config.keyValueHeads, headSize: config.headDimension, scale: config.attentionScale,
            softCap: config.attentionSoftCap, window: config.slidingWindows.first ?? nil)
        let qkv = Operand.drawn(rows: count, columns: queries + 2 * keys, precision: context.precision, on: compute)
        let (q, k, v) = (qkv.columns(0..<queries), qkv.columns(queries..<queries + keys), qkv.columns(queries + keys..<queries + 2 * keys))
        let (dq, dk, dv) = (Matrix(rows: count, columns: queries), Matrix(rows: count, columns: keys), Matrix(rows: count, columns: keys))
        let out = Operand(rows: count, columns: queries, precision: context.precision)
        let dOut = Operand.drawn(rows: count, columns: queries, precision: context.precision, on: compute)
        let logSumExp = Matrix(rows: config.heads, columns: count)
        let segments = (0..<rows).map { row in
            AttentionSegment(queries: row * length..<(row + 1) * length, keys: [row * length..<(row + 1) * length])
        }
        let pairs = Double(rows) * Double(length) * Double(length + 1) / 2
        let limit = context.ceilings.products[context.precision]?.limiting()
        let forward = Stopwatch.seconds(rounds: context.rounds) {
            Tensors.attention(shape, q: q, k: k, v: v, segments: segments, into: out, logSumExp: logSumExp, on: compute)
        }
        let operations = 4e-9 * Double(queries) * pairs
        try context.report(Figure("attention, forward, \(rows) x \(length)", forward.map { operations / $0 }, "GFLOP/s", limit: limit))
        let backward = Stopwatch.seconds(rounds: context.rounds) {
            attentionBackward(
                shape, q: q, k: k, v: v, trees: segments.map { [$0] }, out: out, dOut: dOut, logSumExp: logSumExp, dq: dq, dk: dk, dv: dv,
                on: compute)
        }
        try context.report(Figure("attention, backward, \(rows) x \(length)", backward.map { 2.5 * operations / $0 }, "GFLOP/s", limit: limit))
    }

    /// AdamW over 2²⁶ parameters at most: reads and writes weights, gradients (which it clears) and two moments.
    private func optimizer(_ context: BenchContext) throws {
        let count = min(context.config.parameterCount, 1 << 26)
        let buffers = (0..<4).map { _ in FloatBuffer(count: count) }
        for buffer in buffers { context.compute.parallel((count + 65535) / 65536) { i in
            (buffer.base + i * 65536).update(repeating: 0.01, count: min(65536, count - i * 65536))
        } }
        var step = AdamWStep(learningRate: 1e-9, step: 1)
        let seconds = Stopwatch.seconds(rounds: context.rounds) {
            adamW(
                weights: buffers[0], gradients: buffers[1], firstMoment: buffers[2], secondMoment: buffers[3], range: 0..<count, step: step,
                on: context.compute)
            step.step += 1
        }
        let bytes = 32 * count
        let limit = context.ceilings.reading(bytes: 16 * count)?.limiting()
        try context.report(Figure("AdamW, \(grouped(count)) parameters", seconds.map { 1e-9 * Double(bytes) / $0 }, "GB/s", limit: limit))
    }

    private func elementwise(_ context: BenchContext) throws {
        let (config, compute, count) = (context.config, context.compute, rows * length)
        func report(_ name: String, floats: Int, times: Int = 8, _ body: () -> Void) throws {
            let seconds = Stopwatch.seconds(rounds: context.rounds) { for _ in 0..<times { body() } }
            let limit = context.ceilings.reading(bytes: 4 * floats)?.limiting()
            try context.report(Figure(name, seconds.map { 4e-9 * Double(floats * times) / $0 }, "GB/s", limit: limit))
        }
        let x = Matrix.drawn(rows: count, columns: config.hiddenSize), y = Matrix(rows: count, columns: config.hiddenSize)
        let (weight, inverse) = (Matrix.drawn(rows: 1, columns: config.hiddenSize), Matrix(rows: 1, columns: count))
        try report("RMS norm, forward", floats: 2 * count * config.hiddenSize) {
            rmsNorm(x, weight: weight, into: y, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        }
        let (dx, dWeight) = (Matrix(rows: count, columns: config.hiddenSize), Matrix(rows: 1, columns: config.hiddenSize))
        try report("RMS norm, backward", floats: 4 * count * config.hiddenSize) {
            rmsNormBackward(y, x: x, weight: weight, inverse: inverse, addingTo: dx, dWeight: dWeight, on: compute)
        }
    }
}
