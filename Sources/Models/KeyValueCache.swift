import Tensors

/// Rotated keys and values of every layer, rows shared by several sequences.
///
/// Rows are handed out in blocks that belong to one owner each; a sequence is a list of row ranges, its prompt's first,
/// so that samples of one prompt share the prompt's rows.
final class KeyValueCache {
    let keys: [Operand]
    let values: [Operand]
    let rows: Int
    private var next = 0

    init(layers: Int, rows: Int, width: Int, precision: Precision) {
        self.rows = rows
        keys = (0..<layers).map { _ in Operand(rows: rows, columns: width, precision: precision) }
        values = (0..<layers).map { _ in Operand(rows: rows, columns: width, precision: precision) }
    }

    /// Takes `count` rows that follow each other; nil when the cache is full.
    func reserve(_ count: Int) -> Range<Int>? {
        guard next + count <= rows else { return nil }
        defer { next += count }
        return next..<next + count
    }

    func store(_ k: Operand, _ v: Operand, layer: Int, rows: [Int]) {
        for (i, row) in rows.enumerated() {
            keys[layer].copy(row: row, from: k, row: i)
            values[layer].copy(row: row, from: v, row: i)
        }
    }
}

extension Transformer {
    /// New tokens of one sequence, to be computed against what the cache holds of it.
    struct Extension {
        var tokens: [Int32]
        var firstPosition: Int
        /// Cache rows of everything before `tokens`, then of `tokens` themselves (as long as they are).
        var keys: [Range<Int>]
    }

    /// Runs new tokens of several sequences through the model, stores their keys and values, and returns the hidden
    /// state of each one's last token `[sequences, d]` — bit for bit what a full forward gives it.
    func extend(_ extensions: [Extension], cache: KeyValueCache) throws -> Matrix {
        var (tokens, positions) = ([Int32](), [Int32]())
        var plan = AttentionPlan(segments: [], cache: cache)
        var last: [Int32] = []
        for e in extensions {
            plan.segments.append(AttentionSegment(queries: tokens.count..<tokens.count + e.tokens.count, keys: e.keys))
            plan.cacheRows += Array(e.keys.last!)
            positions += e.tokens.indices.map { Int32(e.firstPosition + $0) }
            tokens += e.tokens
            last.append(Int32(tokens.count - 1))
        }
        try check(tokens, positions)
        reserveRotations(positions)
        let rotation = rotation(positions)
        let d = config.hiddenSize
        var x = workspace.matrix("x0", rows: tokens.count, columns: d)
        gatherRows(embedding, tokens, into: x, on: compute)
        for index in layers.indices {
            let a = activations(-1, rows: tokens.count, input: x)
            x = workspace.matrix("x\((index + 1) % 2)", rows: tokens.count, columns: d)
            forward(index, a, rotation: rotation, plan: plan, into: x)
        }
        let hidden = workspace.matrix("last", rows: last.count, columns: d)
        gatherRows(x, last, into: hidden, on: compute)
        return hidden
    }
}
