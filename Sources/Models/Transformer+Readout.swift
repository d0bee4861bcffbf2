import Tensors

extension Transformer {
    /// Hidden states `[points, d]` of the batch's read-out points, and after the final norm; fp32 whatever the precision.
    private func pointStates(_ batch: SegmentTree, _ final: Matrix) -> (raw: Matrix, normed: Matrix, inverse: Matrix) {
        let (points, d) = (batch.readoutPoints.count, config.hiddenSize)
        let raw = workspace.matrix("readout.raw", rows: points, columns: d)
        let normed = workspace.matrix("readout.normed", rows: points, columns: d)
        let inverse = workspace.matrix("readout.inverse", rows: 1, columns: points)
        gatherRows(final, batch.readoutPoints, into: raw, on: compute)
        rmsNorm(raw, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        return (raw, normed, inverse)
    }

    /// `W_score · norm x` at every read-out point, `[points, outputs]`: a point's bits depend on its own chain of tokens alone.
    func readOut(_ batch: SegmentTree, _ final: Matrix) throws(ModelError) -> [Double] {
        guard !batch.readoutPoints.isEmpty else { return [] }
        guard let scoreHead else { throw .noScoreHead(architecture: config.architecture) }
        let outputs = workspace.matrix("readout.outputs", rows: batch.readoutPoints.count, columns: scoreHead.rows)
        scoreRows(pointStates(batch, final).normed, weight: scoreHead, into: outputs, on: compute)
        return (0..<outputs.rows * outputs.columns).map { Double(outputs.pointer[$0]) }
    }

    /// Backward of `readOut`: adds to the score head's and final norm's gradients and to `dx` `[T, d]`.
    func readoutBackward(_ pending: PendingBackward, _ gradient: [Double], addingTo dx: Matrix) {
        guard let scoreHead, let dHead = scoreGradient else { preconditionFailure("read-outs of a model without a score head") }
        let (points, d) = (pending.batch.readoutPoints.count, config.hiddenSize)
        let (raw, normed, inverse) = pointStates(pending.batch, pending.activations.final)
        let dOutputs = workspace.matrix("readout.outputs", rows: points, columns: scoreHead.rows)
        for (i, value) in gradient.enumerated() { dOutputs.pointer[i] = Float(value) }
        let dNormed = workspace.matrix("readout.dNormed", rows: points, columns: d)
        scoreRowsBackward(dOutputs, x: normed, weight: scoreHead, into: dNormed, addingTo: dHead, on: compute)
        let dRaw = workspace.matrix("readout.dRaw", rows: points, columns: d)
        clear(dRaw, on: compute)
        rmsNormBackward(dNormed, x: raw, weight: finalNorm, inverse: inverse, addingTo: dRaw, dWeight: self.gradient(layout.finalNorm), on: compute)
        scatterAddRows(dRaw, pending.batch.readoutPoints, into: dx, on: compute)
    }
}
