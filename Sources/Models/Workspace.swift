import Tensors

/// Matrices that are reused from call to call: memory grows to the largest batch seen and stays there.
///
/// A large buffer is reserved at twice the size asked for: pages are the system's until they are touched, so this costs
/// addresses only, and a slightly larger batch needs no new, zeroed memory.
struct Workspace {
    private var buffers: [String: FloatBuffer] = [:]

    /// A `[rows, columns]` matrix under `name`; what it held before is gone.
    mutating func matrix(_ name: String, rows: Int, columns: Int) -> Matrix {
        let needed = rows * columns
        if let buffer = buffers[name], buffer.count >= needed {
            return Matrix(buffer: buffer, offset: 0, rows: rows, columns: columns, stride: columns)
        }
        buffers[name] = nil  // freed before the larger one is taken
        let buffer = FloatBuffer(count: needed > 1 << 20 ? 2 * needed : max(needed, 16))
        buffers[name] = buffer
        return Matrix(buffer: buffer, offset: 0, rows: rows, columns: columns, stride: columns)
    }

    /// Rows that a product takes, under `name`.
    mutating func operand(_ name: String, rows: Int, columns: Int, precision: Precision) -> Operand {
        let whole = matrix(name, rows: 1, columns: Operand.floats(rows: rows, columns: columns, precision: precision))
        return Operand(buffer: whole.buffer, offset: 0, rows: rows, columns: columns, precision: precision)
    }

    /// Several of them in one buffer under `name`: fewer half-used pages than a buffer for each.
    mutating func operands(_ name: String, _ shapes: [(rows: Int, columns: Int, precision: Precision)]) -> [Operand] {
        // Each begins at a cache line.
        let sizes = shapes.map { (Operand.floats(rows: $0.rows, columns: $0.columns, precision: $0.precision) + 15) / 16 * 16 }
        let whole = matrix(name, rows: 1, columns: sizes.reduce(0, +))
        var offset = 0
        return zip(shapes, sizes).map { shape, size in
            defer { offset += size }
            return Operand(buffer: whole.buffer, offset: offset, rows: shape.rows, columns: shape.columns, precision: shape.precision)
        }
    }
}

/// What a layer's backward needs of its forward.
struct LayerActivations {
    /// Residual stream before the layer, `[T, d]`, and after attention.
    let input, middle: Matrix
    /// Reciprocal root mean squares of the two norms, `[1, T]`.
    let inverse1, inverse2: Matrix
    /// Rotated q and k, and v, side by side.
    let queryKeyValue: Operand
    /// Attention's output before Wo.
    let attended: Operand
    /// Attention's log-sum-exp, `[heads, T]`.
    let logSumExp: Matrix
    /// Gate and up before the activation, `[T, 2·intermediate]`.
    let gateUp: Operand
}

/// What a run through all layers leaves.
struct KeptActivations {
    /// Of each layer; empty where no backward follows.
    var layers: [LayerActivations] = []
    /// The last layer, where not all of its rows were computed.
    var last: LastLayer?
    /// The residual stream after the last layer, in the rows that are read.
    var final: Matrix
}

/// The state between `logProbs` and `backward`.
struct PendingBackward {
    let batch: SegmentTree
    let activations: KeptActivations
    /// Of each scored token, and of its distribution, in nats.
    let logProbs, logSumExp: [Double]
    /// Of the adapter's dropout; nil without.
    let dropoutKeys: [UInt64]?
}
