import Checkpoints
import Tensors

/// A model as sampling needs it: prompts are read into a cache, then every step takes one token of each sequence.
///
/// A decoder of a `Transformer` multiplies with that model's packed weights and sees every update of them; one of a
/// checkpoint keeps the weights as stored (`StoredWeights`). Under fp32, and as stored, its logits are bit for bit those of
/// a full fp32 forward; under bf16 attention sums fp32 where training sums bf16, and the two agree to bf16's precision.
/// A row's bits depend neither on the other rows nor on the number of threads.
public final class Decoder {
    public let config: ModelConfig
    public let compute: Compute
    let weights: Weights
    /// What steps multiply with in place of a transformer's own weights, and what those are rounded to.
    private var rounded: (weights: StoredWeights, type: ElementType)?
    /// Buffers of a step: made for the largest batch seen, not touched by smaller ones.
    private var buffers: StepBuffers?
    private var queries = DecodingCache.Queries()
    private var tokens: [Int32] = []

    enum Weights {
        case transformer(Transformer)
        case stored(StoredWeights)
    }

    public init(_ transformer: Transformer) {
        (config, compute, weights) = (transformer.config, transformer.compute, .transformer(transformer))
    }

    /// Steps multiply with `weights`; prompts are read with the model's own. Rounded ones follow the model when `take` is called.
    /// - Throws: `RolloutError.unsupported` for a model whose rows are not whole blocks of the type, or with an adapter.
    public convenience init(_ transformer: Transformer, steps weights: RolloutWeights) throws {
        self.init(transformer)
        guard let type = weights.type else { return }
        rounded = (try StoredWeights(rounding: transformer, to: type), type)
    }

    /// Reads a GGUF file's weights as they are stored.
    /// - Throws: `CheckpointError` for weights that cannot be read, `ModelError` for an architecture this build does not run.
    public init(stored checkpoint: Checkpoint, compute: Compute) throws {
        try Transformer.check(checkpoint.config)
        (config, self.compute) = (checkpoint.config, compute)
        weights = .stored(try StoredWeights(checkpoint, compute: compute))
    }

    /// Bytes of weights that a step reads, whatever its sequences: all matrices once, an embedding that is not the head's left out.
    public var weightBytes: Int {
        switch weights {
        case let .stored(model): return model.bytes
        case let .transformer(model) where model.isFrozen: return model.storedBytes
        case let .transformer(model):
            if let rounded { return rounded.weights.bytes }
            let layout = model.layout
            let matrices = layout.layers.flatMap { [$0.queryKeyValue, $0.output, $0.gateUp, $0.down] } + [layout.head].compactMap { $0 }
            return matrices.reduce(0) { $0 + $1.rows * $1.columns } * (model.precision == .bf16 ? 2 : 4)
        }
    }

    /// What its products take: the model's precision, or "as stored".
    public var arithmetic: String {
        switch weights {
        case let .transformer(model): model.precision.rawValue + (rounded.map { ", steps \($0.type.rawValue)" } ?? "")
        case .stored: "as stored"
        }
    }

    /// Samples from `policy` from here on: its own model's weights are there already, another's of the same shape are copied.
    /// - Throws: `RolloutError.cannotSynchronize`.
    func take(_ policy: any Policy, engine: String) throws(RolloutError) {
        guard case let .transformer(model) = weights else {
            throw .cannotSynchronize(engine: engine, reason: "its weights stay as their file stores them", remedy: "Load the model with --precision bf16 or fp32.")
        }
        if policy !== model {
            guard let other = policy as? Transformer, other.parameters == model.parameters else {
                throw .cannotSynchronize(engine: engine, reason: "the policy is not a model of the same shape", remedy: "Make the engine from the policy itself.")
            }
            model.weights.base.update(from: other.weights.base, count: model.weights.count)
            model.weightsChanged()
        }
        rounded?.weights.take(model)
    }

    /// What keys and values are kept in: bf16 where products round them.
    public var cachePrecision: Precision {
        if case let .transformer(model) = weights { return model.precision }
        return .fp32
    }

    func makeCache(blocks: Int) -> DecodingCache {
        DecodingCache(layers: config.layers, blocks: blocks, keyValueHeads: config.keyValueHeads, headSize: config.headDimension, precision: cachePrecision)
    }

    /// Logits `[prompts, V]` after the last token of each prompt, whose keys and values go into the cache. Overwritten by the next call.
    func read(_ pack: PromptPack, into cache: DecodingCache) throws -> Matrix {
        switch weights {
        case let .transformer(model):
            let hidden = try model.read(pack, into: cache)
            return hidden.rows == 0 ? hidden : try model.logits(hidden)
        case let .stored(model):
            try check(pack.tokens)
            return model.read(pack, into: cache, config: config, on: compute)
        }
    }

    func check(_ tokens: [Int32]) throws {
        if let bad = tokens.first(where: { $0 < 0 || Int($0) >= config.vocabularySize }) {
            throw ModelError.tokenOutOfRange(token: Int(bad), vocabulary: config.vocabularySize)
        }
    }

    // MARK: One step

    /// Sets memory aside for steps of up to `sequences` sequences over chains of up to `keys` keys.
    func plan(sequences: Int, keys: Int) {
        if let buffers, buffers.rows >= sequences, buffers.keys >= keys { return }
        buffers = nil
        buffers = StepBuffers(config, rows: sequences, keys: keys)
        queries.reserve(sequences)
        tokens.reserveCapacity(sequences)
    }

    func beginStep() {
        queries.removeAll()
        tokens.removeAll(keepingCapacity: true)
    }

    /// Adds a sequence's newest token, drawn from the model's own logits, to the step; `own` grows by its row.
    func add(_ token: Int32, prompt: DecodingCache.Chain, own: inout DecodingCache.Chain, of cache: DecodingCache) {
        tokens.append(token)
        let row = own.grow(cache)
        queries.append(row: row, prompt: prompt, own: own)
    }

    /// Runs what was added through the model: logits `[sequences, V]`, overwritten by the next step. Works in the buffers of `plan`.
    func step(_ cache: DecodingCache) -> Matrix {
        guard let b = buffers, b.rows >= queries.count else { preconditionFailure("a step of \(queries.count) sequences was not planned") }
        let n = queries.count
        let (x, normed, qkv, attended) = (b.x.rows(0..<n), b.normed.rows(0..<n), b.queryKeyValue.rows(0..<n), b.attended.rows(0..<n))
        let (gateUp, hidden, logits) = (b.gateUp.rows(0..<n), b.hidden.rows(0..<n), b.logits.rows(0..<n))
        let model: any StepWeights =
            switch weights {
            case let .transformer(model): rounded?.weights ?? model
            case let .stored(model): model
            }
        let rope = model.rotations(queries.lastPosition + 1)
        let rounds = model.roundsActivations
        for (i, token) in tokens.enumerated() { model.embed(token, into: x.pointer + i * x.stride, on: compute) }
        for layer in 0..<config.layers {
            let norms = model.norms(layer)
            rmsNorm(x, weight: norms.input, into: normed, inverse: b.inverse, epsilon: config.normEpsilon, on: compute)
            model.product(.queryKeyValue(layer), normed, into: qkv, accumulate: false, operand: b.operand, on: compute)
            cache.attend(
                config.attentionShape(layer), layer: layer, queries: queries, queryKeyValue: qkv, cosines: rope.cosines, sines: rope.sines, rounds: rounds,
                scores: b.scores, scoreFloats: b.scoreFloats, into: attended, on: compute)
            model.product(.output(layer), attended, into: x, accumulate: true, operand: b.operand, on: compute)
            rmsNorm(x, weight: norms.post, into: normed, inverse: b.inverse, epsilon: config.normEpsilon, on: compute)
            model.product(.gateUp(layer), normed, into: gateUp, accumulate: false, operand: b.operand, on: compute)
            gated(gateUp, into: hidden, gate: config.gate, on: compute)
            model.product(.down(layer), hidden, into: x, accumulate: true, operand: b.operand, on: compute)
        }
        rmsNorm(x, weight: model.finalNorm, into: normed, inverse: b.inverse, epsilon: config.normEpsilon, on: compute)
        model.product(.head, normed, into: logits, accumulate: false, operand: b.operand, on: compute)
        return logits
    }
}

/// What a step asks of a model's weights.
protocol StepWeights: AnyObject {
    /// Whether rotated q, k and v are bf16.
    var roundsActivations: Bool { get }
    var finalNorm: Matrix { get }
    func rotations(_ positions: Int) -> RotaryTable
    func norms(_ layer: Int) -> (input: Matrix, post: Matrix)
    func embed(_ token: Int32, into x: UnsafeMutablePointer<Float>, on compute: Compute)
    func product(_ linear: StepLinear, _ x: Matrix, into y: Matrix, accumulate: Bool, operand: FloatBuffer, on compute: Compute)
}

/// A product of a step, by layer.
enum StepLinear {
    case queryKeyValue(Int), output(Int), gateUp(Int), down(Int), head
}

extension Transformer: StepWeights {
    var roundsActivations: Bool { precision == .bf16 }

    func rotations(_ positions: Int) -> RotaryTable {
        reserveRotations(count: positions)
        return rope
    }

    func norms(_ layer: Int) -> (input: Matrix, post: Matrix) { (layers[layer].inputNorm, layers[layer].postNorm) }

    func embed(_ token: Int32, into x: UnsafeMutablePointer<Float>, on compute: Compute) {
        if let storedEmbedding { return storedEmbedding.row(Int(token), into: x) }
        x.update(from: embedding.pointer + Int(token) * embedding.stride, count: embedding.columns)
    }

    func product(_ linear: StepLinear, _ x: Matrix, into y: Matrix, accumulate: Bool, operand: FloatBuffer, on compute: Compute) {
        let (weight, adapted): (PackedLinear?, AdaptedLinear?) =
            switch linear {
            case let .queryKeyValue(layer): (layers[layer].packedQueryKeyValue, adapted(layer, .queryKeyValue))
            case let .output(layer): (layers[layer].packedOutput, adapted(layer, .output))
            case let .gateUp(layer): (layers[layer].packedGateUp, adapted(layer, .gateUp))
            case let .down(layer): (layers[layer].packedDown, adapted(layer, .down))
            case .head: (head, nil)
            }
        if let adapted { return adapted.decode(x, into: y, accumulate: accumulate, operand: operand, &workspace, on: compute) }
        guard let weight else { preconditionFailure("a step of a model without a language head") }
        weight.decode(x, into: y, accumulate: accumulate, operand: operand, on: compute)
    }
}

/// Activations of a step of up to `rows` sequences, fp32.
private struct StepBuffers {
    let rows, keys, scoreFloats: Int
    let x, normed, queryKeyValue, attended, gateUp, hidden, logits, inverse: Matrix
    /// A product's rows as it takes them.
    let operand: FloatBuffer
    let scores: FloatBuffer

    init(_ config: ModelConfig, rows: Int, keys: Int) {
        (self.rows, self.keys) = (rows, keys)
        let (q, kv) = (config.heads * config.headDimension, config.keyValueHeads * config.headDimension)
        x = Matrix(rows: rows, columns: config.hiddenSize)
        normed = Matrix(rows: rows, columns: config.hiddenSize)
        queryKeyValue = Matrix(rows: rows, columns: q + 2 * kv)
        attended = Matrix(rows: rows, columns: q)
        gateUp = Matrix(rows: rows, columns: 2 * config.intermediateSize)
        hidden = Matrix(rows: rows, columns: config.intermediateSize)
        logits = Matrix(rows: rows, columns: config.vocabularySize)
        inverse = Matrix(rows: 1, columns: rows)
        operand = FloatBuffer(count: Operand.floats(rows: rows, columns: max(config.hiddenSize, q, config.intermediateSize), precision: .bf16))
        scoreFloats = DecodingCache.scoreFloats(config.attentionShape(0), keys: keys)
        scores = FloatBuffer(count: rows * config.keyValueHeads * scoreFloats)
    }
}
