import CAlign

extension PackedLinear {
    /// y (+)= x·Wᵀ for the few rows of a decoding step; else as `forward`, with its bits.
    ///
    /// What few rows cost is reading the weights: panels are shared out evenly, whatever their number.
    /// - Parameter operand: Room for x as the product takes it; what it held is gone.
    public func decode(_ x: Matrix, into y: Matrix, accumulate: Bool = false, operand: FloatBuffer, on compute: Compute) {
        // Few rows take blocks as they are: making panels of them would cost more than the product.
        if let stored { return stored.forward(x, into: y, accumulate: accumulate, on: compute) }
        guard let panels = outputPanels else { return forward(x, into: y, accumulate: accumulate, on: compute) }
        precondition(x.columns == inputs && y.columns == outputs && x.rows == y.rows, "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)] for [\(outputs), \(inputs)]")
        compute.phase(.products) {
            let kernels = compute.kernels
            let a = Operand(buffer: operand, offset: 0, rows: x.rows, columns: inputs, precision: .bf16)
            a.store(x.pointer, stride: x.stride, rows: 0..<x.rows, columns: 0..<inputs, kernels)
            compute.forEachRun(of: (outputs + 31) / 32) { run in
                // Panel by panel, so that a panel's columns stay in the first cache for all rows.
                for panel in run {
                    kernels.pointee.gemm_bf16(
                        a.halves, a.stride, panels + panel * 32 * a.stride, y.pointer + panel * 32, y.stride, Int32(x.rows), Int32(min(32, outputs - panel * 32)),
                        Int32(inputs), accumulate ? 1 : 0)
                }
            }
        }
    }
}
