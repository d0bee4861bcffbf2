import Checkpoints
import Synchronization
import Tensors

/// A checkpoint's weights as its file stores them: matrices in their blocks, norms as floats.
final class StoredWeights: StepWeights {
    private struct Layer {
        var inputNorm, postNorm: Matrix
        var queryKeyValue, output, gateUp, down: StoredLinear
    }

    private let layers: [Layer]
    private let embedding: StoredLinear
    private let head: StoredLinear
    let finalNorm: Matrix
    private var rope: RotaryTable
    private var workspace = Workspace()

    /// A matrix whose tensors are read once all memory is there.
    private struct Pending {
        var linear: StoredLinear
        var names: [String]
    }

    /// - Throws: `CheckpointError` for weights that cannot be read.
    init(_ checkpoint: Checkpoint, compute: Compute) throws {
        let c = checkpoint.config
        var pending: [Pending] = []
        func linear(_ names: [(String, Int)], inputs: Int) throws -> StoredLinear {
            let parts = try names.map { name, rows in
                guard let type = checkpoint.storedType(name)?.ggml else { throw CheckpointError.missingTensor(file: checkpoint.path, tensor: name, shape: [rows, inputs]) }
                return (type: type, rows: rows)
            }
            guard let linear = StoredLinear(inputs: inputs, parts: parts) else {
                throw CheckpointError.unsupported(
                    file: checkpoint.path, line: 0, key: "type of tensor '\(names[0].0)'", found: checkpoint.storedType(names[0].0)?.rawValue ?? "none",
                    supported: ["rows of whole blocks; give --precision fp32"])
            }
            pending.append(Pending(linear: linear, names: names.map(\.0)))
            return linear
        }
        func norm(_ name: String) throws -> Matrix {
            let matrix = Matrix(rows: 1, columns: c.hiddenSize)
            try checkpoint.read(name, into: UnsafeMutableBufferPointer(start: matrix.pointer, count: c.hiddenSize))
            return matrix
        }
        let (q, kv, d, m) = (c.heads * c.headDimension, c.keyValueHeads * c.headDimension, c.hiddenSize, c.intermediateSize)
        layers = try (0..<c.layers).map { l in
            let prefix = "model.layers.\(l)."
            return Layer(
                inputNorm: try norm(prefix + "input_layernorm.weight"), postNorm: try norm(prefix + "post_attention_layernorm.weight"),
                queryKeyValue: try linear(
                    [(prefix + "self_attn.q_proj.weight", q), (prefix + "self_attn.k_proj.weight", kv), (prefix + "self_attn.v_proj.weight", kv)], inputs: d),
                output: try linear([(prefix + "self_attn.o_proj.weight", d)], inputs: q),
                gateUp: try linear([(prefix + "mlp.gate_proj.weight", m), (prefix + "mlp.up_proj.weight", m)], inputs: d),
                down: try linear([(prefix + "mlp.down_proj.weight", d)], inputs: m))
        }
        embedding = try linear([("model.embed_tokens.weight", c.vocabularySize)], inputs: d)
        head = c.tiesEmbeddings ? embedding : try linear([("lm_head.weight", c.vocabularySize)], inputs: d)
        finalNorm = try norm("model.norm.weight")
        rope = RotaryTable(c)
        try Self.load(pending, checkpoint, compute)
    }

    /// Reads and packs every matrix, a few hundred rows a task; the first failure in the order of the weights is the one reported.
    private static func load(_ pending: [Pending], _ checkpoint: Checkpoint, _ compute: Compute) throws {
        struct Task { var linear: StoredLinear, part: Int, name: String, firstPanel: Int, rows: Range<Int> }
        let panel = StoredLinear.panel
        var tasks: [Task] = []
        for entry in pending {
            for (index, part) in entry.linear.parts.enumerated() {
                for start in stride(from: 0, to: part.rows.count, by: 8 * panel) {
                    let rows = start..<min(start + 8 * panel, part.rows.count)
                    tasks.append(Task(linear: entry.linear, part: index, name: entry.names[index], firstPanel: start / panel, rows: rows))
                }
            }
        }
        let failure = Mutex<(index: Int, error: CheckpointError)?>(nil)
        compute.parallel(tasks.count) { index in
            let task = tasks[index]
            guard let rowBytes = checkpoint.storedType(task.name).map({ $0.blockBytes * (task.linear.inputs / $0.blockElements) }) else { return }
            withUnsafeTemporaryAllocation(byteCount: rowBytes * task.rows.count, alignment: 64) { bytes in
                do throws(CheckpointError) {
                    try checkpoint.readStored(task.name, rows: task.rows, into: bytes)
                    task.linear.pack(part: task.part, firstPanel: task.firstPanel, rows: UnsafeRawPointer(bytes.baseAddress!), count: task.rows.count, rowBytes: rowBytes)
                } catch {
                    failure.withLock { if index < $0?.index ?? .max { $0 = (index, error) } }
                }
            }
        }
        if let (_, error) = failure.withLock({ $0 }) { throw error }
    }

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
