import Tensors

extension Transformer {
    /// Scored rows that go through the head together, and vocabulary columns of one block: their gradient is
    /// `[headRows, headColumns]` at most, whatever the batch and the vocabulary.
    static let headRows = 2048
    static let headColumns = 4096
    /// Columns of logits that a thread holds at a time.
    private static let headPieces = PackedLinear.Pieces(columns: 512)

    private var vocabularyBlocks: [Range<Int>] {
        stride(from: 0, to: config.vocabularySize, by: Transformer.headColumns).map { $0..<min($0 + Transformer.headColumns, config.vocabularySize) }
    }

    private func rowChunks(_ count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: Transformer.headRows).map { $0..<min($0 + Transformer.headRows, count) }
    }

    /// Gathers and normalises the hidden states that predict something.
    private func predictorStates(_ batch: SegmentTree, _ final: Matrix) -> (raw: Matrix, normed: Operand, inverse: Matrix) {
        let (rows, d) = (batch.scoredTokenCount, config.hiddenSize)
        let raw = workspace.matrix("head.raw", rows: rows, columns: d)
        let normed = workspace.operand("head.normed", rows: rows, columns: d, precision: precision)
        let inverse = workspace.matrix("head.inverse", rows: 1, columns: rows)
        gatherRows(final, batch.predictors, into: raw, on: compute)
        rmsNorm(raw, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        return (raw, normed, inverse)
    }

    /// Log-probs of the scored tokens; logits exist only for them, and under bf16 only as long as a thread holds them in its cache.
    func score(_ batch: SegmentTree, _ final: Matrix) -> (scores: TokenScores, logSumExp: [Double]) {
        compute.phase(.head) {
            var statistics = CrossEntropy(targets: batch.targets)
            let normed = predictorStates(batch, final).normed
            for chunk in rowChunks(batch.scoredTokenCount) {
                for block in vocabularyBlocks {
                    statistics.collect(rows: chunk, first: block.lowerBound, on: compute) { add in
                        head.forward(normed.rows(chunk), outputs: block, pieces: Transformer.headPieces, on: compute, epilogue: add)
                    }
                }
            }
            let scores = TokenScores(
                logProbs: Ragged(values: statistics.logProbs, offsets: batch.rowOffsets), entropies: statistics.entropies, isArgmax: statistics.isArgmax)
            return (scores, statistics.logSumExp)
        }
    }

    /// Backward of `score`: adds to the head's and final norm's gradients and to `dx` `[T, d]`.
    func scoreBackward(_ pending: PendingBackward, _ gradient: [Double], addingTo dx: Matrix) {
        compute.phase(.head) {
            let batch = pending.batch
            let (rows, d) = (batch.scoredTokenCount, config.hiddenSize)
            let (raw, normed, inverse) = predictorStates(batch, pending.final)
            let dNormed = workspace.matrix("head.dNormed", rows: rows, columns: d)
            let dHead = self.gradient(layout.head)
            for chunk in rowChunks(rows) {
                let backward = CrossEntropyBackward(
                    targets: Array(batch.targets[chunk]), logSumExp: Array(pending.logSumExp[chunk]), coefficients: Array(gradient[chunk]))
                for block in vocabularyBlocks {
                    let dLogits = workspace.operand("logits", rows: chunk.count, columns: block.count, precision: precision)
                    head.forward(normed.rows(chunk), outputs: block, into: dLogits, pieces: Transformer.headPieces, on: compute) {
                        backward.apply($0, first: block.lowerBound, on: compute)
                    }
                    head.backwardInput(dLogits, outputs: block, into: Operand(dNormed.rows(chunk)), accumulate: block.lowerBound > 0, on: compute)
                    if let dHead { accumulateWeightGradient(dLogits, normed.rows(chunk), into: dHead.rows(block), on: compute) }
                }
            }
            let dRaw = workspace.matrix("head.dRaw", rows: rows, columns: d)
            clear(dRaw, on: compute)
            rmsNormBackward(dNormed, x: raw, weight: finalNorm, inverse: inverse, addingTo: dRaw, dWeight: self.gradient(layout.finalNorm), on: compute)
            scatterAddRows(dRaw, batch.predictors, into: dx, on: compute)
        }
    }

    /// Logits `[rows, V]` of hidden states, for decoding.
    func logits(_ hidden: Matrix) -> Matrix {
        let normed = workspace.operand("head.normed", rows: hidden.rows, columns: config.hiddenSize, precision: precision)
        let inverse = workspace.matrix("head.inverse", rows: 1, columns: hidden.rows)
        rmsNorm(hidden, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        let logits = workspace.matrix("logits", rows: hidden.rows, columns: config.vocabularySize)
        head.forward(normed, into: Operand(logits), on: compute)
        return logits
    }
}
