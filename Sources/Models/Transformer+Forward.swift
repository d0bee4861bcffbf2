import Checkpoints
import Tensors

extension Transformer {
    var attentionWidth: Int { config.heads * config.headDimension }
    var keyValueWidth: Int { config.keyValueHeads * config.headDimension }

    static func attentionSegments(_ batch: SegmentTree, _ indices: some Sequence<Int>) -> [AttentionSegment] {
        indices.compactMap { index in
            let segment = batch.segments[index]
            guard !segment.range.isEmpty else { return nil }
            return AttentionSegment(queries: segment.range, keys: batch.chain(of: index).map { batch.segments[$0].range })
        }
    }

    func check(_ tokens: [Int32], _ positions: [Int32]) throws {
        if let bad = tokens.first(where: { $0 < 0 || Int($0) >= config.vocabularySize }) {
            throw ModelError.tokenOutOfRange(token: Int(bad), vocabulary: config.vocabularySize)
        }
        if case .none = config.ropeScaling { return }
        if let last = positions.max(), Int(last) >= config.maxPositions {
            throw ModelError.contextTooLong(tokens: Int(last) + 1, limit: config.maxPositions)
        }
    }

    /// Activations of one layer under names of its own, or under shared names when nothing is kept.
    func activations(_ slot: String, rows: Int, input: Matrix) -> LayerActivations {
        // Frozen weights leave time for one small product more: `middle` is computed again in the backward, and needs a place only there.
        let m = workspace.operands("layer \(slot)", [
            (isFrozen ? 0 : rows, config.hiddenSize, .fp32), (1, rows, .fp32), (1, rows, .fp32), (config.heads, rows, .fp32),
            (rows, attentionWidth + 2 * keyValueWidth, precision), (rows, attentionWidth, precision), (rows, 2 * config.intermediateSize, precision),
        ])
        func fp32(_ i: Int) -> Matrix {
            guard let matrix = m[i].matrix else { preconditionFailure("activation \(i) is bf16") }
            return matrix
        }
        return LayerActivations(
            input: input, middle: isFrozen ? workspace.matrix("middle", rows: rows, columns: config.hiddenSize) : fp32(0), inverse1: fp32(1), inverse2: fp32(2), queryKeyValue: m[4], attended: m[5], logSumExp: fp32(3), gateUp: m[6])
    }

    func rotation(_ positions: [Int32]) -> Rotation {
        Rotation(positions: positions, cosines: rope.cosines, sines: rope.sines, headSize: config.headDimension, width: attentionWidth + keyValueWidth)
    }

    /// Pieces that hold whole heads.
    private var headPieces: PackedLinear.Pieces {
        var unit = config.headDimension
        while unit % 32 != 0 { unit += config.headDimension }
        return PackedLinear.Pieces(columns: max(1, 512 / unit) * unit)
    }

    /// One decoder block: reads `a.input`, fills the rest of `a`, writes the next residual stream to `output`.
    /// - Parameter dropoutKeys: Of the adapter's dropout, one a row; nil: nothing is dropped.
    func forward(_ index: Int, _ a: LayerActivations, rotation: Rotation, plan: AttentionPlan, dropoutKeys: [UInt64]? = nil, into output: Matrix) {
        attend(index, a, rotation: rotation, plan: plan, dropoutKeys: dropoutKeys)
        feed(index, a, dropoutKeys: dropoutKeys, into: output)
    }

    /// A block's first part: from `a.input` to `a.attended`, for the plan's queries.
    func attend(_ index: Int, _ a: LayerActivations, rotation: Rotation, plan: AttentionPlan, dropoutKeys: [UInt64]?) {
        let (layer, rows) = (layers[index], a.input.rows)
        let normed = workspace.operand("normed", rows: rows, columns: config.hiddenSize, precision: precision)
        rmsNorm(a.input, weight: layer.inputNorm, into: normed, inverse: a.inverse1, epsilon: config.normEpsilon, on: compute)
        let adapted = term(index, .queryKeyValue, normed, dropoutKeys)
        layer.packedQueryKeyValue.forward(normed, into: a.queryKeyValue, pieces: headPieces, on: compute) {
            adapted?.add(to: $0)
            rotation.apply($0, on: compute)
        }
        let q: Operand
        var (k, v): (Operand, Operand)
        (q, k, v) = split(a.queryKeyValue)
        (k, v) = plan.keys(k, v, layer: index, workspace: &workspace, on: compute)
        attention(config.attentionShape(index), q: q, k: k, v: v, segments: plan.segments, into: a.attended, logSumExp: a.logSumExp, on: compute)
    }

    /// A block's second part, each row for itself: from `a.input` and `a.attended` to the next residual stream.
    func feed(_ index: Int, _ a: LayerActivations, dropoutKeys: [UInt64]?, into output: Matrix) {
        let (layer, rows) = (layers[index], a.input.rows)
        leaveAttention(index, a, dropoutKeys: dropoutKeys)
        let normed = workspace.operand("normed", rows: rows, columns: config.hiddenSize, precision: precision)
        rmsNorm(a.middle, weight: layer.postNorm, into: normed, inverse: a.inverse2, epsilon: config.normEpsilon, on: compute)
        let hidden = workspace.operand("hidden", rows: rows, columns: config.intermediateSize, precision: precision)
        var adapted = term(index, .gateUp, normed, dropoutKeys)
        layer.packedGateUp.forward(normed, into: a.gateUp, pieces: PackedLinear.Pieces(columns: 256, parts: 2), on: compute) {
            adapted?.add(to: $0)
            gated($0, into: hidden, gate: config.gate, on: compute)
        }
        adapted = term(index, .down, hidden, dropoutKeys)
        layer.packedDown.forward(hidden, on: compute) {
            adapted?.add(to: $0)
            add($0, to: a.middle, into: output, on: compute)
        }
    }

    /// The adapter's part in a product's forward, if it has one.
    private func term(_ index: Int, _ product: Adapter.Product, _ x: Operand, _ dropoutKeys: [UInt64]?) -> AdaptedLinear.Term? {
        guard let adapter, let linear = adapted(index, product) else { return nil }
        return linear.term(x, mask: adapter.mask(dropoutKeys, linear), &workspace, on: compute)
    }

    /// The residual stream after attention: `a.middle` from `a.input` and `a.attended`.
    func leaveAttention(_ index: Int, _ a: LayerActivations, dropoutKeys: [UInt64]?) {
        let adapted = term(index, .output, a.attended, dropoutKeys)
        layers[index].packedOutput.forward(a.attended, on: compute) {
            adapted?.add(to: $0)
            add($0, to: a.input, into: a.middle, on: compute)
        }
    }

    func split(_ qkv: Operand) -> (q: Operand, k: Operand, v: Operand) {
        let (a, b) = (attentionWidth, keyValueWidth)
        return (qkv.columns(0..<a), qkv.columns(a..<a + b), qkv.columns(a + b..<a + 2 * b))
    }

    public func logProbs(of batch: SegmentTree) throws -> TokenScores {
        precondition(gradients.count > 0, "this model was opened without gradients: use scores(of:)")
        pending = nil
        let keys = adapter?.rowKeys(batch)
        let kept = try run(batch, keeps: true, reads: RowsRead(batch), dropoutKeys: keys)
        let (scores, logSumExp) = try score(batch, kept.final, keeps: true)
        pending = PendingBackward(batch: batch, activations: kept, logProbs: scores.logProbs.values, logSumExp: logSumExp, dropoutKeys: keys)
        return scores
    }

    public func scores(of batch: SegmentTree) throws -> TokenScores {
        pending = nil
        return try score(batch, try run(batch, keeps: false, reads: RowsRead(batch)).final, keeps: false).scores
    }

    /// Runs a batch through all layers.
    /// - Parameter reads: The rows of `final` that are asked for; nil: all.
    func run(_ batch: SegmentTree, keeps: Bool, reads: RowsRead?, dropoutKeys: [UInt64]? = nil) throws -> KeptActivations {
        try check(batch.tokens, batch.positions)
        reserveRotations(batch.positions)
        let (rows, d) = (batch.tokenCount, config.hiddenSize)
        let plan = AttentionPlan(segments: Transformer.attentionSegments(batch, batch.segments.indices))
        let rotation = rotation(batch.positions)
        var x = workspace.matrix("x0", rows: rows, columns: d)
        var kept = KeptActivations(final: x)
        embed(batch.tokens, into: x)
        for index in layers.indices {
            let a = activations(keeps && !recompute ? "\(index)" : "shared", rows: rows, input: x)
            // Kept inputs have a place each; otherwise two take turns.
            x = workspace.matrix(keeps ? "x\(index + 1)" : "x\((index + 1) % 2)", rows: rows, columns: d)
            if let reads, index == layers.count - 1 {
                kept.last = forwardLast(reads, a, rotation: rotation, plan: plan, dropoutKeys: dropoutKeys, into: x)
            } else {
                forward(index, a, rotation: rotation, plan: plan, dropoutKeys: dropoutKeys, into: x)
            }
            if keeps { kept.layers.append(a) }
        }
        kept.final = x
        return kept
    }
}

extension ModelConfig {
    func attentionShape(_ layer: Int) -> AttentionShape {
        AttentionShape(
            heads: heads, keyValueHeads: keyValueHeads, headSize: headDimension, scale: attentionScale, softCap: attentionSoftCap,
            window: slidingWindows[layer])
    }
    var gate: Gate { activation == .silu ? .silu : .geluTanh }
}
