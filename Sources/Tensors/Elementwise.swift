import CAlign

/// Rows one task handles: fixed, so that partial sums over rows never depend on the number of threads.
private let rowBlock = 64
/// Floats one task of a flat operation handles.
private let flatBlock = 1 << 16

extension KernelPath {
    /// The table of elementwise kernels that goes with a path's matrix products.
    var elementwise: UnsafePointer<align_elementwise> {
        let set: Int32 =
            switch self {
            case .amx, .avx512bf16, .avx512: 0
            case .avx2: 1
            case .portable: 2
            }
        return align_elementwise_for(set) ?? align_elementwise_for(2)!
    }
}

extension Compute {
    /// Calls `body` with consecutive blocks of rows.
    func forEachRowBlock(_ rows: Int, size: Int = rowBlock, _ body: (Range<Int>) -> Void) {
        parallel((rows + size - 1) / size) { block in
            body(block * size..<min(rows, (block + 1) * size))
        }
    }
}

/// y = x ∘ w · r, r = (mean(x²) + ε)^−½ per row; r goes to `inverse` [rows].
public func rmsNorm(_ x: Matrix, weight: Matrix, into y: Matrix, inverse: Matrix, epsilon: Double, on compute: Compute) {
    compute.phase(.norms) {
        precondition(x.columns == weight.columns && y.columns == x.columns && y.rows == x.rows && inverse.columns >= x.rows,
            "x [\(x.rows), \(x.columns)], weight \(weight.columns), y [\(y.rows), \(y.columns)], inverse \(inverse.columns)")
        let table = compute.path.elementwise
        compute.forEachRowBlock(x.rows) { r in
            table.pointee.rmsnorm(x.pointer + r.lowerBound * x.stride, x.stride, weight.pointer, y.pointer + r.lowerBound * y.stride, y.stride,
                inverse.pointer + r.lowerBound, Int32(r.count), Int32(x.columns), Float(epsilon))
        }
    }
}

/// Backward of `rmsNorm`: adds to `dx` [rows, d] and to `dWeight` [1, d].
/// With g = dy ∘ w: dx += r·g − x·r³·mean(g ∘ x); dw += Σ dy ∘ x·r.
public func rmsNormBackward(
    _ dy: Matrix, x: Matrix, weight: Matrix, inverse: Matrix, addingTo dx: Matrix, dWeight: Matrix, on compute: Compute
) {
    compute.phase(.norms) {
        precondition(dy.rows == x.rows && dx.rows == x.rows && dWeight.columns == x.columns,
            "dy [\(dy.rows), \(dy.columns)], x [\(x.rows), \(x.columns)], dWeight \(dWeight.columns)")
        let table = compute.path.elementwise
        let size = 256  // rows per partial sum of dw
        let blocks = (x.rows + size - 1) / size
        let partial = Matrix(rows: max(blocks, 1), columns: x.columns)
        compute.forEachRowBlock(x.rows, size: size) { r in
            table.pointee.rmsnorm_backward(dy.pointer + r.lowerBound * dy.stride, dy.stride, x.pointer + r.lowerBound * x.stride, x.stride,
                weight.pointer, inverse.pointer + r.lowerBound, dx.pointer + r.lowerBound * dx.stride, dx.stride,
                partial.pointer + r.lowerBound / size * partial.stride, Int32(r.count), Int32(x.columns))
        }
        for block in 0..<blocks { table.pointee.add(partial.pointer + block * partial.stride, dWeight.pointer, x.columns) }
    }
}

/// Rotates pairs (i, i + half) of every head by the angle of the row's position, in place; `inverse` rotates back (the backward).
/// - Parameters:
///   - x: `[rows, heads · headSize]`, possibly a slice of wider rows.
///   - cosines, sines: `[positions, half]`.
public func rotate(
    _ x: Matrix, positions: [Int32], cosines: Matrix, sines: Matrix, heads: Int, headSize: Int, inverse: Bool = false, on compute: Compute
) {
    compute.phase(.elementwise) {
        precondition(x.columns == heads * headSize && positions.count == x.rows, "x [\(x.rows), \(x.columns)] for \(heads) heads of \(headSize), \(positions.count) positions")
        let table = compute.path.elementwise
        positions.withUnsafeBufferPointer { positions in
            compute.forEachRowBlock(x.rows) { r in
                table.pointee.rope(x.pointer + r.lowerBound * x.stride, x.stride, positions.baseAddress! + r.lowerBound, cosines.pointer, sines.pointer,
                    Int32(r.count), Int32(heads), Int32(headSize), Int32(cosines.columns), inverse ? -1 : 1)
            }
        }
    }
}

/// Which function gates a feed-forward block.
public enum Gate: Int32, Sendable {
    case silu = 0
    case geluTanh = 1
}

/// h = act(gate) ∘ up, rows of `gateUp` being gate and up side by side `[rows, 2·d]`.
public func gated(_ gateUp: Matrix, into h: Matrix, gate: Gate, on compute: Compute) {
    compute.phase(.elementwise) {
        precondition(gateUp.columns == 2 * h.columns && gateUp.rows == h.rows, "gateUp [\(gateUp.rows), \(gateUp.columns)], h [\(h.rows), \(h.columns)]")
        let table = compute.path.elementwise
        compute.forEachRowBlock(h.rows, size: 16) { r in
            table.pointee.gated(gateUp.pointer + r.lowerBound * gateUp.stride, gateUp.stride, h.pointer + r.lowerBound * h.stride, h.stride,
                Int32(r.count), Int32(h.columns), gate.rawValue)
        }
    }
}

/// Backward of `gated`: overwrites `gateUp` with its gradient.
public func gatedBackward(_ dh: Matrix, gateUp: Matrix, gate: Gate, on compute: Compute) {
    compute.phase(.elementwise) {
        precondition(gateUp.columns == 2 * dh.columns && gateUp.rows == dh.rows, "gateUp [\(gateUp.rows), \(gateUp.columns)], dh [\(dh.rows), \(dh.columns)]")
        let table = compute.path.elementwise
        compute.forEachRowBlock(dh.rows, size: 16) { r in
            let p = gateUp.pointer + r.lowerBound * gateUp.stride
            table.pointee.gated_backward(dh.pointer + r.lowerBound * dh.stride, dh.stride, p, gateUp.stride, p, gateUp.stride,
                Int32(r.count), Int32(dh.columns), gate.rawValue)
        }
    }
}

/// out[i] = table[ids[i]] for every row.
public func gatherRows(_ table: Matrix, _ ids: [Int32], into out: Matrix, on compute: Compute) {
    compute.phase(.embedding) {
        precondition(out.rows == ids.count && out.columns == table.columns, "out [\(out.rows), \(out.columns)], \(ids.count) ids of \(table.columns)")
        compute.forEachRowBlock(ids.count) { r in
            for i in r {
                precondition(ids[i] >= 0 && Int(ids[i]) < table.rows, "row \(ids[i]) of \(table.rows)")
                (out.pointer + i * out.stride).update(from: table.pointer + Int(ids[i]) * table.stride, count: table.columns)
            }
        }
    }
}

/// table[ids[i]] += x[i], in the order of i: tasks split columns, so that a repeated id sums the same way every time.
public func scatterAddRows(_ x: Matrix, _ ids: [Int32], into table: Matrix, on compute: Compute) {
    compute.phase(.embedding) {
        precondition(x.rows == ids.count && x.columns == table.columns, "x [\(x.rows), \(x.columns)], \(ids.count) ids into \(table.columns)")
        let kernels = compute.path.elementwise
        let width = 64
        compute.parallel((x.columns + width - 1) / width) { block in
            let start = block * width
            let count = min(width, x.columns - start)
            for i in ids.indices {
                kernels.pointee.add(x.pointer + i * x.stride + start, table.pointer + Int(ids[i]) * table.stride + start, count)
            }
        }
    }
}

/// y += x, shapes alike.
public func add(_ x: Matrix, to y: Matrix, on compute: Compute) {
    compute.phase(.elementwise) {
        precondition(x.rows == y.rows && x.columns == y.columns, "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)]")
        let table = compute.path.elementwise
        compute.forEachRowBlock(x.rows) { r in
            for i in r { table.pointee.add(x.pointer + i * x.stride, y.pointer + i * y.stride, x.columns) }
        }
    }
}

/// Σ x² of a range, in a tree fixed by the range alone.
public func sumOfSquares(_ buffer: FloatBuffer, range: Range<Int>? = nil, on compute: Compute) -> Double {
    return compute.phase(.optimizer) {
        let range = range ?? 0..<buffer.count
        precondition(range.upperBound <= buffer.count, "\(range) of \(buffer.count)")
        let table = compute.path.elementwise
        let blocks = (range.count + flatBlock - 1) / flatBlock
        var partial = [Double](repeating: 0, count: blocks)
        partial.withUnsafeMutableBufferPointer { partial in
            let out = partial.baseAddress
            compute.parallel(blocks) { block in
                let start = range.lowerBound + block * flatBlock
                out![block] = table.pointee.sum_of_squares(buffer.base + start, min(flatBlock, range.upperBound - start))
            }
        }
        return partial.reduce(0, +)
    }
}

/// One step of AdamW as PyTorch orders it (decay first), for one range of flat buffers.
///
///     g ← s·g;  m ← β1·m + (1−β1)·g;  v ← β2·v + (1−β2)·g²
///     θ ← θ·(1 − lr·λ) − lr/(1−β1ᵗ) · m / (√(v/(1−β2ᵗ)) + ε)
///
/// Source: Loshchilov & Hutter 2019, algorithm 2.
public struct AdamWStep: Sendable {
    public var learningRate: Double
    public var beta1 = 0.9
    public var beta2 = 0.999
    public var epsilon = 1e-8
    public var weightDecay = 0.0
    /// s: the factor that clipping puts on every gradient.
    public var gradientScale = 1.0
    /// t, counted from 1.
    public var step: Int
    public init(learningRate: Double, step: Int) {
        self.learningRate = learningRate
        self.step = step
    }
}

/// Applies `step` to `range` of the buffers: reads the gradients, updates weights and moments in one pass over memory.
public func adamW(
    weights: FloatBuffer, gradients: FloatBuffer, firstMoment: FloatBuffer, secondMoment: FloatBuffer, range: Range<Int>, step: AdamWStep,
    on compute: Compute
) {
    compute.phase(.optimizer) {
        for buffer in [weights, gradients, firstMoment, secondMoment] { precondition(range.upperBound <= buffer.count, "\(range) of \(buffer.count)") }
        precondition(step.step >= 1, "AdamW counts steps from 1, found \(step.step)")
        var c = align_adamw()
        c.learning_rate = Float(step.learningRate)
        c.beta1 = Float(step.beta1)
        c.beta2 = Float(step.beta2)
        // Not 1 − Float(β): for β2 = 0.999 that is off by 5e-5, and so would be every v.
        c.complement1 = Float(1 - step.beta1)
        c.complement2 = Float(1 - step.beta2)
        c.epsilon = Float(step.epsilon)
        c.weight_decay = Float(step.weightDecay)
        c.gradient_scale = Float(step.gradientScale)
        c.correction1 = Float(1 - power(step.beta1, step.step))
        c.correction2 = Float(1 - power(step.beta2, step.step))
        let table = compute.path.elementwise
        let settings = c
        compute.parallel((range.count + flatBlock - 1) / flatBlock) { block in
            let start = range.lowerBound + block * flatBlock
            withUnsafePointer(to: settings) { settings in
                table.pointee.adamw(weights.base + start, gradients.base + start, firstMoment.base + start, secondMoment.base + start,
                    min(flatBlock, range.upperBound - start), settings)
            }
        }
    }
}

/// base^exponent by squaring: the same bits on every machine, which the C library's pow does not promise.
private func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    var factor = base
    var left = exponent
    while left > 0 {
        if left & 1 == 1 { result *= factor }
        factor *= factor
        left >>= 1
    }
    return result
}

/// y ← x, shapes alike.
public func copy(_ x: Matrix, to y: Matrix, on compute: Compute) {
    compute.phase(.elementwise) {
        precondition(x.rows == y.rows && x.columns == y.columns, "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)]")
        compute.forEachRowBlock(x.rows) { r in
            for i in r { (y.pointer + i * y.stride).update(from: x.pointer + i * x.stride, count: x.columns) }
        }
    }
}
