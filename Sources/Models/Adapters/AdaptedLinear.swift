import Tensors

/// The low-rank terms of one product of a decoder block, those of all tensors that the product takes (q, k, v; gate, up).
///
///     z = W·x + B·(s ∘ A·x),   y = z, or m/‖W + s·B·A‖ ∘ z under DoRA
///
/// The tensors' A lie one under the other, `[ranks, inputs]`; B is `[outputs, ranks]`, zero where a row and a rank belong to
/// different tensors, so that each step is one product.
final class AdaptedLinear {
    /// One tensor's share.
    struct Target {
        /// `model.layers.0.self_attn.q_proj`.
        var name: String
        /// Rows of the product's outputs.
        var outputs: Range<Int>
        /// Columns of A·x.
        var ranks: Range<Int>
        /// s.
        var scale: Double
        /// Offsets in the adapter's flat buffers; `magnitude` is nil without DoRA.
        var a: Int, b: Int, magnitude: Int?
    }

    let base: PackedLinear
    let targets: [Target]
    let inputs: Int, outputs: Int, rank: Int
    /// Equal parts of the outputs: 2 for gate and up.
    let parts: Int
    /// Tells this layer's dropout from others'.
    let key: UInt64
    /// s of each column of A·x.
    private let scales: Matrix
    private let down: PackedLinear
    /// Bᵀ: what leads ∂L/∂z back to A·x.
    private let back: PackedLinear
    /// B, and A as it leads back to the inputs, as they are added to the base's products.
    private let forwardFactor: LowRankFactor, backwardFactor: LowRankFactor
    private let weights: FloatBuffer, gradients: FloatBuffer
    /// DoRA: ‖W‖² of each row; m/‖W + s·B·A‖ and 1/‖W + s·B·A‖, 1 and 0 where a row is not adapted.
    private let dora: (squares: Matrix, factors: Matrix, inverses: Matrix)?

    init(
        _ base: PackedLinear, targets: [Target], parts: Int, key: UInt64, weights: FloatBuffer, gradients: FloatBuffer, precision: Precision,
        on compute: Compute
    ) {
        (self.base, self.targets, self.parts, self.key, self.weights, self.gradients) = (base, targets, parts, key, weights, gradients)
        (inputs, outputs, rank) = (base.inputs, base.outputs, targets.last?.ranks.upperBound ?? 0)
        scales = Matrix(rows: 1, columns: rank)
        for target in targets { for j in target.ranks { scales.pointer[j] = Float(target.scale) } }
        down = PackedLinear(outputs: rank, inputs: inputs, precision: precision, forwardOnly: true)
        back = PackedLinear(outputs: rank, inputs: outputs, precision: precision, forwardOnly: true)
        forwardFactor = LowRankFactor(outputs: outputs, rank: rank, parts: parts, precision: precision)
        backwardFactor = LowRankFactor(outputs: inputs, rank: rank, precision: precision)
        if targets.contains(where: { $0.magnitude != nil }) {
            dora = (Matrix(rows: 1, columns: outputs), Matrix(rows: 1, columns: outputs), Matrix(rows: 1, columns: outputs))
            let squares = dora!.squares
            compute.parallel(outputs) { squares.pointer[$0] = base.squaredNorm(ofOutput: $0) }
        } else {
            dora = nil
        }
    }

    private func a(_ buffer: FloatBuffer) -> Matrix { Matrix(buffer: buffer, offset: targets[0].a, rows: rank, columns: inputs, stride: inputs) }

    private func b(_ target: Target, _ buffer: FloatBuffer) -> Matrix {
        Matrix(buffer: buffer, offset: target.b, rows: target.outputs.count, columns: target.ranks.count, stride: target.ranks.count)
    }

    /// Takes the weights as they are now.
    /// - Parameter keepsNorms: DoRA's norms stay those of the last call without it: what the gradient takes them for.
    func weightsChanged(keepsNorms: Bool = false, on compute: Compute) {
        let transposed = Matrix(rows: rank, columns: outputs)
        for target in targets {
            let own = b(target, weights)
            for (row, output) in target.outputs.enumerated() {
                for (j, column) in target.ranks.enumerated() { transposed.pointer[column * outputs + output] = own.pointer[row * own.stride + j] }
            }
        }
        down.pack(a(weights), on: compute)
        back.pack(transposed, on: compute)
        forwardFactor.pack(transposed, isTransposed: true, on: compute)
        backwardFactor.pack(a(weights), isTransposed: true, on: compute)
        refreshMagnitudes(keepsNorms: keepsNorms, on: compute)
    }

    /// ‖W + s·B·A‖² = ‖W‖² + 2s·B·(W·Aᵀ) + s²·B·(A·Aᵀ)·Bᵀ, row by row: nothing as large as W.
    private func refreshMagnitudes(keepsNorms: Bool, on compute: Compute) {
        guard let dora else { return }
        let products = Matrix(rows: rank, columns: outputs)
        if !keepsNorms { base.exactForward(a(weights), into: products, on: compute) }
        for target in targets {
            guard let place = target.magnitude else { continue }
            let (r, s) = (target.ranks.count, target.scale)
            let (b, magnitude) = (b(target, weights), weights.base + place)
            let rows = target.ranks.map { a(weights).pointer + $0 * inputs }
            var gram = [Double](repeating: 0, count: r * r)
            for i in 0..<r { for j in 0..<r { for k in 0..<inputs { gram[i * r + j] += Double(rows[i][k]) * Double(rows[j][k]) } } }
            for (row, output) in target.outputs.enumerated() {
                if !keepsNorms {
                    var squares = Double(dora.squares.pointer[output])
                    let own = b.pointer + row * r
                    for i in 0..<r {
                        squares += 2 * s * Double(own[i]) * Double(products.pointer[(target.ranks.lowerBound + i) * outputs + output])
                        for j in 0..<r { squares += s * s * Double(own[i]) * Double(own[j]) * gram[i * r + j] }
                    }
                    dora.inverses.pointer[output] = Float(1 / max(squares, 1e-30).squareRoot())
                }
                dora.factors.pointer[output] = magnitude[row] * dora.inverses.pointer[output]
            }
        }
        let adapted = targets.reduce(into: Set<Int>()) { if $1.magnitude != nil { $0.formUnion($1.outputs) } }
        for output in 0..<outputs where !adapted.contains(output) { (dora.factors.pointer[output], dora.inverses.pointer[output]) = (1, 0) }
    }

    /// m at the start: ‖W‖, so that the adapter changes nothing.
    func startMagnitudes() {
        guard let dora else { return }
        for target in targets {
            guard let place = target.magnitude else { continue }
            for (row, output) in target.outputs.enumerated() { weights.base[place + row] = dora.squares.pointer[output].squareRoot() }
        }
    }

    // MARK: Products

    /// A term on its way into the base's product.
    struct Term {
        fileprivate let linear: AdaptedLinear
        /// s ∘ A·x, `[rows, ranks]`.
        fileprivate let u: Operand
        fileprivate let compute: Compute

        func add(to piece: PackedLinear.Piece) {
            linear.forwardFactor.add(u, to: piece, on: compute)
            if let dora = linear.dora { scaleColumns(piece, by: dora.factors, parts: linear.parts) }
        }
    }

    func term(_ x: Operand, mask: DropoutMask?, _ workspace: inout Workspace, on compute: Compute) -> Term {
        let u = workspace.operand("adapter.u", rows: x.rows, columns: rank, precision: x.precision)
        down.forward(dropped(x, mask, &workspace, compute), into: u, on: compute) { scaleColumns($0, by: scales) }
        return Term(linear: self, u: u, compute: compute)
    }

    private func dropped(_ x: Operand, _ mask: DropoutMask?, _ workspace: inout Workspace, _ compute: Compute) -> Operand {
        guard let mask else { return x }
        let dropped = workspace.operand("adapter.x", rows: x.rows, columns: x.columns, precision: x.precision)
        mask.apply(to: x, into: dropped, on: compute)
        return dropped
    }

    /// The backward of one product.
    struct Gradient {
        fileprivate let linear: AdaptedLinear
        /// ∂L/∂y as it came.
        fileprivate let dy: Operand
        /// ∂L/∂z: what the base's backward takes.
        let dz: Operand
        fileprivate let du: Operand
        fileprivate let mask: DropoutMask?
        fileprivate let compute: Compute

        /// Adds the term's share to ∂L/∂x on its way.
        func add(to piece: PackedLinear.Piece) { linear.backwardFactor.add(du, to: piece, mask: mask, on: compute) }

        /// Adds ∂L/∂A, ∂L/∂B and ∂L/∂m.
        func accumulate(x: Operand, _ workspace: inout Workspace) {
            let dropped = linear.dropped(x, mask, &workspace, compute)
            let u = workspace.operand("adapter.u", rows: x.rows, columns: linear.rank, precision: x.precision)
            linear.down.forward(dropped, into: u, on: compute) { scaleColumns($0, by: linear.scales) }
            for target in linear.targets {
                accumulateWeightGradient(dz.columns(target.outputs), u.columns(target.ranks), into: linear.b(target, linear.gradients), on: compute)
            }
            accumulateWeightGradient(du, dropped, into: linear.a(linear.gradients), on: compute)
            guard let dora = linear.dora else { return }
            let z = workspace.matrix("adapter.z", rows: x.rows, columns: linear.outputs)
            linear.base.forward(x, into: Operand(z), pieces: linear.pieces, on: compute) { linear.forwardFactor.add(u, to: $0, on: compute) }
            for target in linear.targets {
                guard let place = target.magnitude else { continue }
                let sums = Matrix(buffer: linear.gradients, offset: place, rows: 1, columns: target.outputs.count, stride: target.outputs.count)
                addColumnDots(dy.columns(target.outputs), z.columns(target.outputs), factors: dora.inverses.columns(target.outputs), to: sums, on: compute)
            }
        }
    }

    private var pieces: PackedLinear.Pieces { PackedLinear.Pieces(columns: parts == 1 ? 512 : 256, parts: parts) }

    func gradient(_ dy: Operand, mask: DropoutMask?, _ workspace: inout Workspace, on compute: Compute) -> Gradient {
        var dz = dy
        if let dora {
            dz = workspace.operand("adapter.dz", rows: dy.rows, columns: dy.columns, precision: dy.precision)
            scaleColumns(dy, by: dora.factors, into: dz, on: compute)
        }
        let du = workspace.operand("adapter.du", rows: dy.rows, columns: rank, precision: dy.precision)
        back.forward(dz, into: du, on: compute) { scaleColumns($0, by: scales) }
        return Gradient(linear: self, dy: dy, dz: dz, du: du, mask: mask, compute: compute)
    }

    /// y (+)= the adapted product of fp32 rows, for a step of decoding.
    func decode(_ x: Matrix, into y: Matrix, accumulate: Bool, operand: FloatBuffer, _ workspace: inout Workspace, on compute: Compute) {
        let z = dora != nil && accumulate ? workspace.matrix("adapter.z", rows: x.rows, columns: outputs) : y
        base.decode(x, into: z, accumulate: accumulate && dora == nil, operand: operand, on: compute)
        let u = workspace.matrix("adapter.step", rows: x.rows, columns: rank)
        down.forward(x, into: u, on: compute)
        for row in 0..<u.rows { for j in 0..<rank { u.pointer[row * u.stride + j] *= scales.pointer[j] } }
        let rounded = workspace.operand("adapter.u", rows: x.rows, columns: rank, precision: forwardFactor.precision)
        convert(u, into: rounded, on: compute)
        forwardFactor.add(rounded, to: z, on: compute)
        guard let dora else { return }
        for row in 0..<z.rows {
            let (from, to) = (z.pointer + row * z.stride, y.pointer + row * y.stride)
            for j in 0..<outputs { to[j] = (accumulate ? to[j] : 0) + from[j] * dora.factors.pointer[j] }
        }
    }
}
