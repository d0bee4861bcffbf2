import CAlign

/// dW += dyᵀ·x, dW `[outputs, inputs]`, dy `[T, outputs]`, x `[T, inputs]`, both of one type.
///
/// The sum over tokens runs in their order, in chunks of 512 that are added one after the other.
public func accumulateWeightGradient(_ dy: Operand, _ x: Operand, into dw: Matrix, on compute: Compute) {
    precondition(dy.rows == x.rows && dw.rows == dy.columns && dw.columns == x.columns && dy.precision == x.precision,
        "dy [\(dy.rows), \(dy.columns)], x [\(x.rows), \(x.columns)], dW [\(dw.rows), \(dw.columns)]")
    compute.phase(.weightGradients) {
        if compute.floatProducts == .openblas, let dy = dy.matrix, let x = x.matrix { return OpenBLAS.weightGradient(dy, x, into: dw, on: compute) }
        for start in stride(from: 0, to: x.rows, by: gradientChunk) {
            let range = start..<min(start + gradientChunk, x.rows)
            if x.precision == .bf16 {
                halfChunk(dy.rows(range), x.rows(range), dw, compute)
            } else if let dy = dy.matrix, let x = x.matrix {
                floatChunk(dy.rows(range), x.rows(range), dw, compute)
            }
        }
    }
}

/// Tokens of one sum.
private let gradientChunk = 512

private func halfChunk(_ dy: Operand, _ x: Operand, _ dw: Matrix, _ compute: Compute) {
    let kernels = compute.kernels
    let (tokens, padded) = (x.rows, (x.rows + 31) / 32 * 32)
    let panels = (x.columns + 31) / 32
    compute.withScratch(panels * 16 * padded) { packed in
        compute.parallel(panels) { panel in
            kernels.pointee.pack_half(x.halves + panel * 32, x.stride, Int32(min(32, x.columns - panel * 32)), Int32(tokens), packed.halves + panel * 32 * padded)
        }
        compute.parallel((dy.columns + productRows - 1) / productRows) { block in
            let first = block * productRows
            let count = min(productRows, dy.columns - first)
            compute.withScratch(productRows * padded / 2) { turned in
                kernels.pointee.pack_half_ta(dy.halves + first, dy.stride, Int32(count), Int32(tokens), turned.halves)
                kernels.pointee.gemm_bf16_ta(turned.halves, packed.halves, dw.pointer + first * dw.stride, dw.stride, Int32(count), Int32(x.columns), Int32(tokens), 1)
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
