import Foundation
import Serialization
import Tensors
import Testing

@testable import Checkpoints
@testable import Models

/// A tiny checkpoint on disk, removed with its owner, and adapters on it.
final class AdaptedFiles {
    let path = NSTemporaryDirectory() + "adapter-" + UUID().uuidString
    var base: String { path + "/base" }

    init(config: ModelConfig? = nil) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let config = try config ?? tinyConfig()
        let model = try tinyModel(config)
        let tensors = model.parameters.map { TensorSource(name: $0.name, shape: $0.shape, values: model.weights.base + $0.offset) }
        try CheckpointWriter.save(.init(config: config), tensors: tensors, dtype: .f32, to: base)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Gives A, B and m values large enough that every mistake shows.
func stir(_ model: Transformer, seed: UInt64 = 3) {
    for parameter in model.parameters {
        var random = RandomStream(seed: seed, stream: 9, index: UInt64(parameter.offset))
        for i in parameter.range {
            let noise = Float(random.normal() * 0.1)
            if parameter.name.hasSuffix("magnitude_vector") { model.weights.base[i] *= 1 + noise } else { model.weights.base[i] += noise }
        }
    }
    model.weightsChanged()
}

/// Pairs that share a prompt, and a document.
private func pairs() -> SegmentTree {
    var batch = SegmentTree()
    for pair in 0..<2 {
        let prompt = batch.append(tokens(9 + pair, seed: UInt64(pair)))
        for side in 0..<2 { batch.addRow(segment: batch.append(tokens(5 + 3 * side, seed: UInt64(10 + 2 * pair + side)), parent: prompt)) }
    }
    batch.addRow(segment: batch.append(tokens(70, seed: 99)))
    return batch
}

private func coefficients(_ count: Int) -> [Double] {
    var random = RandomStream(seed: 5, stream: 0, index: 0)
    return (0..<count).map { _ in random.normal() / 10 }
}

/// ∂L/∂θ against differences of L along a direction of each parameter; DoRA's norms count as constants, as the gradient takes them.
private func expectGradients(_ model: Transformer, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let batch = pairs()
    let c = coefficients(batch.scoredTokenCount)
    // Through `logProbs`, which drops out what training drops.
    func loss() throws -> Double { zip(try model.logProbs(of: batch).logProbs.values, c).reduce(0) { $0 + $1.0 * $1.1 } }
    _ = try model.logProbs(of: batch)
    try model.backward(c)
    try expectDerivatives(
        of: model, seed: 6, loss: loss, changed: { model.adapter?.weightsChanged(keepsNorms: true, on: model.compute) }, sourceLocation: sourceLocation)
}

@Suite("Adapter gradient") struct AdapterGradientTests {
    @Test(
        "∂L/∂A, ∂L/∂B and ∂L/∂m agree with finite differences",
        arguments: [
            AdapterConfig(rank: 3, alpha: 5), AdapterConfig(rank: 2, alpha: 7, isRankStabilised: true), AdapterConfig(rank: 3, alpha: 4, isDoRA: true),
            AdapterConfig(rank: 4, alpha: 8, dropout: 0.3), AdapterConfig(rank: 2, alpha: 3, dropout: 0.2, isDoRA: true),
            AdapterConfig(rank: 40, alpha: 20, targets: .modules(["q_proj", "v_proj"])), AdapterConfig(rank: 2, alpha: 2, targets: .pattern(".*layers\\.1.*(up|o)_proj")),
        ])
    func finiteDifferences(config: AdapterConfig) throws {
        let files = try AdaptedFiles()
        let model = try Transformer(frozen: Checkpoint.open(files.base), adapter: config, seed: 1, compute: Compute(threads: 1), precision: .fp32)
        stir(model)
        try expectGradients(model)
    }

    @Test("they do through a quantized base", arguments: [ElementType.q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q4_K, .f16, .bf16], [false, true])
    func quantized(type: ElementType, isDoRA: Bool) throws {
        // Drawn quants are all positive: larger ones would make a model whose slope changes within a rounding error.
        let path = try storedModel(type, scale: 0.00008)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let config = AdapterConfig(rank: 4, alpha: 8, isDoRA: isDoRA)
        let model = try Transformer(frozen: Checkpoint.open(path), adapter: config, seed: 1, compute: Compute(threads: 2), precision: .fp32)
        stir(model)
        try expectGradients(model)
    }

    @Test("bf16 gradients point where fp32's do", arguments: [false, true]) func halfPrecision(isDoRA: Bool) throws {
        let files = try AdaptedFiles()
        var gradients: [[Float]] = []
        for precision in [Precision.fp32, .bf16] {
            let config = AdapterConfig(rank: 3, alpha: 5, dropout: 0.1, isDoRA: isDoRA)
            let model = try Transformer(frozen: Checkpoint.open(files.base), adapter: config, seed: 1, compute: Compute(threads: 2), precision: precision)
            stir(model)
            let batch = pairs()
            _ = try model.logProbs(of: batch)
            try model.backward(coefficients(batch.scoredTokenCount))
            gradients.append(model.gradients.array)
        }
        let distance = relativeDistance(gradients[1], gradients[0])
        #expect(distance < 0.08, "gradients differ by \(distance) relative")
    }
}

@Suite("Adapter equal runs") struct AdapterEqualTests {
    static let knobs = [
        AdapterConfig(rank: 3, alpha: 5), AdapterConfig(rank: 3, alpha: 5, isRankStabilised: true), AdapterConfig(rank: 3, alpha: 5, isDoRA: true),
        AdapterConfig(rank: 3, alpha: 5, dropout: 0.4),
    ]

    private func scores(_ model: any Policy, _ batch: SegmentTree) throws -> [Double] { try model.scores(of: batch).logProbs.values }

    @Test("before training, and with the adapter off, the model is the base bit for bit", arguments: Precision.allCases, knobs)
    func base(precision: Precision, config: AdapterConfig) throws {
        let files = try AdaptedFiles()
        let checkpoint = try Checkpoint.open(files.base)
        let compute = try Compute(threads: 2)
        let whole = try scores(Transformer(checkpoint, compute: compute, precision: precision, trains: false), pairs())
        let model = try Transformer(frozen: checkpoint, adapter: config, seed: 1, compute: compute, precision: precision)
        if !config.isDoRA { #expect(try scores(model, pairs()) == whole) }
        stir(model)
        let (on, reference) = (try scores(model, pairs()), try scores(#require(model.reference), pairs()))
        #expect(reference == whole, "reference \(reference[0]), base \(whole[0])")
        #expect(zip(on, whole).contains { abs($0 - $1) > 1e-3 }, "the adapter says nothing: \(on[0]), base \(whole[0])")
    }

    @Test("a quantized base in blocks computes what its floats do, bit for bit", arguments: [ElementType.q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q4_K, .f16], Precision.allCases)
    func blocks(type: ElementType, precision: Precision) throws {
        let path = try storedModel(type)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let checkpoint = try Checkpoint.open(path)
        let compute = try Compute(threads: 2)
        let whole = try scores(Transformer(checkpoint, compute: compute, precision: precision, trains: false), pairs())
        let stored = try Transformer(frozen: checkpoint, adapter: nil, seed: 0, compute: compute, precision: precision, trains: false)
        #expect(try scores(stored, pairs()) == whole)
    }

    @Test("merged is unmerged", arguments: knobs) func merged(config: AdapterConfig) throws {
        let files = try AdaptedFiles()
        let checkpoint = try Checkpoint.open(files.base)
        let compute = try Compute(threads: 2)
        let model = try Transformer(frozen: checkpoint, adapter: config, seed: 1, compute: compute, precision: .fp32)
        stir(model)
        let folder = files.path + "/adapter"
        try AdapterFile.save(
            config, base: checkpoint, tensors: model.parameters.map { TensorSource(name: $0.name, shape: $0.shape, values: model.weights.base + $0.offset) },
            dtype: .f32, to: folder)
        let merged = try Checkpoint.open(folder)
        #expect(try merged.adapter?.config(for: merged.config).targets == config.targets)
        let (a, b) = (try scores(model, pairs()), try scores(Transformer(merged, compute: compute, precision: .fp32, trains: false), pairs()))
        let distance = zip(a, b).map { abs($0 - $1) }.max() ?? 0
        // Of sums of some twenty log-probs.
        #expect(distance < 1e-5 * max(1, abs(a[0])), "unmerged \(a[0]), merged \(b[0]): up to \(distance) apart")
        // As it was saved, so it is read: training goes on from the same bits.
        let again = try Transformer(frozen: checkpoint, adapter: config, initial: merged.adapter, seed: 2, compute: compute, precision: .fp32)
        #expect(again.weights.array == model.weights.array)
        #expect(try scores(again, pairs()) == a)
    }

    @Test("decoding with an adapter is the full forward", arguments: knobs) func decoding(config: AdapterConfig) throws {
        let files = try AdaptedFiles()
        let model = try Transformer(frozen: Checkpoint.open(files.base), adapter: config, seed: 1, compute: Compute(threads: 2), precision: .fp32)
        stir(model)
        let (prompt, continuation) = (tokens(12, seed: 8), tokens(6, seed: 9))
        let cached = try model.decodingLogits(prompt: prompt, continuation: continuation)
        let full = try model.logits(of: prompt + continuation.dropLast())
        var distance: Float = 0
        for i in 0..<cached.rows {
            for j in 0..<cached.columns {
                distance = max(distance, abs(cached.pointer[i * cached.stride + j] - full.pointer[(prompt.count - 1 + i) * full.stride + j]))
            }
        }
        #expect(distance < 1e-4, "logits up to \(distance) apart")
    }

    @Test("threads and packing change no bit of an adapter's gradient", arguments: Precision.allCases, knobs) func threads(precision: Precision, config: AdapterConfig) throws {
        let files = try AdaptedFiles()
        let checkpoint = try Checkpoint.open(files.base)
        var runs: [(logProbs: [Double], gradient: [Float])] = []
        for (threads, recompute) in [(1, false), (2, false), (3, true)] {
            let model = try Transformer(
                frozen: checkpoint, adapter: config, seed: 1, compute: Compute(threads: threads), precision: precision, recompute: recompute)
            stir(model)
            let batch = pairs()
            let logProbs = try model.logProbs(of: batch).logProbs.values
            try model.backward(coefficients(batch.scoredTokenCount))
            runs.append((logProbs, model.gradients.array))
        }
        #expect(runs[0].logProbs == runs[1].logProbs && runs[0].logProbs == runs[2].logProbs, "log-probs \(runs.map { $0.logProbs[0] })")
        #expect(runs[0].gradient == runs[1].gradient, "gradients differ by \(relativeDistance(runs[0].gradient, runs[1].gradient))")
        #expect(runs[0].gradient == runs[2].gradient, "recomputed gradients differ by \(relativeDistance(runs[0].gradient, runs[2].gradient))")
    }

    @Test("a row drops the same, alone or in company, its prompt shared or not") func dropout() throws {
        let files = try AdaptedFiles()
        let model = try Transformer(
            frozen: Checkpoint.open(files.base), adapter: AdapterConfig(rank: 3, alpha: 5, dropout: 0.5), seed: 1, compute: Compute(threads: 2), precision: .fp32)
        stir(model)
        let together = try model.logProbs(of: pairs()).logProbs
        var alone = SegmentTree()
        alone.addRow(segment: alone.append(tokens(10, seed: 1) + tokens(5, seed: 12)), mask: [Bool](repeating: false, count: 10) + [Bool](repeating: true, count: 5))
        let single = try model.logProbs(of: alone).logProbs
        let distance = zip(single[0], together[2]).map { abs($0 - $1) }.max() ?? 1
        #expect(distance < 1e-5, "alone \(single[0]), together \(together[2])")
        model.beginStep(1)
        let next = try model.logProbs(of: alone).logProbs
        #expect(zip(single[0], next[0]).contains { abs($0 - $1) > 1e-3 }, "the next step drops what this one did: \(next[0])")
        #expect(try model.scores(of: alone).logProbs.values != next.values)
    }
}
