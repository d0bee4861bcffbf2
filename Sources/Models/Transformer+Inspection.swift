import Checkpoints
import Tensors

// What a model says in full, for checking it against another implementation: training and sampling need less.
extension Transformer {
    /// Logits `[T, V]` of one document's tokens, each predicting the one after it.
    public func logits(of tokens: [Int32]) throws -> Matrix {
        var batch = SegmentTree()
        _ = batch.append(tokens)
        return copied(try logits(try run(batch, keeps: false, reads: nil).final))
    }

    /// Logits `[n, V]` from which a decoder takes each token of `continuation`; see `Decoder.logits`.
    public func decodingLogits(prompt: [Int32], continuation: [Int32]) throws -> Matrix {
        try Decoder(self).logits(prompt: prompt, continuation: continuation)
    }

    /// Workspace matrices are overwritten by the next call.
    private func copied(_ matrix: Matrix) -> Matrix {
        let copy = Matrix(rows: matrix.rows, columns: matrix.columns)
        for row in 0..<matrix.rows {
            (copy.pointer + row * copy.stride).update(from: matrix.pointer + row * matrix.stride, count: matrix.columns)
        }
        return copy
    }
}

extension Decoder {
    /// Logits `[n, V]` from which each token of `continuation` is taken: the prompt is read at once, then every token but the last alone.
    public func logits(prompt: [Int32], continuation: [Int32]) throws -> Matrix {
        let result = Matrix(rows: continuation.count, columns: config.vocabularySize)
        guard let first = continuation.first else { return result }
        let cache = makeCache(blocks: DecodingCache.blocks(prompt.count) + DecodingCache.blocks(continuation.count))
        plan(sequences: 1, keys: prompt.count + continuation.count)
        var (pack, promptRows, ownRows) = (PromptPack(), DecodingCache.Chain(), DecodingCache.Chain())
        pack.append(prompt[...], to: &promptRows, of: cache, isEnd: true)
        result.pointer.update(from: try read(pack, into: cache).pointer, count: result.columns)
        var token = first
        for row in continuation.indices.dropFirst() {
            beginStep()
            try check([token])
            add(token, prompt: promptRows, own: &ownRows, of: cache)
            (result.pointer + row * result.stride).update(from: step(cache).pointer, count: result.columns)
            token = continuation[row]
        }
        return result
    }
}
