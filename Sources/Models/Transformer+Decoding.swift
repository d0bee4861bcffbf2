import Tensors

/// Prompts on their way into a cache: whole, one after the other.
struct PromptPack {
    private(set) var tokens: [Int32] = []
    private(set) var positions: [Int32] = []
    private(set) var segments: [AttentionSegment] = []
    private(set) var cacheRows: [Int] = []
    /// Row of each prompt's last token.
    private(set) var last: [Int32] = []

    mutating func append(_ prompt: [Int32], rows: Range<Int>) {
        precondition(!prompt.isEmpty && rows.count == prompt.count, "\(prompt.count) tokens into rows \(rows)")
        let range = tokens.count..<tokens.count + prompt.count
        segments.append(AttentionSegment(queries: range, keys: [range]))
        tokens += prompt
        positions += prompt.indices.map { Int32($0) }
        cacheRows += Array(rows)
        last.append(Int32(range.upperBound - 1))
    }
}

extension Transformer {
    /// Runs prompts through the training kernels, leaves their keys and values in the cache, and returns the hidden states
    /// `[prompts, d]` of their last tokens.
    func read(_ pack: PromptPack, into cache: DecodingCache) throws -> Matrix {
        try check(pack.tokens, pack.positions)
        reserveRotations(pack.positions)
        let plan = AttentionPlan(segments: pack.segments, cache: cache, cacheRows: pack.cacheRows)
        let rotation = rotation(pack.positions)
        let d = config.hiddenSize
        var x = workspace.matrix("x0", rows: pack.tokens.count, columns: d)
        embed(pack.tokens, into: x)
        for index in layers.indices {
            let a = activations(-1, rows: pack.tokens.count, input: x)
            x = workspace.matrix("x\((index + 1) % 2)", rows: pack.tokens.count, columns: d)
            forward(index, a, rotation: rotation, plan: plan, into: x)
        }
        let hidden = workspace.matrix("last", rows: pack.last.count, columns: d)
        gatherRows(x, pack.last, into: hidden, on: compute)
        return hidden
    }
}
