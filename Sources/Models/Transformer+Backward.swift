import Tensors

extension Transformer {
    public func backward(_ gradient: ScoreGradient) throws {
        guard let pending else { preconditionFailure("backward without a logProbs(of:) before it") }
        self.pending = nil
        let batch = pending.batch
        let (tokens, readouts) = (gradient.logProbs, gradient.readouts)
        let points = batch.readoutPoints.count * (scoreHead?.rows ?? 0)
        precondition(tokens.isEmpty || tokens.count == batch.scoredTokenCount, "\(tokens.count) gradients for \(batch.scoredTokenCount) scored tokens")
        precondition(readouts.isEmpty || readouts.count == points, "\(readouts.count) gradients for \(points) read-outs")
        guard !tokens.isEmpty || !readouts.isEmpty else { return }
        let dx = workspace.matrix("dx", rows: batch.tokenCount, columns: config.hiddenSize)
        clear(dx, on: compute)
        if !tokens.isEmpty { scoreBackward(pending, tokens, addingTo: dx) }
        if !readouts.isEmpty { readoutBackward(pending, readouts, addingTo: dx) }
        backward(pending, dx)
    }

    /// From the gradient `dx` of the last layer's output to those of all parameters below.
    func backward(_ pending: PendingBackward, _ dx: Matrix) {
        let batch = pending.batch
        let trees = batch.trees.map { Transformer.attentionSegments(batch, $0) }.filter { !$0.isEmpty }
        let plan = AttentionPlan(segments: Transformer.attentionSegments(batch, batch.segments.indices))
        let rotation = rotation(batch.positions)
        // Below the first thing that trains nobody asks for a gradient.
        let first = adapter?.firstLayer ?? 0
        for index in layers.indices.reversed() where index >= first {
            let (a, keys, isLast) = (pending.activations.layers[index], pending.dropoutKeys, isFrozen && index == first)
            let unused = recompute ? workspace.matrix("recomputed", rows: batch.tokenCount, columns: config.hiddenSize) : nil
            if index == layers.count - 1, let last = pending.activations.last {
                if let unused {
                    _ = forwardLast(last.read, a, rotation: rotation, plan: plan, dropoutKeys: keys, into: unused)
                } else if isFrozen {
                    leaveAttention(index, last.activations, dropoutKeys: last.read.keys(keys))
                }
                backwardLast(last, a, rotation: rotation, trees: trees, dropoutKeys: keys, isLast: isLast, dx: dx)
                continue
            }
            if let unused {
                forward(index, a, rotation: rotation, plan: plan, dropoutKeys: keys, into: unused)
            } else if isFrozen {
                leaveAttention(index, a, dropoutKeys: keys)
            }
            let dAttended = workspace.operand("dAttended", rows: batch.tokenCount, columns: attentionWidth, precision: precision)
            feedBackward(index, a, dropoutKeys: keys, dx: dx, dAttended: dAttended)
            attendBackward(index, a, dAttended: dAttended, rotation: rotation, trees: trees, dropoutKeys: keys, isLast: isLast, dx: dx)
        }
        if let dEmbedding = self.gradient(layout.embedding) { scatterAddRows(dx, batch.tokens, into: dEmbedding, on: compute) }
    }

    /// dx as the products take it: itself, or rounded.
    private func rounded(_ dx: Matrix) -> Operand {
        guard precision == .bf16 else { return Operand(dx) }
        let half = workspace.operand("dxHalf", rows: dx.rows, columns: dx.columns, precision: precision)
        convert(dx, into: half, on: compute)
        return half
    }

    /// The adapter's part in a product's backward, and ∂L/∂(W·x), which the base's takes.
    private func adapterGradient(_ index: Int, _ product: Adapter.Product, _ dy: Operand, _ dropoutKeys: [UInt64]?) -> (AdaptedLinear.Gradient?, dz: Operand) {
        guard let adapter, let linear = self.adapted(index, product) else { return (nil, dy) }
        let gradient = linear.gradient(dy, mask: adapter.mask(dropoutKeys, linear), &workspace, on: compute)
        return (gradient, gradient.dz)
    }

    /// ∂L/∂W of a product's weights and of its adapter, as far as they train.
    private func accumulate(_ dy: Operand, _ x: Operand, _ block: ParameterLayout.Block, _ adapted: AdaptedLinear.Gradient?) {
        if let dWeight = gradient(block) { accumulateWeightGradient(dy, x, into: dWeight, on: compute) }
        adapted?.accumulate(x: x, &workspace)
    }

    /// Backward of `feed`: `dx` from the gradient after the block to that of the residual stream before attention's output joined it, and
    /// `dAttended`.
    func feedBackward(_ index: Int, _ a: LayerActivations, dropoutKeys: [UInt64]?, dx: Matrix, dAttended: Operand) {
        let (layer, rows, d) = (layers[index], dx.rows, config.hiddenSize)
        let normed = workspace.operand("normed", rows: rows, columns: d, precision: precision)
        let dNormed = workspace.matrix("dNormed", rows: rows, columns: d)
        let blocks = layer.blocks

        // x += Wd · h, h = act(gate) ∘ up
        let hidden = workspace.operand("hidden", rows: rows, columns: config.intermediateSize, precision: precision)
        var dOutput = rounded(dx)
        var (adapted, dz) = adapterGradient(index, .down, dOutput, dropoutKeys)
        layer.packedDown.backwardInput(dz, on: compute) {
            adapted?.add(to: $0)
            gatedBackward($0, gateUp: a.gateUp, hidden: hidden, gate: config.gate, on: compute)
        }
        accumulate(dOutput, hidden, blocks.down, adapted)
        rmsNorm(a.middle, weight: layer.postNorm, into: normed, inverse: a.inverse2, epsilon: config.normEpsilon, on: compute)
        (adapted, dz) = adapterGradient(index, .gateUp, a.gateUp, dropoutKeys)
        accumulate(a.gateUp, normed, blocks.gateUp, adapted)
        backwardInput(layer.packedGateUp, dz, adapted, into: Operand(dNormed))
        rmsNormBackward(dNormed, x: a.middle, weight: layer.postNorm, inverse: a.inverse2, addingTo: dx, dWeight: gradient(blocks.postNorm), on: compute)

        // x += Wo · attention
        dOutput = rounded(dx)
        (adapted, dz) = adapterGradient(index, .output, dOutput, dropoutKeys)
        accumulate(dOutput, a.attended, blocks.output, adapted)
        backwardInput(layer.packedOutput, dz, adapted, into: dAttended)
    }

    /// Backward of `attend`: `dx` takes the share of what came through attention.
    /// - Parameter isLast: Nobody needs the gradient before the block.
    func attendBackward(
        _ index: Int, _ a: LayerActivations, dAttended: Operand, rotation: Rotation, trees: [[AttentionSegment]], dropoutKeys: [UInt64]?, isLast: Bool,
        dx: Matrix
    ) {
        let (layer, rows, d) = (layers[index], dx.rows, config.hiddenSize)
        let blocks = layer.blocks
        let dQueryKeyValue = queryKeyValueGradient(rows)
        clear(dQueryKeyValue.columns(attentionWidth..<attentionWidth + 2 * keyValueWidth), on: compute)
        let (q, k, v) = split(a.queryKeyValue)
        attentionBackward(config.attentionShape(index), q: q, k: k, v: v, trees: trees, out: a.attended, dOut: dAttended, logSumExp: a.logSumExp,
            dq: dQueryKeyValue.columns(0..<attentionWidth), dk: dQueryKeyValue.columns(attentionWidth..<attentionWidth + keyValueWidth),
            dv: dQueryKeyValue.columns(attentionWidth + keyValueWidth..<attentionWidth + 2 * keyValueWidth), on: compute)
        // The forward's q, k and v are no longer needed: their gradient takes their place.
        let dHeads = precision == .bf16 ? a.queryKeyValue : Operand(dQueryKeyValue)
        rotation.invert(dQueryKeyValue, into: dHeads, on: compute)
        let normed = workspace.operand("normed", rows: rows, columns: d, precision: precision)
        let dNormed = workspace.matrix("dNormed", rows: rows, columns: d)
        rmsNorm(a.input, weight: layer.inputNorm, into: normed, inverse: a.inverse1, epsilon: config.normEpsilon, on: compute)
        let (adapted, dz) = adapterGradient(index, .queryKeyValue, dHeads, dropoutKeys)
        accumulate(dHeads, normed, blocks.queryKeyValue, adapted)
        guard !isLast else { return }
        backwardInput(layer.packedQueryKeyValue, dz, adapted, into: Operand(dNormed))
        rmsNormBackward(dNormed, x: a.input, weight: layer.inputNorm, inverse: a.inverse1, addingTo: dx, dWeight: gradient(blocks.inputNorm), on: compute)
    }

    /// Where attention's backward leaves the gradient of q, k and v.
    func queryKeyValueGradient(_ rows: Int) -> Matrix { workspace.matrix("dQkv", rows: rows, columns: attentionWidth + 2 * keyValueWidth) }

    /// dx = dy·W with the adapter's share.
    private func backwardInput(_ linear: PackedLinear, _ dy: Operand, _ adapted: AdaptedLinear.Gradient?, into dx: Operand) {
        guard let adapted else { return linear.backwardInput(dy, into: dx, on: compute) }
        linear.backwardInput(dy, into: dx, on: compute) { adapted.add(to: $0) }
    }
}
