import Tensors

/// Matrices that are reused from call to call: memory grows to the largest batch seen and stays there.
struct Workspace {
    private var buffers: [String: FloatBuffer] = [:]

    /// A `[rows, columns]` matrix under `name`; what it held before is gone.
    mutating func matrix(_ name: String, rows: Int, columns: Int) -> Matrix {
        let needed = rows * columns
        if let buffer = buffers[name], buffer.count >= needed {
            return Matrix(buffer: buffer, offset: 0, rows: rows, columns: columns, stride: columns)
        }
        buffers[name] = nil  // freed before the larger one is taken
        let buffer = FloatBuffer(count: max(needed, 16))
        buffers[name] = buffer
        return Matrix(buffer: buffer, offset: 0, rows: rows, columns: columns, stride: columns)
    }
}

/// What a layer's backward needs of its forward.
struct LayerActivations {
    /// Residual stream before the layer, `[T, d]`, and after attention.
    let input, middle: Matrix
    /// Reciprocal root mean squares of the two norms, `[1, T]`.
    let inverse1, inverse2: Matrix
    /// Rotated q and k, and v, side by side.
    let queryKeyValue: Matrix
    /// Attention's output before Wo, and its log-sum-exp `[heads, T]`.
    let attended, logSumExp: Matrix
    /// Gate and up before the activation, `[T, 2·intermediate]`.
    let gateUp: Matrix
}

/// The state between `logProbs` and `backward`.
struct PendingBackward {
    let batch: SegmentTree
    let layers: [LayerActivations]
    /// The residual stream after the last layer.
    let final: Matrix
    let logSumExp: [Double]
}
