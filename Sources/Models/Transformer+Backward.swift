import Tensors

extension Transformer {
    public func backward(_ gradient: [Double]) throws {
        guard let pending else { preconditionFailure("backward without a logProbs(of:) before it") }
        self.pending = nil
        let batch = pending.batch
        precondition(gradient.count == batch.scoredTokenCount, "\(gradient.count) gradients for \(batch.scoredTokenCount) scored tokens")
        guard batch.scoredTokenCount > 0 else { return }
        let dx = workspace.matrix("dx", rows: batch.tokenCount, columns: config.hiddenSize)
        dx.zero()
        scoreBackward(pending, gradient, addingTo: dx)
        let trees = batch.trees.map { Transformer.attentionSegments(batch, $0) }.filter { !$0.isEmpty }
        let plan = AttentionPlan(segments: Transformer.attentionSegments(batch, batch.segments.indices))
        for index in layers.indices.reversed() {
            let a = pending.layers[index]
            if recompute {
                let unused = workspace.matrix("recomputed", rows: batch.tokenCount, columns: config.hiddenSize)
                forward(index, a, positions: batch.positions, plan: plan, into: unused)
            }
            backward(index, a, positions: batch.positions, trees: trees, dx: dx)
        }
        scatterAddRows(dx, batch.tokens, into: self.gradient(layout.embedding), on: compute)
    }

    /// One decoder block's backward: turns `dx` from the gradient after the block into the one before it.
    private func backward(_ index: Int, _ a: LayerActivations, positions: [Int32], trees: [[AttentionSegment]], dx: Matrix) {
        let (layer, rows, d) = (layers[index], dx.rows, config.hiddenSize)
        let normed = workspace.matrix("normed", rows: rows, columns: d)
        let dNormed = workspace.matrix("dNormed", rows: rows, columns: d)
        let blocks = layer.blocks

        // x += Wd · h, h = act(gate) ∘ up
        let hidden = workspace.matrix("hidden", rows: rows, columns: config.intermediateSize)
        let dHidden = workspace.matrix("dHidden", rows: rows, columns: config.intermediateSize)
        gated(a.gateUp, into: hidden, gate: gate, on: compute)
        accumulateWeightGradient(dx, hidden, into: gradient(blocks.down), precision: precision, on: compute)
        layer.packedDown.backwardInput(dx, into: dHidden, on: compute)
        gatedBackward(dHidden, gateUp: a.gateUp, gate: gate, on: compute)
        rmsNorm(a.middle, weight: layer.postNorm, into: normed, inverse: a.inverse2, epsilon: config.normEpsilon, on: compute)
        accumulateWeightGradient(a.gateUp, normed, into: gradient(blocks.gateUp), precision: precision, on: compute)
        layer.packedGateUp.backwardInput(a.gateUp, into: dNormed, on: compute)
        rmsNormBackward(dNormed, x: a.middle, weight: layer.postNorm, inverse: a.inverse2, addingTo: dx, dWeight: gradient(blocks.postNorm), on: compute)

        // x += Wo · attention
        let dAttended = workspace.matrix("dAttended", rows: rows, columns: attentionWidth)
        accumulateWeightGradient(dx, a.attended, into: gradient(blocks.output), precision: precision, on: compute)
        layer.packedOutput.backwardInput(dx, into: dAttended, on: compute)
        let dQueryKeyValue = workspace.matrix("dQkv", rows: rows, columns: attentionWidth + 2 * keyValueWidth)
        dQueryKeyValue.zero()
        let (q, k, v) = split(a.queryKeyValue)
        let (dq, dk, dv) = split(dQueryKeyValue)
        attentionBackward(shape(index), q: q, k: k, v: v, trees: trees, out: a.attended, dOut: dAttended, logSumExp: a.logSumExp,
            dq: dq, dk: dk, dv: dv, on: compute)
        rotate(dQueryKeyValue.columns(0..<attentionWidth + keyValueWidth), positions: positions, cosines: rope.cosines, sines: rope.sines,
            heads: config.heads + config.keyValueHeads, headSize: config.headDimension, inverse: true, on: compute)
        rmsNorm(a.input, weight: layer.inputNorm, into: normed, inverse: a.inverse1, epsilon: config.normEpsilon, on: compute)
        accumulateWeightGradient(dQueryKeyValue, normed, into: gradient(blocks.queryKeyValue), precision: precision, on: compute)
        layer.packedQueryKeyValue.backwardInput(dQueryKeyValue, into: dNormed, on: compute)
        rmsNormBackward(dNormed, x: a.input, weight: layer.inputNorm, inverse: a.inverse1, addingTo: dx, dWeight: gradient(blocks.inputNorm), on: compute)
    }
}
