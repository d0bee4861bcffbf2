import CAlign

/// What attention needs to know of a model's layer.
public struct AttentionShape: Sendable {
    public var heads: Int
    public var keyValueHeads: Int
    public var headSize: Int
    /// Multiplies q·k.
    public var scale: Double
    /// c of c·tanh(s/c) on scaled scores; nil: none.
    public var softCap: Double?
    /// Keys that a query sees, itself included; nil: all.
    public var window: Int?
    public init(heads: Int, keyValueHeads: Int, headSize: Int, scale: Double, softCap: Double? = nil, window: Int? = nil) {
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headSize = headSize
        self.scale = scale
        self.softCap = softCap
        self.window = window
    }
    var group: Int { heads / keyValueHeads }
}

/// Queries that attend to a chain of key ranges (root first, their own rows last) and causally among themselves.
public struct AttentionSegment: Sendable {
    /// Rows of q.
    public var queries: Range<Int>
    /// Rows of k and v; the last range is the queries' own and as long as `queries`.
    public var keys: [Range<Int>]
    public init(queries: Range<Int>, keys: [Range<Int>]) {
        precondition(keys.last?.count == queries.count, "the last key range \(String(describing: keys.last)) must be the queries' own \(queries)")
        self.queries = queries
        self.keys = keys
    }
    var chainLength: Int { keys.reduce(0) { $0 + $1.count } }

    fileprivate func withC(_ body: (UnsafePointer<align_attention_segment>) -> Void) {
        let starts = keys.map { Int32($0.lowerBound) }
        let counts = keys.map { Int32($0.count) }
        starts.withUnsafeBufferPointer { starts in
            counts.withUnsafeBufferPointer { counts in
                var segment = align_attention_segment()
                segment.query_start = Int32(queries.lowerBound)
                segment.query_count = Int32(queries.count)
                segment.ranges = Int32(keys.count)
                segment.range_start = starts.baseAddress
                segment.range_count = counts.baseAddress
                body(&segment)
            }
        }
    }
}

extension AttentionShape {
    fileprivate func c(q: Operand, k: Operand, v: Operand) -> align_attention {
        precondition(q.columns == heads * headSize && k.columns == keyValueHeads * headSize && v.columns == k.columns && k.stride == v.stride
            && k.precision == q.precision && v.precision == q.precision,
            "q \(q.columns), k \(k.columns), v \(v.columns) for \(heads)/\(keyValueHeads) heads of \(headSize)")
        var a = align_attention()
        a.q = UnsafeRawPointer(q.raw)
        a.k = UnsafeRawPointer(k.raw)
        a.v = UnsafeRawPointer(v.raw)
        a.q_stride = q.stride
        a.kv_stride = k.stride
        a.heads = Int32(heads)
        a.kv_heads = Int32(keyValueHeads)
        a.head_size = Int32(headSize)
        a.scale = Float(scale)
        a.soft_cap = Float(softCap ?? 0)
        a.window = Int32(window ?? 0)
        return a
    }
}

/// softmax(scale · q·kᵀ) · v for every segment, grouped-query heads; memory linear in a chain's length.
/// - Parameters:
///   - q: `[rows, heads · headSize]`; k, v: `[key rows, keyValueHeads · headSize]`; all of one type.
///   - out: `[rows, heads · headSize]` of the same type, overwritten for the segments' rows.
///   - logSumExp: `[heads, rows]`, kept for the backward.
public func attention(
    _ shape: AttentionShape, q: Operand, k: Operand, v: Operand, segments: [AttentionSegment], into out: Operand, logSumExp: Matrix, on compute: Compute
) {
    precondition(out.precision == q.precision && out.columns == q.columns, "out \(out.columns) of \(out.precision) for q \(q.columns) of \(q.precision)")
    compute.phase(.attention) {
        let a = shape.c(q: q, k: k, v: v)
        let table = compute.path.elementwise
        let run = q.precision == .bf16 ? table.pointee.attention_half! : table.pointee.attention!
        let longest = segments.map(\.chainLength).max() ?? 0
        let floats = align_attention_scratch(Int32(longest), Int32(shape.headSize), 0)
        out.clearPadding()
        compute.parallel(segments.count * shape.keyValueHeads) { task in
            let (segment, group) = (segments[task / shape.keyValueHeads], task % shape.keyValueHeads)
            compute.withScratch(floats) { scratch in
                segment.withC { segment in
                    withUnsafePointer(to: a) {
                        run($0, segment, Int32(group), out.raw, out.stride, logSumExp.pointer, logSumExp.stride, scratch, compute.kernels)
                    }
                }
            }
        }
    }
}

/// Backward of `attention`: writes dq, adds to dk and dv, all fp32.
/// - Parameter trees: Segments whose keys overlap stand in one list and are treated in its order, so that sums over a
///   shared prefix have one order; lists are independent of each other.
public func attentionBackward(
    _ shape: AttentionShape, q: Operand, k: Operand, v: Operand, trees: [[AttentionSegment]], out: Operand, dOut: Operand, logSumExp: Matrix,
    dq: Matrix, dk: Matrix, dv: Matrix, on compute: Compute
) {
    precondition(dOut.stride == out.stride && dk.stride == dv.stride && out.precision == q.precision && dOut.precision == q.precision,
        "strides \(out.stride), \(dOut.stride), \(dk.stride), \(dv.stride)")
    compute.phase(.attentionBackward) {
        let a = shape.c(q: q, k: k, v: v)
        let table = compute.path.elementwise
        let run = q.precision == .bf16 ? table.pointee.attention_backward_half! : table.pointee.attention_backward!
        let longest = trees.joined().map(\.chainLength).max() ?? 0
        let floats = align_attention_scratch(Int32(longest), Int32(shape.headSize), 1)
        compute.parallel(trees.count * shape.keyValueHeads) { task in
            let group = task % shape.keyValueHeads
            compute.withScratch(floats) { scratch in
                for segment in trees[task / shape.keyValueHeads] {
                    segment.withC { segment in
                        withUnsafePointer(to: a) {
                            run($0, segment, Int32(group), out.raw, dOut.raw, out.stride, logSumExp.pointer,
                                logSumExp.stride, dq.pointer, dk.pointer, dv.pointer, dq.stride, dk.stride, scratch, compute.kernels)
                        }
                    }
                }
            }
        }
    }
}
