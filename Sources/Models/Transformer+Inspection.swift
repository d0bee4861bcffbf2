import Checkpoints
import Tensors

// What a model says in full, for checking it against another implementation: training and sampling need less.
extension Transformer {
    /// A checkpoint's weights under another configuration, such as one without its rotary scaling.
    public convenience init(_ checkpoint: Checkpoint, config: ModelConfig, compute: Compute, precision: Precision) throws {
        try self.init(config, compute: compute, precision: precision, trains: false, recompute: false) { parameter, values in
            try checkpoint.read(parameter.name, into: values)
        }
    }

    /// Logits `[T, V]` of one document's tokens, each predicting the one after it.
    public func logits(of tokens: [Int32]) throws -> Matrix {
        var batch = SegmentTree()
        _ = batch.append(tokens)
        return copied(logits(try run(batch, keeps: false).final))
    }

    /// Logits `[n, V]` from which a decoder with a cache takes each token of `continuation`: the prompt is computed once,
    /// then every token but the last alone.
    public func decodingLogits(prompt: [Int32], continuation: [Int32]) throws -> Matrix {
        let result = Matrix(rows: continuation.count, columns: config.vocabularySize)
        let cache = KeyValueCache(layers: config.layers, rows: prompt.count + continuation.count, width: keyValueWidth, precision: precision)
        var (tokens, first) = (prompt, 0)
        for row in continuation.indices {
            guard let own = cache.reserve(tokens.count) else { preconditionFailure("a cache of \(cache.rows) rows is too small for the \(first + tokens.count) it was made for") }
            let keys = first > 0 ? [0..<first, own] : [own]
            let hidden = try extend([Extension(tokens: tokens, firstPosition: first, keys: keys)], cache: cache)
            let logits = logits(hidden)
            (result.pointer + row * result.stride).update(from: logits.pointer, count: logits.columns)
            first += tokens.count
            tokens = [continuation[row]]
        }
        return result
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
