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

/// The same into rows that a product takes.
public func rmsNorm(_ x: Matrix, weight: Matrix, into y: Operand, inverse: Matrix, epsilon: Double, on compute: Compute) {
    if let y = y.matrix { return rmsNorm(x, weight: weight, into: y, inverse: inverse, epsilon: epsilon, on: compute) }
    precondition(x.columns == weight.columns && y.columns == x.columns && y.rows == x.rows && inverse.columns >= x.rows,
        "x [\(x.rows), \(x.columns)], weight \(weight.columns), y [\(y.rows), \(y.columns)], inverse \(inverse.columns)")
    compute.phase(.norms) {
        let table = compute.path.elementwise
        compute.forEachRowBlock(x.rows, size: 32) { r in
            compute.withScratch(32 * x.columns) { normed in
                table.pointee.rmsnorm(x.pointer + r.lowerBound * x.stride, x.stride, weight.pointer, normed, x.columns,
                    inverse.pointer + r.lowerBound, Int32(r.count), Int32(x.columns), Float(epsilon))
                y.store(normed, stride: x.columns, rows: r, columns: 0..<x.columns, compute.kernels)
            }
        }
    }
}

/// Backward of `rmsNorm`: adds to `dx` [rows, d] and to `dWeight` [1, d].
/// With g = dy ∘ w: dx += r·g − x·r³·mean(g ∘ x); dw += Σ dy ∘ x·r, unless the weight is frozen (nil).
public func rmsNormBackward(
    _ dy: Matrix, x: Matrix, weight: Matrix, inverse: Matrix, addingTo dx: Matrix, dWeight: Matrix?, on compute: Compute
) {
    compute.phase(.norms) {
        precondition(dy.rows == x.rows && dx.rows == x.rows && dWeight?.columns ?? x.columns == x.columns,
            "dy [\(dy.rows), \(dy.columns)], x [\(x.rows), \(x.columns)], dWeight \(dWeight?.columns ?? 0)")
        let table = compute.path.elementwise
        let size = 256  // rows per partial sum of dw
        let blocks = (x.rows + size - 1) / size
        let partial = Matrix(rows: max(blocks, 1), columns: x.columns)
        compute.forEachRowBlock(x.rows, size: size) { r in
            table.pointee.rmsnorm_backward(dy.pointer + r.lowerBound * dy.stride, dy.stride, x.pointer + r.lowerBound * x.stride, x.stride,
                weight.pointer, inverse.pointer + r.lowerBound, dx.pointer + r.lowerBound * dx.stride, dx.stride,
                partial.pointer + r.lowerBound / size * partial.stride, Int32(r.count), Int32(x.columns))
        }
        guard let dWeight else { return }
        for block in 0..<blocks { table.pointee.add(partial.pointer + block * partial.stride, dWeight.pointer, x.columns) }
    }
}

/// Rotary position embedding of some rows: pairs (i, i + half) of every head turn by the angle of the row's position.
public struct Rotation: Sendable {
    /// One a row.
    public let positions: [Int32]
    /// `[positions, half]`.
    public let cosines, sines: Matrix
    public let headSize: Int
    /// Columns from here on stay as they are.
    public let width: Int
    public init(positions: [Int32], cosines: Matrix, sines: Matrix, headSize: Int, width: Int) {
        precondition(width % headSize == 0 && cosines.columns <= headSize / 2, "\(width) columns in heads of \(headSize), \(cosines.columns) angles")
        self.positions = positions
        self.cosines = cosines
        self.sines = sines
        self.headSize = headSize
        self.width = width
    }

    /// Turns `columns` of `rows` in place; `columns` begins at a head. `inverse` turns back (the backward).
    func apply(_ values: UnsafeMutablePointer<Float>, stride: Int, rows: Range<Int>, columns: Range<Int>, inverse: Bool, on compute: Compute) {
        let count = min(width, columns.upperBound) - columns.lowerBound
        guard count > 0 else { return }
        precondition(columns.lowerBound % headSize == 0 && count % headSize == 0 && rows.upperBound <= positions.count, "columns \(columns), heads of \(headSize)")
        positions.withUnsafeBufferPointer { positions in
            compute.path.elementwise.pointee.rope(values, stride, positions.baseAddress! + rows.lowerBound, cosines.pointer, sines.pointer,
                Int32(rows.count), Int32(count / headSize), Int32(headSize), Int32(cosines.columns), inverse ? -1 : 1)
        }
    }

    /// Turns a product's results on their way.
    public func apply(_ piece: PackedLinear.Piece, on compute: Compute) {
        apply(piece.values, stride: piece.stride, rows: piece.rows, columns: piece.columns, inverse: false, on: compute)
    }

    /// Turns gradients back and rounds them into rows that a product takes; in place where these are the same.
    public func invert(_ x: Matrix, into y: Operand, on compute: Compute) {
        compute.phase(.elementwise) {
            compute.forEachRowBlock(x.rows, size: 32) { r in
                let p = x.pointer + r.lowerBound * x.stride
                apply(p, stride: x.stride, rows: r, columns: 0..<x.columns, inverse: true, on: compute)
                if y.precision == .bf16 || y.floats != x.pointer { y.store(p, stride: x.stride, rows: r, columns: 0..<x.columns, compute.kernels) }
            }
        }
    }
}

/// Which function gates a feed-forward block.
public enum Gate: Int32, Sendable {
    case silu = 0
    case geluTanh = 1
}

/// h = act(gate) ∘ up of a product's results on their way, gate and up being the piece's two parts.
public func gated(_ piece: PackedLinear.Piece, into h: Operand, gate: Gate, on compute: Compute) {
    let n = piece.columns.count
    compute.withScratch(16 * n) { hidden in
        for first in stride(from: 0, to: piece.rows.count, by: 16) {
            let rows = piece.rows.lowerBound + first..<piece.rows.lowerBound + min(first + 16, piece.rows.count)
            compute.path.elementwise.pointee.gated(piece.values + first * piece.stride, piece.stride, hidden, n, Int32(rows.count), Int32(n), gate.rawValue)
            h.store(hidden, stride: n, rows: rows, columns: piece.columns, compute.kernels)
        }
    }
}

/// Backward of `gated` on ∂L/∂h as a product gives it: overwrites `gateUp` `[rows, 2·d]` with its gradient and writes h,
/// which the gradient of the next weights needs.
public func gatedBackward(_ dh: PackedLinear.Piece, gateUp: Operand, hidden: Operand, gate: Gate, on compute: Compute) {
    let (n, d) = (dh.columns.count, gateUp.columns / 2)
    let up = dh.columns.lowerBound + d..<dh.columns.upperBound + d
    compute.withScratch(16 * 2 * n) { values in
        for first in stride(from: 0, to: dh.rows.count, by: 16) {
            let rows = dh.rows.lowerBound + first..<dh.rows.lowerBound + min(first + 16, dh.rows.count)
            let gradient = dh.values + first * dh.stride
            gateUp.load(values, stride: 2 * n, rows: rows, columns: dh.columns, compute.kernels)
            gateUp.load(values + n, stride: 2 * n, rows: rows, columns: up, compute.kernels)
            compute.path.elementwise.pointee.gated_backward(gradient, dh.stride, values, 2 * n, values, 2 * n, gradient, dh.stride, Int32(rows.count), Int32(n), gate.rawValue)
            gateUp.store(values, stride: 2 * n, rows: rows, columns: dh.columns, compute.kernels)
            gateUp.store(values + n, stride: 2 * n, rows: rows, columns: up, compute.kernels)
            hidden.store(gradient, stride: dh.stride, rows: rows, columns: dh.columns, compute.kernels)
        }
    }
}

/// y = x + a product's results on their way.
public func add(_ piece: PackedLinear.Piece, to x: Matrix, into y: Matrix, on compute: Compute) {
    let table = compute.path.elementwise
    for (i, row) in piece.rows.enumerated() {
        let column = piece.columns.lowerBound
        table.pointee.sum(piece.values + i * piece.stride, x.pointer + row * x.stride + column, y.pointer + row * y.stride + column, piece.columns.count)
    }
}

/// out[i] = table[ids[i]] for every row, of one type.
public func gatherRows(_ table: Operand, _ ids: [Int32], into out: Operand, on compute: Compute) {
    compute.phase(.embedding) {
        precondition(out.rows == ids.count, "\(out.rows) rows for \(ids.count) ids")
        out.clearPadding()
        compute.forEachRowBlock(ids.count) { r in
            for i in r { out.copy(row: i, from: table, row: Int(ids[i])) }
        }
    }
}

/// table[ids[i]] = x[i]; no id comes twice.
public func replaceRows(_ ids: [Int32], of table: Operand, with x: Operand, on compute: Compute) {
    compute.phase(.embedding) {
        precondition(x.rows == ids.count, "\(x.rows) rows for \(ids.count) ids")
        compute.forEachRowBlock(ids.count) { r in
            for i in r { table.copy(row: Int(ids[i]), from: x, row: i) }
        }
    }
}

public func replaceRows(_ ids: [Int32], of table: Matrix, with x: Matrix, on compute: Compute) {
    replaceRows(ids, of: Operand(table), with: Operand(x), on: compute)
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

/// Sets every value to 0.
public func clear(_ x: Matrix, on compute: Compute) {
    compute.phase(.elementwise) { compute.forEachRowBlock(x.rows) { r in x.rows(r).zero() } }
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

/// Applies `step` to `range` of the buffers: reads and clears the gradients, updates weights and moments in one pass over memory.
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
