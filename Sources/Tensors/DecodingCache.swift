import CAlign

/// Rotated keys and values of every layer, in the order in which one query reads them; blocks are shared by several sequences.
///
/// Keys lie in blocks of 32, `[rows/32][heads][headSize][32]`, so that an instruction meets 16 of them; values lie row by row in
/// blocks of the same size, `[rows/32][heads][32][headSize]`: what one head reads of a block is one piece of memory.
/// Blocks are handed out one by one and come back one by one: a sequence takes them as it grows, and samples of one prompt
/// share the prompt's. Under bf16 keys and values are bf16, as products leave them: nothing is lost, memory is half.
public final class DecodingCache: @unchecked Sendable {  // tasks write the rows and heads they were given
    public static let block = Int(align_panel_lanes)

    /// Blocks that `count` tokens of one owner take.
    public static func blocks(_ count: Int) -> Int { (count + block - 1) / block }

    /// Bytes of one block in all layers.
    public static func blockBytes(layers: Int, keyValueHeads: Int, headSize: Int, precision: Precision) -> Int {
        2 * layers * block * keyValueHeads * headSize * (precision == .bf16 ? 2 : 4)
    }

    public let blocks: Int
    public let precision: Precision
    private let heads: Int
    private let headSize: Int
    /// Of all layers, one after the other.
    private let keys: FloatBuffer
    private let values: FloatBuffer
    private let layerFloats: Int
    private var next = 0
    private var returned: [Int] = []

    /// Memory is the system's until a block is first written.
    public init(layers: Int, blocks: Int, keyValueHeads: Int, headSize: Int, precision: Precision) {
        (self.blocks, heads, self.headSize, self.precision) = (blocks, keyValueHeads, headSize, precision)
        layerFloats = blocks * DecodingCache.block * keyValueHeads * headSize / (precision == .bf16 ? 2 : 1)
        keys = FloatBuffer(count: layers * layerFloats)
        values = FloatBuffer(count: layers * layerFloats)
        returned.reserveCapacity(blocks)
    }

    /// Blocks that nobody holds.
    public var free: Int { blocks - next + returned.count }

    /// Takes a block, of those that were used before if there are any; its first row.
    public func take() -> Int {
        if let row = returned.popLast() { return row }
        precondition(next < blocks, "all \(blocks) blocks of the cache are taken")
        defer { next += 1 }
        return next * DecodingCache.block
    }

    /// Gives back the blocks of a chain that nobody reads any more.
    public func giveBack(_ chain: Chain) {
        // Last first, so that the next owner meets them in order and reads them as one run.
        for range in chain.ranges.reversed() {
            for row in stride(from: range.start, to: range.start + range.count, by: DecodingCache.block).reversed() { returned.append(row) }
        }
    }

    /// Rows that follow each other in memory, from a block's start.
    public struct RowRange: Sendable, Equatable {
        public var start: Int
        public var count: Int
    }

    /// The rows of one owner's tokens, in the tokens' order.
    public struct Chain: Sendable {
        public private(set) var ranges: [RowRange] = []
        public private(set) var count = 0
        public init() {}

        /// Makes room for one more token.
        /// - Returns: Its row.
        public mutating func grow(_ cache: DecodingCache) -> Int {
            defer { count += 1 }
            if count % DecodingCache.block != 0 {
                ranges[ranges.count - 1].count += 1
                return ranges[ranges.count - 1].start + ranges[ranges.count - 1].count - 1
            }
            let row = cache.take()
            if let last = ranges.last, last.start + last.count == row {
                ranges[ranges.count - 1].count += 1
            } else {
                ranges.append(RowRange(start: row, count: 1))
            }
            return row
        }
    }

    // MARK: Reading prompts

    /// Takes the keys and values `[n, heads · headSize]` of a pack; row i goes to `rows[i]`.
    public func store(_ k: Operand, _ v: Operand, layer: Int, rows: [Int], on compute: Compute) {
        let width = heads * headSize
        precondition(k.rows == rows.count && k.columns == width && v.columns == width, "k [\(k.rows), \(k.columns)] for \(rows.count) rows of \(width)")
        compute.forEachRowBlock(rows.count, size: 32) { block in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * width) { pair in
                let (key, value) = (pair.baseAddress!, pair.baseAddress! + width)
                for i in block {
                    k.load(key, stride: width, rows: i..<i + 1, columns: 0..<width, compute.kernels)
                    v.load(value, stride: width, rows: i..<i + 1, columns: 0..<width, compute.kernels)
                    for head in 0..<heads {
                        store(key: key + head * headSize, value: value + head * headSize, layer: layer, row: rows[i], head: head, compute.kernels)
                    }
                }
            }
        }
    }

    private func layerKeys(_ layer: Int) -> UnsafeMutablePointer<Float> { keys.base + layer * layerFloats }
    private func layerValues(_ layer: Int) -> UnsafeMutablePointer<Float> { values.base + layer * layerFloats }

    /// Elements before a block's part for one head, of keys as of values.
    private func start(_ row: Int, _ head: Int) -> Int { (row / DecodingCache.block * heads + head) * headSize * DecodingCache.block }

    private func store(key: UnsafePointer<Float>, value: UnsafePointer<Float>, layer: Int, row: Int, head: Int, _ kernels: UnsafePointer<align_kernels>) {
        let block = DecodingCache.block
        let at = start(row, head) + row % block, place = start(row, head) + row % block * headSize
        guard precision == .bf16 else {
            let target = layerKeys(layer) + at
            for i in 0..<headSize { target[i * block] = key[i] }
            (layerValues(layer) + place).update(from: value, count: headSize)
            return
        }
        kernels.pointee.to_bf16(value, layerValues(layer).halves + place, Int32(headSize), Int32(headSize))
        withUnsafeTemporaryAllocation(of: UInt16.self, capacity: headSize) { halves in
            kernels.pointee.to_bf16(key, halves.baseAddress!, Int32(headSize), Int32(headSize))
            let target = layerKeys(layer).halves + at
            for i in 0..<headSize { target[i * block] = halves[i] }
        }
    }

    /// Copies a chain's keys and values to rows of `k` and `v` from `first` on, for prompts that are read in pieces.
    public func load(_ chain: [RowRange], layer: Int, into k: Operand, _ v: Operand, first: Int, on compute: Compute) {
        let width = heads * headSize, block = DecodingCache.block
        precondition(k.columns == width && v.columns == width && k.precision == precision, "k of \(k.columns) \(k.precision) for \(width) \(precision)")
        var pieces: [(row: Int, count: Int, target: Int)] = []
        var target = first
        for range in chain {
            for start in stride(from: 0, to: range.count, by: block) {
                pieces.append((range.start + start, min(block, range.count - start), target))
                target += pieces.last!.count
            }
        }
        precondition(target <= k.rows, "\(target) rows into \(k.rows)")
        compute.parallel(pieces.count) { index in
            let piece = pieces[index]
            func copy<Element>(_ from: (keys: UnsafePointer<Element>, values: UnsafePointer<Element>), _ to: (k: UnsafeMutablePointer<Element>, v: UnsafeMutablePointer<Element>)) {
                for i in 0..<piece.count {
                    let row = piece.row + i, at = (piece.target + i) * k.stride
                    for head in 0..<heads {
                        let place = start(row, head), source = from.keys + place + row % block
                        for j in 0..<headSize { to.k[at + head * headSize + j] = source[j * block] }
                        (to.v + (piece.target + i) * v.stride + head * headSize).update(from: from.values + place + row % block * headSize, count: headSize)
                    }
                }
            }
            switch precision {
            case .fp32: copy((UnsafePointer(layerKeys(layer)), UnsafePointer(layerValues(layer))), (k.floats, v.floats))
            case .bf16: copy((UnsafePointer(layerKeys(layer).halves), UnsafePointer(layerValues(layer).halves)), (k.halves, v.halves))
            }
        }
    }

    // MARK: Steps

    /// The newest tokens of the sequences that take a step together: where each stands, and the rows of all that it sees.
    public struct Queries: Sendable {
        struct Query: Sendable {
            var position: Int
            var row: Int
            var ranges: Range<Int>
        }
        var list: [Query] = []
        var ranges: [align_row_range] = []
        var keys = 0
        public private(set) var lastPosition = 0
        public init() {}

        public var count: Int { list.count }

        public mutating func reserve(_ queries: Int) {
            list.reserveCapacity(queries)
            ranges.reserveCapacity(4 * queries)
        }

        public mutating func removeAll() {
            list.removeAll(keepingCapacity: true)
            ranges.removeAll(keepingCapacity: true)
            (keys, lastPosition) = (0, 0)
        }

        /// - Parameters:
        ///   - row: The token's own, the last of `own`.
        public mutating func append(row: Int, prompt: Chain, own: Chain) {
            let first = ranges.count
            for range in prompt.ranges { ranges.append(align_row_range(start: Int32(range.start), count: Int32(range.count))) }
            for range in own.ranges { ranges.append(align_row_range(start: Int32(range.start), count: Int32(range.count))) }
            let position = prompt.count + own.count - 1
            list.append(Query(position: position, row: row, ranges: first..<ranges.count))
            keys += position + 1
            lastPosition = max(lastPosition, position)
        }
    }

    /// Floats of scores that `attend` needs for each query and key/value head, for chains of up to `keys` keys.
    public static func scoreFloats(_ shape: AttentionShape, keys: Int) -> Int { min(shape.group, 4) * (keys + block) }

    /// Rotates the queries' q and k, takes their keys and values into the cache, and lets each attend to its chain.
    ///
    /// The sums are those of `attention` over fp32 rows, to the bit.
    /// - Parameters:
    ///   - queryKeyValue: `[n, (heads + 2 · keyValueHeads) · headSize]`, a row a query; q and k are rotated in place.
    ///   - rounds: Whether rotated q, k and v are rounded to bf16, as products leave them under bf16.
    ///   - scores: `scoreFloats` for each query and key/value head.
    ///   - out: `[n, heads · headSize]`.
    public func attend(
        _ shape: AttentionShape, layer: Int, queries: Queries, queryKeyValue: Matrix, cosines: Matrix, sines: Matrix, rounds: Bool, scores: FloatBuffer,
        scoreFloats: Int, into out: Matrix, on compute: Compute
    ) {
        compute.phase(.attention) {
            let (table, rope, kernels) = (compute.path.stored, compute.path.elementwise.pointee.rope!, compute.kernels)
            let (group, d, width) = (shape.group, headSize, heads * headSize)
            var c = align_cache_layer()
            c.k = UnsafeRawPointer(layerKeys(layer))
            c.v = UnsafeRawPointer(layerValues(layer))
            c.half = precision == .bf16 ? 1 : 0
            (c.kv_heads, c.head_size) = (Int32(heads), Int32(d))
            (c.scale, c.soft_cap, c.window) = (Float(shape.scale), Float(shape.softCap ?? 0), Int32(shape.window ?? 0))
            let cache = c
            queries.ranges.withUnsafeBufferPointer { ranges in
                func body(_ task: Int) {
                    let (i, head) = (task / heads, task % heads)
                    let query = queries.list[i]
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
                    store(key: k, value: v, layer: layer, row: query.row, head: head, kernels)
                    withUnsafePointer(to: cache) {
                        table.pointee.attend($0, Int32(head), Int32(group), q, ranges.baseAddress! + query.ranges.lowerBound, Int32(query.ranges.count),
                            out.pointer + i * out.stride + head * group * d, scores.base + task * scoreFloats)
                    }
                }
                // Waking the others takes longer than a few thousand keys do.
                if queries.keys * shape.heads * d < 1 << 16 {
                    for task in 0..<queries.count * heads { body(task) }
                } else {
                    compute.parallel(queries.count * heads, body)
                }
            }
        }
    }
}
