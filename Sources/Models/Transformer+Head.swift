import Tensors

extension Transformer {
    /// Scored rows that go through the head together, and vocabulary columns of one block: their gradient is
    /// `[headRows, headColumns]` at most, whatever the batch and the vocabulary.
    static let headRows = 2048
    static let headColumns = 4096
    /// Bytes of logits' exponentials that wait for the backward at most; beyond them logits are computed a second time.
    static let keptLogitBytes = 256 << 20

    /// How many scored rows' exponentials wait: whole chunks of rows, none where memory is to be saved: where activations are recomputed, or an adapter trains.
    static func keptHeadRows(_ scored: Int, vocabulary: Int, precision: Precision, recompute: Bool) -> Int {
        if recompute { return 0 }
        let fitting = keptLogitBytes / (vocabulary * (precision == .bf16 ? 2 : 4))
        return scored <= fitting ? scored : fitting / headRows * headRows
    }

    private var vocabularyBlocks: [Range<Int>] {
        stride(from: 0, to: config.vocabularySize, by: Transformer.headColumns).map { $0..<min($0 + Transformer.headColumns, config.vocabularySize) }
    }

    private func rowChunks(_ count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: Transformer.headRows).map { $0..<min($0 + Transformer.headRows, count) }
    }

    /// Gathers and normalises the hidden states that predict something.
    func predictorStates(_ batch: SegmentTree, _ final: Matrix) -> (raw: Matrix, normed: Operand, inverse: Matrix) {
        let (rows, d) = (batch.scoredTokenCount, config.hiddenSize)
        let raw = workspace.matrix("head.raw", rows: rows, columns: d)
        let normed = workspace.operand("head.normed", rows: rows, columns: d, precision: precision)
        let inverse = workspace.matrix("head.inverse", rows: 1, columns: rows)
        gatherRows(final, batch.predictors, into: raw, on: compute)
        rmsNorm(raw, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        return (raw, normed, inverse)
    }

    /// What is left of the logits of a chunk of rows and a block of the vocabulary.
    private func exponentials(_ chunk: Range<Int>, _ block: Range<Int>, isKept: Bool) -> (values: Operand, tops: Matrix) {
        let name = isKept ? "exponentials \(chunk.lowerBound) \(block.lowerBound)" : "exponentials"
        let pieces = (block.count + CrossEntropy.pieces.columns - 1) / CrossEntropy.pieces.columns
        return (
            workspace.operand(name, rows: chunk.count, columns: block.count, precision: precision),
            workspace.matrix(name + " tops", rows: chunk.count, columns: pieces)
        )
    }

    private func keptHeadRows(_ batch: SegmentTree) -> Int {
        Transformer.keptHeadRows(batch.scoredTokenCount, vocabulary: config.vocabularySize, precision: precision, recompute: recompute || isFrozen)
    }

    /// The language head of a model that has one.
    func languageHead() throws(ModelError) -> PackedLinear {
        guard let head else { throw .noLanguageHead(architecture: config.architecture) }
        return head
    }

    /// Log-probs of the scored tokens; logits exist only for them, and under bf16 only as long as a thread holds them in its cache.
    /// Read-outs beside them; a batch that asks for these alone costs nothing of the vocabulary.
    /// - Parameter keeps: What is left of the logits stays for `scoreBackward`, as far as `keptHeadRows` says.
    func score(_ batch: SegmentTree, _ final: Matrix, keeps: Bool) throws -> (scores: TokenScores, logSumExp: [Double]) {
        let readouts = try readOut(batch, final)
        guard batch.scoredTokenCount > 0 else {
            return (TokenScores(logProbs: Ragged(values: [], offsets: batch.rowOffsets), readouts: readouts), [])
        }
        let head = try languageHead()
        return compute.phase(.head) {
            var statistics = CrossEntropy(targets: batch.targets, temperature: batch.temperature)
            let normed = predictorStates(batch, final).normed
            let keptRows = keeps ? keptHeadRows(batch) : 0
            for chunk in rowChunks(batch.scoredTokenCount) {
                for block in vocabularyBlocks {
                    let kept = chunk.upperBound <= keptRows ? exponentials(chunk, block, isKept: true) : nil
                    statistics.collect(rows: chunk, first: block.lowerBound, tops: kept?.tops, on: compute) { add in
                        head.forward(normed.rows(chunk), outputs: block, into: kept?.values, pieces: CrossEntropy.pieces, on: compute, epilogue: add)
                    }
                }
            }
            var scores = TokenScores(
                logProbs: Ragged(values: statistics.logProbs, offsets: batch.rowOffsets), entropies: statistics.entropies, isArgmax: statistics.isArgmax,
                readouts: readouts)
            (scores.logSumSquares, scores.meanLogits) = (statistics.logSumSquares, statistics.meanLogits)
            return (scores, statistics.logSumExp)
        }
    }

    /// Backward of `score`: adds to the head's and final norm's gradients and to `dx` `[T, d]`.
    func scoreBackward(_ pending: PendingBackward, _ gradient: [Double], addingTo dx: Matrix) {
        guard let head, let block = layout.head else { preconditionFailure("log-probs of a model without a language head") }
        compute.phase(.head) {
            let batch = pending.batch
            let (rows, d) = (batch.scoredTokenCount, config.hiddenSize)
            let (raw, normed, inverse) = predictorStates(batch, pending.activations.final)
            let dNormed = workspace.matrix("head.dNormed", rows: rows, columns: d)
            let dHead = self.gradient(block)
            let keptRows = keptHeadRows(batch)
            for chunk in rowChunks(rows) {
                let targets = Array(batch.targets[chunk])
                let backward = CrossEntropyBackward(
                    targets: targets, logProbs: Array(pending.logProbs[chunk]), logSumExp: Array(pending.logSumExp[chunk]),
                    coefficients: gradient[chunk].map { $0 / batch.temperature })
                for block in vocabularyBlocks {
                    let isKept = chunk.upperBound <= keptRows
                    let (dLogits, tops) = exponentials(chunk, block, isKept: isKept)
                    if !isKept {
                        var again = CrossEntropy(targets: targets, temperature: batch.temperature)
                        again.collect(rows: 0..<chunk.count, first: block.lowerBound, tops: tops, on: compute) { add in
                            head.forward(normed.rows(chunk), outputs: block, into: dLogits, pieces: CrossEntropy.pieces, on: compute, epilogue: add)
                        }
                    }
                    backward.apply(to: dLogits, tops: tops, first: block.lowerBound, on: compute)
                    head.backwardInput(dLogits, outputs: block, into: Operand(dNormed.rows(chunk)), accumulate: block.lowerBound > 0, on: compute)
                    if let dHead { accumulateWeightGradient(dLogits, normed.rows(chunk), into: dHead.rows(block), on: compute) }
                }
            }
            addPredictorGradient(dNormed, raw: raw, inverse: inverse, batch, to: dx)
        }
    }

    /// Backward of `predictorStates`: adds to the final norm's gradient and to `dx` `[T, d]`.
    func addPredictorGradient(_ dNormed: Matrix, raw: Matrix, inverse: Matrix, _ batch: SegmentTree, to dx: Matrix) {
        let dRaw = workspace.matrix("head.dRaw", rows: raw.rows, columns: raw.columns)
        clear(dRaw, on: compute)
        rmsNormBackward(dNormed, x: raw, weight: finalNorm, inverse: inverse, addingTo: dRaw, dWeight: gradient(layout.finalNorm), on: compute)
        scatterAddRows(dRaw, batch.predictors, into: dx, on: compute)
    }

    /// Logits `[rows, V]` of hidden states, for decoding.
    func logits(_ hidden: Matrix) throws(ModelError) -> Matrix {
        let head = try languageHead()
        let normed = workspace.operand("head.normed", rows: hidden.rows, columns: config.hiddenSize, precision: precision)
        let inverse = workspace.matrix("head.inverse", rows: 1, columns: hidden.rows)
        rmsNorm(hidden, weight: finalNorm, into: normed, inverse: inverse, epsilon: config.normEpsilon, on: compute)
        let logits = workspace.matrix("logits", rows: hidden.rows, columns: config.vocabularySize)
        head.forward(normed, into: Operand(logits), on: compute)
        return logits
    }
}
