import Checkpoints
import Tensors

/// What decoding steps multiply with.
public enum RolloutWeights: String, Sendable, CaseIterable, Codable {
    /// The model's own weights, at its precision.
    case policy
    /// Rounded to Q8_0, half the bytes of bf16: faster where few sequences run and reading weights is what takes the time. The
    /// log-probs that steps give are then the rounded model's; `RolloutLogProbs` has the policy's.
    case q8_0

    var type: ElementType? { self == .q8_0 ? .q8_0 : nil }
}

extension StoredMatrices {
    /// Memory for a policy's matrices in blocks of `type`; `round` fills it.
    /// - Throws: `RolloutError.unsupported`.
    init(shapedLike policy: Transformer, type: ElementType) throws(RolloutError) {
        let layout = policy.layout, what = "rounding to \(type.rawValue)"
        guard !policy.isFrozen else { throw .unsupported(engine: "the local engine", what: what, needs: "a model without an adapter, whose weights are not rounded already") }
        func linear(_ block: ParameterLayout.Block) throws(RolloutError) -> StoredLinear {
            guard let ggml = type.ggml, let linear = StoredLinear(inputs: block.columns, parts: [(ggml, block.rows)]) else {
                throw .unsupported(engine: "the local engine", what: what, needs: "rows of whole blocks of \(type.blockElements), these have \(block.columns) weights")
            }
            return linear
        }
        var layers: [Layer] = []
        for blocks in layout.layers {
            layers.append(Layer(
                inputNorm: Matrix(rows: 1, columns: blocks.inputNorm.columns), postNorm: Matrix(rows: 1, columns: blocks.postNorm.columns),
                queryKeyValue: try linear(blocks.queryKeyValue), output: try linear(blocks.output), gateUp: try linear(blocks.gateUp), down: try linear(blocks.down)))
        }
        let embedding = try linear(layout.embedding)
        var head: StoredLinear?
        if let block = layout.head { head = block.offset == layout.embedding.offset ? embedding : try linear(block) }
        self.init(layers: layers, embedding: embedding, head: head, finalNorm: Matrix(rows: 1, columns: layout.finalNorm.columns))
    }

    /// Rounds a policy's weights into this memory, a few hundred rows a task.
    func round(_ policy: Transformer) {
        let (layout, weights) = (policy.layout, policy.weights)
        func norm(_ block: ParameterLayout.Block, _ matrix: Matrix) { matrix.pointer.update(from: weights.base + block.offset, count: block.columns) }
        func linear(_ block: ParameterLayout.Block, _ linear: StoredLinear) { linear.pack(part: 0, rounding: weights.base + block.offset, on: policy.compute) }
        for (blocks, layer) in zip(layout.layers, layers) {
            norm(blocks.inputNorm, layer.inputNorm)
            norm(blocks.postNorm, layer.postNorm)
            linear(blocks.queryKeyValue, layer.queryKeyValue)
            linear(blocks.output, layer.output)
            linear(blocks.gateUp, layer.gateUp)
            linear(blocks.down, layer.down)
        }
        linear(layout.embedding, embedding)
        if let head, head !== embedding, let block = layout.head { linear(block, head) }
        norm(layout.finalNorm, finalNorm)
    }
}

extension StoredLinear {
    /// Takes a part's rows as floats `[rows, inputs]`, rounded to the part's type; to bf16 as weights that are packed.
    func pack(part: Int, rounding values: UnsafePointer<Float>, on compute: Compute) {
        let stored = parts[part], step = 8 * StoredLinear.panel
        guard let type = ElementType.allCases.first(where: { $0.ggml == stored.type }) else { preconditionFailure("type \(stored.type) of part \(part)") }
        let rowBytes = type.blockBytes * (inputs / type.blockElements)
        compute.parallel((stored.rows.count + step - 1) / step) { block in
            let rows = block * step..<min(stored.rows.count, (block + 1) * step)
            withUnsafeTemporaryAllocation(byteCount: rowBytes * rows.count, alignment: 64) { bytes in
                let (source, count) = (values + rows.lowerBound * inputs, rows.count * inputs)
                if type == .bf16 {
                    compute.settle(source, into: bytes.baseAddress!, count: count)
                } else {
                    let isWritten = type.encode(source, into: bytes.baseAddress!, count: count)
                    precondition(isWritten, "\(type.rawValue) is only read")
                }
                pack(part: part, firstPanel: rows.lowerBound / StoredLinear.panel, rows: UnsafeRawPointer(bytes.baseAddress!), count: rows.count, rowBytes: rowBytes)
            }
        }
    }
}
