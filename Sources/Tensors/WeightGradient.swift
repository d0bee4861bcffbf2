import CAlign

/// dW += dyᵀ·x, dW `[outputs, inputs]`, dy `[T, outputs]`, x `[T, inputs]`, both of one type.
///
/// The sum over tokens runs in their order, in chunks of 512 that are added one after the other.
public func accumulateWeightGradient(_ dy: Operand, _ x: Operand, into dw: Matrix, on compute: Compute) {
    precondition(dy.rows == x.rows && dw.rows == dy.columns && dw.columns == x.columns && dy.precision == x.precision,
        "dy [\(dy.rows), \(dy.columns)], x [\(x.rows), \(x.columns)], dW [\(dw.rows), \(dw.columns)]")
    compute.phase(.weightGradients) {
        guard let wholeDY = dy.matrix, let wholeX = x.matrix else {
            // So many at a time as the last cache holds.
            for range in chunks(of: x.rows, 4 * gradientChunk) { halfProduct(dy.rows(range), x.rows(range), dw, compute) }
            return
        }
        if compute.floatProducts == .openblas { return OpenBLAS.weightGradient(wholeDY, wholeX, into: dw, on: compute) }
        for range in chunks(of: x.rows, gradientChunk) { floatChunk(wholeDY.rows(range), wholeX.rows(range), dw, compute) }
    }
}

/// Tokens of one sum.
private let gradientChunk = 512

private func chunks(of rows: Int, _ size: Int) -> [Range<Int>] {
    stride(from: 0, to: rows, by: size).map { $0..<min($0 + size, rows) }
}

/// x is packed once; then a task takes a block of dW through all chunks while the block is in its cache.
private func halfProduct(_ dy: Operand, _ x: Operand, _ dw: Matrix, _ compute: Compute) {
    let kernels = compute.kernels
    let panels = (x.columns + 31) / 32
    let parts = chunks(of: x.rows, gradientChunk)
    // Chunks before the last are whole, so the panels of the one that begins at token t begin at t·panels·32.
    compute.withScratch(panels * 16 * ((x.rows + 31) / 32 * 32)) { packed in
        compute.parallel(parts.count * panels) { task in
            let (part, panel) = (parts[task / panels], task % panels)
            kernels.pointee.pack_half(x.halves + part.lowerBound * x.stride + panel * 32, x.stride, Int32(min(32, x.columns - panel * 32)), Int32(part.count),
                packed.halves + part.lowerBound * panels * 32 + panel * 32 * ((part.count + 31) / 32 * 32))
        }
        compute.parallel((dy.columns + productRows - 1) / productRows) { block in
            let first = block * productRows
            let count = min(productRows, dy.columns - first)
            compute.withScratch(productRows * gradientChunk / 2) { turned in
                for part in parts {
                    kernels.pointee.pack_half_ta(dy.halves + part.lowerBound * dy.stride + first, dy.stride, Int32(count), Int32(part.count), turned.halves)
                    kernels.pointee.gemm_bf16_ta(turned.halves, packed.halves + part.lowerBound * panels * 32, dw.pointer + first * dw.stride, dw.stride,
                        Int32(count), Int32(x.columns), Int32(part.count), 1)
                }
            }
        }
    }
}

private func floatChunk(_ dy: Matrix, _ x: Matrix, _ dw: Matrix, _ compute: Compute) {
    let kernels = compute.kernels
    let tokens = x.rows
    let panels = (x.columns + 31) / 32
    compute.withScratch(panels * 32 * tokens) { packed in
        compute.parallel(panels) { panel in
            kernels.pointee.pack_f32(x.pointer + panel * 32, x.stride, Int32(min(32, x.columns - panel * 32)), Int32(tokens), 1, packed + panel * 32 * tokens)
        }
        compute.parallel((dy.columns + productRows - 1) / productRows) { block in
            let first = block * productRows
            kernels.pointee.gemm_f32_ta(dy.pointer + first, dy.stride, packed, dw.pointer + first * dw.stride, dw.stride,
                Int32(min(productRows, dy.columns - first)), Int32(x.columns), Int32(tokens), 1)
        }
    }
}
