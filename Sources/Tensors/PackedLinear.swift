import CAlign

/// Rows of one task of a product: a multiple of every kernel's tile, small enough to stay in a core's cache.
private let productRows = 96

/// One linear layer's weights W `[outputs, inputs]` as the product kernels take them: y = x·Wᵀ, dx = dy·W.
///
/// Under bf16 both orientations are packed once per update and kept. Under fp32 nothing is kept but the weights
/// themselves: a task packs the panel it needs, which costs little beside the product and saves twice the model's size.
public final class PackedLinear: @unchecked Sendable {  // `pack` is called between products, never during one
    public let outputs: Int
    public let inputs: Int
    public let precision: Precision
    private let forwardOnly: Bool
    private var weight: Matrix?
    /// bf16 in the memory of floats: panels of 32 outputs, and panels of 32 inputs.
    private var byOutput: FloatBuffer?
    private var byInput: FloatBuffer?

    public init(outputs: Int, inputs: Int, precision: Precision, forwardOnly: Bool = false) {
        self.outputs = outputs
        self.inputs = inputs
        self.precision = precision
        self.forwardOnly = forwardOnly
    }

    private var paddedInputs: Int { (inputs + 31) / 32 * 32 }
    private var paddedOutputs: Int { (outputs + 31) / 32 * 32 }

    /// Takes the weights as they are now; to be called after every change of them.
    public func pack(_ weight: Matrix, on compute: Compute) {
        compute.phase(.packing) {
            precondition(weight.rows == outputs && weight.columns == inputs, "weight [\(weight.rows), \(weight.columns)] for [\(outputs), \(inputs)]")
            self.weight = weight
            guard precision == .bf16 else { return }
            let kernels = compute.kernels
            let packed = byOutput ?? FloatBuffer(count: paddedOutputs * paddedInputs / 2)
            byOutput = packed
            compute.parallel((outputs + 31) / 32) { panel in
                let count = min(32, outputs - panel * 32)
                kernels.pointee.pack_bf16(weight.pointer + panel * 32 * weight.stride, weight.stride, Int32(count), Int32(inputs), 0,
                    packed.halves + panel * 32 * paddedInputs)
            }
            guard !forwardOnly else { return }
            let turned = byInput ?? FloatBuffer(count: paddedOutputs * paddedInputs / 2)
            byInput = turned
            compute.parallel((inputs + 31) / 32) { panel in
                let count = min(32, inputs - panel * 32)
                kernels.pointee.pack_bf16(weight.pointer + panel * 32, weight.stride, Int32(count), Int32(outputs), 1,
                    turned.halves + panel * 32 * paddedOutputs)
            }
        }
    }

    /// y (+)= x·Wᵀ for all outputs, or for a range of them that starts at a multiple of 32.
    /// - Parameters:
    ///   - x: `[rows, inputs]`.
    ///   - y: `[rows, outputs.count]`.
    public func forward(_ x: Matrix, outputs range: Range<Int>? = nil, into y: Matrix, accumulate: Bool = false, on compute: Compute) {
        compute.phase(.products) {
            let range = range ?? 0..<outputs
            guard let weight else { preconditionFailure("forward before pack") }
            precondition(x.columns == inputs && y.columns == range.count && y.rows == x.rows && range.lowerBound % 32 == 0 && range.upperBound <= outputs,
                "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)], outputs \(range) of [\(outputs), \(inputs)]")
            if let byOutput {
                product(x, k: inputs, n: range.count, packed: byOutput.halves + range.lowerBound * paddedInputs, panelStride: paddedInputs * 32, y, accumulate, compute)
            } else if compute.floatProducts == .openblas {
                OpenBLAS.product(x, weight.rows(range), transposed: true, into: y, accumulate: accumulate, on: compute)
            } else {
                let w = weight.rows(range)
                product(x, n: range.count, k: inputs, y, accumulate, compute) { kernels, panel, count, packed in
                    kernels.pointee.pack_f32(w.pointer + panel * 32 * w.stride, w.stride, count, Int32(w.columns), 0, packed)
                }
            }
        }
    }

    /// dx (+)= dy·W, or the share of a range of outputs that starts at a multiple of 32 (dy then has only these columns).
    public func backwardInput(_ dy: Matrix, outputs range: Range<Int>? = nil, into dx: Matrix, accumulate: Bool = false, on compute: Compute) {
        compute.phase(.inputGradients) {
            let range = range ?? 0..<outputs
            guard let weight else { preconditionFailure("backwardInput before pack") }
            precondition(dy.columns == range.count && dx.columns == inputs && dy.rows == dx.rows && range.lowerBound % 32 == 0 && range.upperBound <= outputs,
                "dy [\(dy.rows), \(dy.columns)], dx [\(dx.rows), \(dx.columns)], outputs \(range) of [\(outputs), \(inputs)]")
            if precision == .bf16 {
                guard let byInput else { preconditionFailure("this layer was packed for forward only") }
                product(dy, k: range.count, n: inputs, packed: byInput.halves + range.lowerBound * 32, panelStride: paddedOutputs * 32, dx, accumulate, compute)
            } else if compute.floatProducts == .openblas {
                OpenBLAS.product(dy, weight.rows(range), transposed: false, into: dx, accumulate: accumulate, on: compute)
            } else {
                let w = weight.rows(range)
                product(dy, n: inputs, k: range.count, dx, accumulate, compute) { kernels, panel, count, packed in
                    kernels.pointee.pack_f32(w.pointer + panel * 32, w.stride, count, Int32(w.rows), 1, packed)
                }
            }
        }
    }

    /// bf16: operands of x are rounded once, then row blocks by groups of panels.
    private func product(
        _ x: Matrix, k: Int, n: Int, packed: UnsafePointer<UInt16>, panelStride: Int, _ y: Matrix, _ accumulate: Bool, _ compute: Compute
    ) {
        guard x.rows > 0 else { return }
        let kernels = compute.kernels
        let padded = (k + 31) / 32 * 32
        compute.withScratch((x.rows * padded + 1) / 2) { scratch in
            let a = UnsafeMutableRawPointer(scratch).assumingMemoryBound(to: UInt16.self)
            compute.forEachRowBlock(x.rows, size: 16) { r in
                for i in r { kernels.pointee.to_bf16(x.pointer + i * x.stride, a + i * padded, Int32(k), Int32(padded)) }
            }
            let blocks = (x.rows + productRows - 1) / productRows
            let panels = (n + 31) / 32
            // Few rows (decoding): every panel group is a task; many: the rows' blocks suffice.
            let group = blocks >= 8 * compute.threads ? panels : max(1, min(panels, 16))
            let groups = (panels + group - 1) / group
            compute.parallel(blocks * groups) { task in
                let rows = task / groups * productRows
                let panel = task % groups * group
                let columns = min(group * 32, n - panel * 32)
                let count = min(productRows, x.rows - rows)
                for p in Swift.stride(from: 0, to: columns, by: 32) {
                    kernels.pointee.gemm_bf16(a + rows * padded, padded, packed + (panel + p / 32) * panelStride, y.pointer + rows * y.stride + panel * 32 + p, y.stride,
                        Int32(count), Int32(min(32, columns - p)), Int32(k), accumulate ? 1 : 0)
                }
            }
        }
    }

    /// fp32: one task a panel, packed on the spot, run over all rows.
    private func product(
        _ x: Matrix, n: Int, k: Int, _ y: Matrix, _ accumulate: Bool, _ compute: Compute,
        pack: (UnsafePointer<align_kernels>, Int, Int32, UnsafeMutablePointer<Float>) -> Void
    ) {
        guard x.rows > 0 else { return }
        let kernels = compute.kernels
        let panels = (n + 31) / 32
        let group = panels >= 16 * compute.threads ? 4 : 1
        compute.parallel((panels + group - 1) / group) { task in
            compute.withScratch(group * 32 * k) { packed in
                let first = task * group
                let count = min(group * 32, n - first * 32)
                for panel in 0..<(count + 31) / 32 { pack(kernels, first + panel, Int32(min(32, count - panel * 32)), packed + panel * 32 * k) }
                for rows in Swift.stride(from: 0, to: x.rows, by: productRows) {
                    kernels.pointee.gemm_f32(x.pointer + rows * x.stride, x.stride, packed, Int32(k), y.pointer + rows * y.stride + first * 32, y.stride,
                        Int32(min(productRows, x.rows - rows)), Int32(count), Int32(k), accumulate ? 1 : 0)
                }
            }
        }
    }
}

/// dW += dyᵀ·x, dW `[outputs, inputs]`, dy `[T, outputs]`, x `[T, inputs]`.
///
/// The sum over tokens runs in their order, in chunks of 512 that are added one after the other.
public func accumulateWeightGradient(_ dy: Matrix, _ x: Matrix, into dw: Matrix, precision: Precision, on compute: Compute) {
    compute.phase(.weightGradients) {
        precondition(dy.rows == x.rows && dw.rows == dy.columns && dw.columns == x.columns,
            "dy [\(dy.rows), \(dy.columns)], x [\(x.rows), \(x.columns)], dW [\(dw.rows), \(dw.columns)]")
        if precision == .fp32 && compute.floatProducts == .openblas { return OpenBLAS.weightGradient(dy, x, into: dw, on: compute) }
        let kernels = compute.kernels
        let chunk = 512
        let panels = (x.columns + 31) / 32
        let blocks = (dy.columns + productRows - 1) / productRows
        for start in Swift.stride(from: 0, to: x.rows, by: chunk) {
            let tokens = min(chunk, x.rows - start)
            let (dy, x) = (dy.rows(start..<start + tokens), x.rows(start..<start + tokens))
            let padded = precision == .bf16 ? (tokens + 31) / 32 * 32 : tokens
            let floats = precision == .bf16 ? panels * 16 * padded : panels * 32 * padded
            compute.withScratch(floats) { packed in
                compute.parallel(panels) { panel in
                    let count = Int32(min(32, x.columns - panel * 32))
                    if precision == .bf16 {
                        kernels.pointee.pack_bf16(x.pointer + panel * 32, x.stride, count, Int32(tokens), 1, packed.halves + panel * 32 * padded)
                    } else {
                        kernels.pointee.pack_f32(x.pointer + panel * 32, x.stride, count, Int32(tokens), 1, packed + panel * 32 * padded)
                    }
                }
                compute.parallel(blocks) { block in
                    let first = block * productRows
                    let count = min(productRows, dy.columns - first)
                    let out = dw.pointer + first * dw.stride
                    if precision == .bf16 {
                        compute.withScratch(productRows * padded / 2) { turned in
                            kernels.pointee.pack_bf16_ta(dy.pointer + first, dy.stride, Int32(count), Int32(tokens), turned.halves)
                            kernels.pointee.gemm_bf16_ta(turned.halves, packed.halves, out, dw.stride, Int32(count), Int32(x.columns), Int32(tokens), 1)
                        }
                    } else {
                        kernels.pointee.gemm_f32_ta(dy.pointer + first, dy.stride, packed, out, dw.stride, Int32(count), Int32(x.columns), Int32(tokens), 1)
                    }
                }
            }
        }
    }
}

extension UnsafeMutablePointer<Float> {
    fileprivate var halves: UnsafeMutablePointer<UInt16> { UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt16.self) }
}

extension FloatBuffer {
    fileprivate var halves: UnsafeMutablePointer<UInt16> { base.halves }
}
