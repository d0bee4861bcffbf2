import CAlign

/// Rotated keys and values of every layer, fp32, in the order in which one query reads them; rows are shared by several sequences.
///
/// Keys lie in blocks of 32, `[rows/32][heads][headSize][32]`, so that an instruction meets 16 of them; values lie row by row.
/// Rows are handed out in whole blocks to one owner each; a sequence is its prompt's rows and its own, so that samples of
/// one prompt share the prompt's.
public final class DecodingCache: @unchecked Sendable {  // tasks write the rows and heads they were given
    public static let block = Int(align_panel_lanes)

    /// Rows that `count` tokens of one owner take.
    public static func rows(_ count: Int) -> Int { (count + block - 1) / block * block }

    public let rows: Int
    private let heads: Int
    private let headSize: Int
    private let keys: [FloatBuffer]
    private let values: [FloatBuffer]
    private var next = 0

    /// - Parameter rows: A multiple of `block`.
    public init(layers: Int, rows: Int, keyValueHeads: Int, headSize: Int) {
        precondition(rows % DecodingCache.block == 0, "\(rows) rows are not whole blocks")
        (self.rows, heads, self.headSize) = (rows, keyValueHeads, headSize)
        keys = (0..<layers).map { _ in FloatBuffer(count: rows * keyValueHeads * headSize) }
        values = (0..<layers).map { _ in FloatBuffer(count: rows * keyValueHeads * headSize) }
    }

    /// Takes `count` rows that follow each other, from a block's start; nil when the cache is full.
    public func reserve(_ count: Int) -> Range<Int>? {
        guard next + DecodingCache.rows(count) <= rows else { return nil }
        defer { next += DecodingCache.rows(count) }
        return next..<next + count
    }

    /// Takes the keys and values `[n, heads · headSize]` of a pack; row i goes to `rows[i]`.
    public func store(_ k: Operand, _ v: Operand, layer: Int, rows: [Int], on compute: Compute) {
        let width = heads * headSize
        precondition(k.rows == rows.count && k.columns == width && v.columns == width, "k [\(k.rows), \(k.columns)] for \(rows.count) rows of \(width)")
        compute.forEachRowBlock(rows.count, size: 32) { block in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { key in
                for i in block {
                    v.load(values[layer].base + rows[i] * width, stride: width, rows: i..<i + 1, columns: 0..<width, compute.kernels)
                    k.load(key.baseAddress!, stride: width, rows: i..<i + 1, columns: 0..<width, compute.kernels)
                    for head in 0..<heads { store(key: key.baseAddress! + head * headSize, layer: layer, row: rows[i], head: head) }
                }
            }
        }
    }

    private func store(key: UnsafePointer<Float>, layer: Int, row: Int, head: Int) {
        let block = DecodingCache.block
        let target = keys[layer].base + (row / block * heads + head) * headSize * block + row % block
        for i in 0..<headSize { target[i * block] = key[i] }
    }

    /// The newest token of a sequence: where it stands, and the rows of all that it sees.
    public struct Query: Sendable {
        public var position: Int
        public var prompt: Range<Int>
        /// The sequence's own rows so far, the last being this token's.
        public var own: Range<Int>
        public init(position: Int, prompt: Range<Int>, own: Range<Int>) {
            self.position = position
            self.prompt = prompt
            self.own = own
        }
    }

    /// Floats of scores that `attend` needs for each query and key/value head, for chains of up to `keys` keys.
    public static func scoreFloats(_ shape: AttentionShape, keys: Int) -> Int { min(shape.group, 4) * (keys + block) }

    /// Rotates the queries' q and k, takes their keys and values into the cache, and lets each attend to its chain.
    ///
    /// The sums are those of `attention` over fp32 rows, to the bit.
    /// - Parameters:
    ///   - queryKeyValue: `[n, (heads + 2 · keyValueHeads) · headSize]`, row i of `queries[i]`; q and k are rotated in place.
    ///   - rounds: Whether rotated q, k and v are rounded to bf16, as products leave them under bf16.
    ///   - scores: `scoreFloats` for each query and key/value head.
    ///   - out: `[n, heads · headSize]`.
    public func attend(
        _ shape: AttentionShape, layer: Int, queries: [Query], queryKeyValue: Matrix, cosines: Matrix, sines: Matrix, rounds: Bool, scores: FloatBuffer,
        scoreFloats: Int, into out: Matrix, on compute: Compute
    ) {
        compute.phase(.attention) {
            let (table, rope, kernels) = (compute.path.stored, compute.path.elementwise.pointee.rope!, compute.kernels)
            let (group, d, width) = (shape.group, headSize, heads * headSize)
            var c = align_cache_layer()
            c.k = UnsafePointer(keys[layer].base)
            c.v = UnsafePointer(values[layer].base)
            (c.kv_heads, c.head_size) = (Int32(heads), Int32(d))
            (c.scale, c.soft_cap, c.window) = (Float(shape.scale), Float(shape.softCap ?? 0), Int32(shape.window ?? 0))
            let cache = c
            var total = 0
            for query in queries { total += query.prompt.count + query.own.count }
            func body(_ task: Int) {
                let (i, head) = (task / heads, task % heads)
                let (query, own) = (queries[i], queries[i].own)
                let row = queryKeyValue.pointer + i * queryKeyValue.stride
                let (q, k, v) = (row + head * group * d, row + shape.heads * d + head * d, row + shape.heads * d + width + head * d)
                var position = Int32(query.position)
                rope(q, 0, &position, cosines.pointer, sines.pointer, 1, Int32(group), Int32(d), Int32(cosines.columns), 1)
                rope(k, 0, &position, cosines.pointer, sines.pointer, 1, 1, Int32(d), Int32(cosines.columns), 1)
                if rounds {
                    withUnsafeTemporaryAllocation(of: UInt16.self, capacity: group * d) { halves in
                        func round(_ values: UnsafeMutablePointer<Float>, _ count: Int) {
                            kernels.pointee.to_bf16(values, halves.baseAddress!, Int32(count), Int32(count))
                            kernels.pointee.from_bf16(halves.baseAddress!, values, Int32(count))
                        }
                        round(q, group * d)
                        round(k, d)
                        round(v, d)
                    }
                }
                let newest = own.upperBound - 1
                store(key: k, layer: layer, row: newest, head: head)
                (values[layer].base + newest * width + head * d).update(from: v, count: d)
                withUnsafeTemporaryAllocation(of: align_row_range.self, capacity: 2) { ranges in
                    ranges[0] = align_row_range(start: Int32(query.prompt.lowerBound), count: Int32(query.prompt.count))
                    ranges[1] = align_row_range(start: Int32(own.lowerBound), count: Int32(own.count))
                    withUnsafePointer(to: cache) {
                        table.pointee.attend($0, Int32(head), Int32(group), q, ranges.baseAddress!, 2, out.pointer + i * out.stride + head * group * d,
                            scores.base + task * scoreFloats)
                    }
                }
            }
            // Waking the others takes longer than a few thousand keys do.
            if total * shape.heads * d < 1 << 16 {
                for task in 0..<queries.count * heads { body(task) }
            } else {
                compute.parallel(queries.count * heads, body)
            }
        }
    }
}
