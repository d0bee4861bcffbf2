import Tensors

/// Prompts on their way into a cache: whole, one after the other, or the next piece of a long one.
struct PromptPack {
    private(set) var tokens: [Int32] = []
    private(set) var positions: [Int32] = []
    private(set) var cacheRows: [Int] = []
    /// Row of each last token, of the prompts that end in this pack.
    private(set) var last: [Int32] = []
    private var pieces: [(range: Range<Int>, before: Int, chain: DecodingCache.Chain)] = []

    /// Appends tokens of a prompt.
    /// - Parameters:
    ///   - chain: Rows of what was read of the prompt before, which grows by these tokens'.
    ///   - isEnd: Whether the prompt ends with them.
    mutating func append(_ piece: ArraySlice<Int32>, to chain: inout DecodingCache.Chain, of cache: DecodingCache, isEnd: Bool) {
        precondition(!piece.isEmpty, "an empty piece of a prompt")
        let (range, before) = (tokens.count..<tokens.count + piece.count, chain.count)
        tokens += piece
        positions += (0..<piece.count).map { Int32(before + $0) }
        for _ in piece { cacheRows.append(chain.grow(cache)) }
        pieces.append((range, before, chain))
        if isEnd { last.append(Int32(range.upperBound - 1)) }
    }

    /// How the pack attends: to keys where products leave them, or, if some were read earlier, to all keys as the cache has them.
    func plan(_ cache: DecodingCache) -> AttentionPlan {
        guard pieces.contains(where: { $0.before > 0 }) else {
            let segments = pieces.map { AttentionSegment(queries: $0.range, keys: [$0.range]) }
            return AttentionPlan(segments: segments, cache: cache, cacheRows: cacheRows)
        }
        var (segments, chains, row) = ([AttentionSegment](), [[DecodingCache.RowRange]](), 0)
        for piece in pieces {
            let own = row + piece.before..<row + piece.before + piece.range.count
            segments.append(AttentionSegment(queries: piece.range, keys: piece.before > 0 ? [row..<own.lowerBound, own] : [own]))
            chains.append(piece.chain.ranges)
            row = own.upperBound
        }
        return AttentionPlan(segments: segments, cache: cache, cacheRows: cacheRows, chains: chains, chainRows: row)
    }
}

/// Who attends to what, and a cache that takes the keys and values for decoding to go on from.
struct AttentionPlan {
    var segments: [AttentionSegment]
    var cache: DecodingCache?
    /// Row of the cache for each row of the pack.
    var cacheRows: [Int] = []
    /// Chains whose keys and values come out of the cache again, one under the other: rows that the segments' keys are counted in. Empty: those of the pack.
    var chains: [[DecodingCache.RowRange]] = []
    var chainRows = 0

    /// Leaves the pack's keys and values in the cache; returns those that the segments attend to.
    func keys(_ k: Operand, _ v: Operand, layer: Int, workspace: inout Workspace, on compute: Compute) -> (k: Operand, v: Operand) {
        guard let cache else { return (k, v) }
        cache.store(k, v, layer: layer, rows: cacheRows, on: compute)
        guard !chains.isEmpty else { return (k, v) }
        let all = workspace.operands("chains", [(chainRows, k.columns, k.precision), (chainRows, k.columns, k.precision)])
        var first = 0
        for chain in chains {
            cache.load(chain, layer: layer, into: all[0], all[1], first: first, on: compute)
            first += chain.reduce(0) { $0 + $1.count }
        }
        return (all[0], all[1])
    }
}

extension Transformer {
    /// Runs prompts through the training kernels, leaves their keys and values in the cache, and returns the hidden states
    /// `[prompts, d]` of the last tokens.
    func read(_ pack: PromptPack, into cache: DecodingCache) throws -> Matrix {
        try check(pack.tokens, pack.positions)
        reserveRotations(pack.positions)
        let plan = pack.plan(cache)
        let rotation = rotation(pack.positions)
        let d = config.hiddenSize
        var x = workspace.matrix("x0", rows: pack.tokens.count, columns: d)
        embed(pack.tokens, into: x)
        let reads = RowsRead(pack.last, of: pack.tokens.count)
        for index in layers.indices {
            let a = activations("shared", rows: pack.tokens.count, input: x)
            x = workspace.matrix("x\((index + 1) % 2)", rows: pack.tokens.count, columns: d)
            if let reads, index == layers.count - 1 {
                _ = forwardLast(reads, a, rotation: rotation, plan: plan, into: x)
            } else {
                forward(index, a, rotation: rotation, plan: plan, into: x)
            }
        }
        let hidden = workspace.matrix("last", rows: pack.last.count, columns: d)
        gatherRows(x, pack.last, into: hidden, on: compute)
        return hidden
    }
}
