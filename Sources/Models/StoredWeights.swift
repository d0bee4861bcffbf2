import Checkpoints
import Tensors

/// A model's weights in blocks, as its file stores them or rounded from a policy's: matrices in their blocks, norms as floats.
final class StoredWeights: StepWeights {
    private let layers: [StoredMatrices.Layer]
    private let embedding: StoredLinear
    private let head: StoredLinear
    let finalNorm: Matrix
    private let matrices: StoredMatrices
    private var rope: RotaryTable
    private var workspace = Workspace()

    /// - Throws: `CheckpointError` for weights that cannot be read.
    convenience init(_ checkpoint: Checkpoint, compute: Compute) throws {
        try self.init(StoredMatrices(StoredLoader(checkpoint), on: compute), checkpoint.config)
    }

    /// A policy's weights as they are now, rounded to `type`.
    /// - Throws: `RolloutError.unsupported` for a model whose rows are not whole blocks, or whose weights are not its own.
    convenience init(rounding policy: Transformer, to type: ElementType) throws {
        try self.init(StoredMatrices(shapedLike: policy, type: type), policy.config)
        take(policy)
    }

    private init(_ matrices: StoredMatrices, _ config: ModelConfig) throws(ModelError) {
        guard let head = matrices.head else { throw ModelError.noLanguageHead(architecture: config.architecture) }
        (layers, embedding, self.head, finalNorm) = (matrices.layers, matrices.embedding, head, matrices.finalNorm)
        self.matrices = matrices
        rope = RotaryTable(config)
    }

    /// Rounds the weights that the policy has now; it is the one that this was made for, or one of the same shape.
    func take(_ policy: Transformer) { matrices.round(policy) }

    /// Bytes of matrices that a step reads.
    var bytes: Int { layers.reduce(head.bytes) { $0 + $1.queryKeyValue.bytes + $1.output.bytes + $1.gateUp.bytes + $1.down.bytes } }

    var roundsActivations: Bool { false }

    func rotations(_ positions: Int) -> RotaryTable {
        rope.reserve(positions)
        return rope
    }

    func norms(_ layer: Int) -> (input: Matrix, post: Matrix) { (layers[layer].inputNorm, layers[layer].postNorm) }

    func embed(_ token: Int32, into x: UnsafeMutablePointer<Float>, on compute: Compute) { embedding.row(Int(token), into: x) }

    func product(_ linear: StepLinear, _ x: Matrix, into y: Matrix, accumulate: Bool, operand: FloatBuffer, on compute: Compute) {
        let weight =
            switch linear {
            case let .queryKeyValue(layer): layers[layer].queryKeyValue
            case let .output(layer): layers[layer].output
            case let .gateUp(layer): layers[layer].gateUp
            case let .down(layer): layers[layer].down
            case .head: head
            }
        weight.forward(x, into: y, accumulate: accumulate, on: compute)
    }

    /// Logits `[prompts, V]` after the prompts' last tokens; keys and values go into the cache.
    func read(_ pack: PromptPack, into cache: DecodingCache, config: ModelConfig, on compute: Compute) -> Matrix {
        let (n, d, q, kv) = (pack.tokens.count, config.hiddenSize, config.heads * config.headDimension, config.keyValueHeads * config.headDimension)
        let plan = pack.plan(cache)
        rope.reserve(Int(pack.positions.max() ?? 0) + 1)
        let x = workspace.matrix("x", rows: n, columns: d), normed = workspace.matrix("normed", rows: n, columns: d)
        let qkv = workspace.matrix("qkv", rows: n, columns: q + 2 * kv), attended = workspace.matrix("attended", rows: n, columns: q)
        let gateUp = workspace.matrix("gateUp", rows: n, columns: 2 * config.intermediateSize)
        let hidden = workspace.matrix("hidden", rows: n, columns: config.intermediateSize)
        let inverse = workspace.matrix("inverse", rows: 1, columns: n), logSumExp = workspace.matrix("logSumExp", rows: config.heads, columns: n)
        compute.parallel((n + 31) / 32) { block in
            for i in block * 32..<min(n, block * 32 + 32) { embedding.row(Int(pack.tokens[i]), into: x.pointer + i * x.stride) }
        }
        for (index, layer) in layers.enumerated() {
            rmsNorm(x, weight: layer.inputNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
            layer.queryKeyValue.forward(normed, into: qkv, on: compute)
            rotate(qkv.columns(0..<q + kv), positions: pack.positions, cosines: rope.cosines, sines: rope.sines, headSize: config.headDimension, on: compute)
            let (k, v) = plan.keys(
                Operand(qkv.columns(q..<q + kv)), Operand(qkv.columns(q + kv..<q + 2 * kv)), layer: index, workspace: &workspace, on: compute)
            attention(config.attentionShape(index), q: Operand(qkv.columns(0..<q)), k: k, v: v, segments: plan.segments, into: Operand(attended), logSumExp: logSumExp, on: compute)
            layer.output.forward(attended, into: x, accumulate: true, on: compute)
            rmsNorm(x, weight: layer.postNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
            layer.gateUp.forward(normed, into: gateUp, on: compute)
            gated(gateUp, into: hidden, gate: config.gate, on: compute)
            layer.down.forward(hidden, into: x, accumulate: true, on: compute)
        }
        let last = workspace.matrix("last", rows: pack.last.count, columns: d), logits = workspace.matrix("logits", rows: pack.last.count, columns: config.vocabularySize)
        gatherRows(x, pack.last, into: last, on: compute)
        rmsNorm(last, weight: finalNorm, into: last, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        head.forward(last, into: logits, on: compute)
        return logits
    }
}
