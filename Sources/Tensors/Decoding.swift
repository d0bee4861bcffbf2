import CAlign

/// Rotates the heads of fp32 rows in place; see `Rotation`.
public func rotate(_ x: Matrix, positions: [Int32], cosines: Matrix, sines: Matrix, headSize: Int, on compute: Compute) {
    precondition(x.columns % headSize == 0 && positions.count == x.rows, "x [\(x.rows), \(x.columns)] for heads of \(headSize), \(positions.count) positions")
    compute.phase(.elementwise) {
        let table = compute.path.elementwise
        positions.withUnsafeBufferPointer { positions in
            compute.forEachRowBlock(x.rows) { r in
                table.pointee.rope(x.pointer + r.lowerBound * x.stride, x.stride, positions.baseAddress! + r.lowerBound, cosines.pointer, sines.pointer,
                    Int32(r.count), Int32(x.columns / headSize), Int32(headSize), Int32(cosines.columns), 1)
            }
        }
    }
}

/// h = act(gate) ∘ up of fp32 rows, gate and up side by side `[rows, 2·d]`.
public func gated(_ gateUp: Matrix, into h: Matrix, gate: Gate, on compute: Compute) {
    precondition(gateUp.columns == 2 * h.columns && gateUp.rows == h.rows, "gateUp [\(gateUp.rows), \(gateUp.columns)], h [\(h.rows), \(h.columns)]")
    compute.phase(.elementwise) {
        let table = compute.path.elementwise
        compute.forEachRowBlock(h.rows, size: 4) { r in
            table.pointee.gated(gateUp.pointer + r.lowerBound * gateUp.stride, gateUp.stride, h.pointer + r.lowerBound * h.stride, h.stride,
                Int32(r.count), Int32(h.columns), gate.rawValue)
        }
    }
}

/// The softmax of one row of logits, before it is divided by its sum.
public struct SoftmaxKernel: Sendable {
    // A constant of the C target.
    private nonisolated(unsafe) let table: UnsafePointer<align_stored>
    public init(_ path: KernelPath) { table = path.stored }

    /// weights ← e^((z − max z)·inverse), where they are wanted.
    /// - Returns: Their sum, and the lowest index of the largest logit.
    public func weights(_ z: UnsafeBufferPointer<Float>, inverse: Double, into weights: UnsafeMutablePointer<Float>?) -> (total: Double, best: Int) {
        var best: Int32 = 0
        let total = table.pointee.softmax_weights(z.baseAddress!, Int32(z.count), Float(inverse), weights, &best)
        return (total, Int(best))
    }

    /// Writes the weights of at least `least`, in order, with their indices.
    /// - Returns: How many there are; more than fit are counted and left out.
    public func atLeast(
        _ least: Float, of weights: UnsafeBufferPointer<Float>, values: UnsafeMutableBufferPointer<Float>, indices: UnsafeMutableBufferPointer<Int32>
    ) -> Int {
        Int(table.pointee.at_least(weights.baseAddress!, Int32(weights.count), least, Int32(min(values.count, indices.count)), values.baseAddress!, indices.baseAddress!))
    }
}
