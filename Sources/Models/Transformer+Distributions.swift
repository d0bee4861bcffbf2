import Tensors

/// What is kept between `beginDistributions` and `endDistributions`.
struct PendingDistributions {
    let pending: PendingBackward
    /// Hidden states of the predicting tokens, before and after the final norm.
    let raw: Matrix, normed: Operand, inverse: Matrix
    /// ∂L/∂normed, filled row by row; nil without a backward.
    let dNormed: Matrix?
}

extension Transformer: DistributionPolicy {
    public var vocabularySize: Int { config.vocabularySize }

    public func beginDistributions(of batch: SegmentTree, keeps: Bool) throws {
        precondition(!keeps || gradients.count > 0, "this model was opened without gradients: nothing can be kept for them")
        _ = try languageHead()
        (pending, distributions) = (nil, nil)
        let keys = keeps ? adapter?.rowKeys(batch) : nil
        let kept = try run(batch, keeps: keeps, reads: RowsRead(batch), dropoutKeys: keys)
        let (raw, normed, inverse) = predictorStates(batch, kept.final)
        distributions = PendingDistributions(
            pending: PendingBackward(batch: batch, activations: kept, logProbs: [], logSumExp: [], dropoutKeys: keys), raw: raw, normed: normed,
            inverse: inverse, dNormed: keeps ? workspace.matrix("head.dNormed", rows: raw.rows, columns: raw.columns) : nil)
    }

    public func logits(of rows: Range<Int>) throws -> Matrix {
        guard let distributions else { preconditionFailure("logits of rows \(rows) without beginDistributions before") }
        let logits = workspace.matrix("distribution.logits", rows: rows.count, columns: config.vocabularySize)
        try languageHead().forward(distributions.normed.rows(rows), into: Operand(logits), on: compute)
        return logits
    }

    public func addGradient(_ gradient: Matrix, of rows: Range<Int>) throws {
        guard let distributions, let dNormed = distributions.dNormed else { preconditionFailure("a gradient of rows \(rows) of which nothing was kept") }
        let dLogits = workspace.operand("distribution.gradient", rows: rows.count, columns: config.vocabularySize, precision: precision)
        convert(gradient, into: dLogits, on: compute)
        try languageHead().backwardInput(dLogits, into: Operand(dNormed.rows(rows)), on: compute)
        if let block = layout.head, let dHead = self.gradient(block) {
            accumulateWeightGradient(dLogits, distributions.normed.rows(rows), into: dHead, on: compute)
        }
    }

    public func endDistributions() throws {
        guard let distributions, let dNormed = distributions.dNormed else { preconditionFailure("the end of distributions of which nothing was kept") }
        self.distributions = nil
        let (batch, d) = (distributions.pending.batch, config.hiddenSize)
        let dx = workspace.matrix("dx", rows: batch.tokenCount, columns: d)
        clear(dx, on: compute)
        addPredictorGradient(dNormed, raw: distributions.raw, inverse: distributions.inverse, batch, to: dx)
        backward(distributions.pending, dx)
    }
}
