import Tensors

extension Transformer {
    /// Scored rows that go through the head together, and vocabulary columns of one block: logits are
    /// `[headRows, headColumns]` at most, whatever the batch and the vocabulary.
    static let headRows = 1024
    static let headColumns = 4096

    private var vocabularyBlocks: [Range<Int>] {
        stride(from: 0, to: config.vocabularySize, by: Transformer.headColumns).map { $0..<min($0 + Transformer.headColumns, config.vocabularySize) }
    }

    private func rowChunks(_ count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: Transformer.headRows).map { $0..<min($0 + Transformer.headRows, count) }
    }

    /// Gathers and normalises the hidden states that predict something.
    private func predictorStates(_ batch: SegmentTree, _ final: Matrix) -> (raw: Matrix, normed: Matrix, inverse: Matrix) {
        let (rows, d) = (batch.scoredTokenCount, config.hiddenSize)
        let raw = workspace.matrix("head.raw", rows: rows, columns: d)
        let normed = workspace.matrix("head.normed", rows: rows, columns: d)
        let inverse = workspace.matrix("head.inverse", rows: 1, columns: rows)
        gatherRows(final, batch.predictors, into: raw, on: compute)
        rmsNorm(raw, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        return (raw, normed, inverse)
    }

    /// Log-probs of the scored tokens; logits exist only for them, a block of the vocabulary at a time.
    func score(_ batch: SegmentTree, _ final: Matrix) -> (scores: TokenScores, logSumExp: [Double]) {
        compute.phase(.head) {
            var (logProbs, entropies, logSumExp) = ([Double](), [Double](), [Double]())
            var isArgmax: [Bool] = []
            let normed = predictorStates(batch, final).normed
            for chunk in rowChunks(batch.scoredTokenCount) {
                var statistics = CrossEntropy(targets: batch.targets[chunk])
                for block in vocabularyBlocks {
                    let logits = workspace.matrix("logits", rows: chunk.count, columns: block.count)
                    head.forward(normed.rows(chunk), outputs: block, into: logits, on: compute)
                    statistics.add(logits, first: block.lowerBound, on: compute)
                }
                logProbs += statistics.logProbs
                entropies += statistics.entropies
                logSumExp += statistics.logSumExp
                isArgmax += statistics.isArgmax
            }
            return (TokenScores(logProbs: Ragged(values: logProbs, offsets: batch.rowOffsets), entropies: entropies, isArgmax: isArgmax), logSumExp)
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
                for block in vocabularyBlocks {
                    let logits = workspace.matrix("logits", rows: chunk.count, columns: block.count)
                    head.forward(normed.rows(chunk), outputs: block, into: logits, on: compute)
                    crossEntropyBackward(logits, first: block.lowerBound, targets: batch.targets[chunk], logSumExp: pending.logSumExp[chunk],
                        coefficients: gradient[chunk], on: compute)
                    head.backwardInput(logits, outputs: block, into: dNormed.rows(chunk), accumulate: block.lowerBound > 0, on: compute)
                    accumulateWeightGradient(logits, normed.rows(chunk), into: dHead.rows(block), precision: precision, on: compute)
                }
            }
            let dRaw = workspace.matrix("head.dRaw", rows: rows, columns: d)
            dRaw.zero()
            rmsNormBackward(dNormed, x: raw, weight: finalNorm, inverse: inverse, addingTo: dRaw, dWeight: self.gradient(layout.finalNorm), on: compute)
            scatterAddRows(dRaw, batch.predictors, into: dx, on: compute)
        }
    }

    /// Logits `[rows, V]` of hidden states, for decoding.
    func logits(_ hidden: Matrix) -> Matrix {
        let normed = workspace.matrix("head.normed", rows: hidden.rows, columns: config.hiddenSize)
        let inverse = workspace.matrix("head.inverse", rows: 1, columns: hidden.rows)
        rmsNorm(hidden, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        let logits = workspace.matrix("logits", rows: hidden.rows, columns: config.vocabularySize)
        head.forward(normed, into: logits, on: compute)
        return logits
    }
}
