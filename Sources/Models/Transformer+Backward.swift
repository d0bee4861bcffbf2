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
        let trees = batch.trees.map { Transformer.attentionSegments(batch, $0) }.filter { !$0.isEmpty }
        let plan = AttentionPlan(segments: Transformer.attentionSegments(batch, batch.segments.indices))
        let rotation = rotation(batch.positions)
        for index in layers.indices.reversed() {
            let a = pending.layers[index]
            if recompute {
                let unused = workspace.matrix("recomputed", rows: batch.tokenCount, columns: config.hiddenSize)
                forward(index, a, rotation: rotation, plan: plan, into: unused)
            }
            backward(index, a, rotation: rotation, trees: trees, dx: dx)
        }
        scatterAddRows(dx, batch.tokens, into: self.gradient(layout.embedding), on: compute)
    }

    /// dx as the products take it: itself, or rounded.
    private func rounded(_ dx: Matrix) -> Operand {
        guard precision == .bf16 else { return Operand(dx) }
        let half = workspace.operand("dxHalf", rows: dx.rows, columns: dx.columns, precision: precision)
        convert(dx, into: half, on: compute)
        return half
    }

    /// One decoder block's backward: turns `dx` from the gradient after the block into the one before it.
    private func backward(_ index: Int, _ a: LayerActivations, rotation: Rotation, trees: [[AttentionSegment]], dx: Matrix) {
        let (layer, rows, d) = (layers[index], dx.rows, config.hiddenSize)
        let normed = workspace.operand("normed", rows: rows, columns: d, precision: precision)
        let dNormed = workspace.matrix("dNormed", rows: rows, columns: d)
        let blocks = layer.blocks

        // x += Wd · h, h = act(gate) ∘ up
        let hidden = workspace.operand("hidden", rows: rows, columns: config.intermediateSize, precision: precision)
        var dOutput = rounded(dx)
        layer.packedDown.backwardInput(dOutput, on: compute) { gatedBackward($0, gateUp: a.gateUp, hidden: hidden, gate: config.gate, on: compute) }
        accumulateWeightGradient(dOutput, hidden, into: gradient(blocks.down), on: compute)
        rmsNorm(a.middle, weight: layer.postNorm, into: normed, inverse: a.inverse2, epsilon: config.normEpsilon, on: compute)
        accumulateWeightGradient(a.gateUp, normed, into: gradient(blocks.gateUp), on: compute)
        layer.packedGateUp.backwardInput(a.gateUp, into: Operand(dNormed), on: compute)
        rmsNormBackward(dNormed, x: a.middle, weight: layer.postNorm, inverse: a.inverse2, addingTo: dx, dWeight: gradient(blocks.postNorm), on: compute)

        // x += Wo · attention
        let dAttended = workspace.operand("dAttended", rows: rows, columns: attentionWidth, precision: precision)
        dOutput = rounded(dx)
        accumulateWeightGradient(dOutput, a.attended, into: gradient(blocks.output), on: compute)
        layer.packedOutput.backwardInput(dOutput, into: dAttended, on: compute)
        let dQueryKeyValue = workspace.matrix("dQkv", rows: rows, columns: attentionWidth + 2 * keyValueWidth)
        clear(dQueryKeyValue.columns(attentionWidth..<attentionWidth + 2 * keyValueWidth), on: compute)
        let (q, k, v) = split(a.queryKeyValue)
        attentionBackward(config.attentionShape(index), q: q, k: k, v: v, trees: trees, out: a.attended, dOut: dAttended, logSumExp: a.logSumExp,
            dq: dQueryKeyValue.columns(0..<attentionWidth), dk: dQueryKeyValue.columns(attentionWidth..<attentionWidth + keyValueWidth),
            dv: dQueryKeyValue.columns(attentionWidth + keyValueWidth..<attentionWidth + 2 * keyValueWidth), on: compute)
        // The forward's q, k and v are no longer needed: their gradient takes their place.
        let dHeads = precision == .bf16 ? a.queryKeyValue : Operand(dQueryKeyValue)
        rotation.invert(dQueryKeyValue, into: dHeads, on: compute)
        rmsNorm(a.input, weight: layer.inputNorm, into: normed, inverse: a.inverse1, epsilon: config.normEpsilon, on: compute)
        accumulateWeightGradient(dHeads, normed, into: gradient(blocks.queryKeyValue), on: compute)
        layer.packedQueryKeyValue.backwardInput(dHeads, into: Operand(dNormed), on: compute)
        rmsNormBackward(dNormed, x: a.input, weight: layer.inputNorm, inverse: a.inverse1, addingTo: dx, dWeight: gradient(blocks.inputNorm), on: compute)
    }
}
