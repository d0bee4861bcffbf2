import CAlign

/// One factor of a low-rank term, W `[outputs, rank]`, kept packed whole: u·Wᵀ is added to another product's results on their way.
public final class LowRankFactor: @unchecked Sendable {  // `pack` is called between products, never during one
    public let outputs: Int
    public let rank: Int
    public let precision: Precision
    /// Equal parts of the outputs that the other product's pieces have columns of.
    private let parts: Int
    private let panelFloats: Int
    private let buffer: FloatBuffer

    private var width: Int { outputs / parts }
    private var panels: Int { (width + 31) / 32 }

    public init(outputs: Int, rank: Int, parts: Int = 1, precision: Precision) {
        precondition(parts > 0 && outputs % parts == 0, "\(outputs) outputs in \(parts) parts")
        (self.outputs, self.rank, self.parts, self.precision) = (outputs, rank, parts, precision)
        panelFloats = precision == .bf16 ? (rank + 31) / 32 * 32 * 16 : 32 * rank
        buffer = FloatBuffer(count: parts * ((outputs / parts + 31) / 32) * panelFloats)
    }

    /// Takes W as it is now.
    /// - Parameter weight: `[outputs, rank]`, or `[rank, outputs]` where `isTransposed`.
    public func pack(_ weight: Matrix, isTransposed: Bool = false, on compute: Compute) {
        let (n, k) = isTransposed ? (weight.columns, weight.rows) : (weight.rows, weight.columns)
        precondition(n == outputs && k == rank, "weight for [\(n), \(k)], factor [\(outputs), \(rank)]")
        let kernels = compute.kernels
        compute.parallel(parts * panels) { index in
            let (part, panel) = (index / panels, index % panels)
            let first = part * width + panel * 32
            let source = weight.pointer + (isTransposed ? first : first * weight.stride)
            let (count, turned) = (Int32(min(32, width - panel * 32)), Int32(isTransposed ? 1 : 0))
            let packed = buffer.base + index * panelFloats
            switch precision {
            case .bf16: kernels.pointee.pack_bf16(source, weight.stride, count, Int32(k), turned, packed.halves)
            case .fp32: kernels.pointee.pack_f32(source, weight.stride, count, Int32(k), turned, packed)
            }
        }
    }

    /// piece += u·Wᵀ for the piece's rows and columns; u is `[rows, rank]`.
    /// - Parameter mask: What each element of the term is multiplied with before it is added; nil: 1.
    public func add(_ u: Operand, to piece: PackedLinear.Piece, mask: DropoutMask? = nil, on compute: Compute) {
        precondition(u.columns == rank && u.precision == precision && piece.columns.lowerBound % 32 == 0, "u of \(u.columns) \(u.precision) for rank \(rank)")
        let columns = piece.columns.count
        guard let mask else {
            return multiply(u, rows: piece.rows, columns: piece.columns, into: piece.values, stride: piece.stride, accumulate: true, compute)
        }
        compute.withScratch(piece.rows.count * parts * columns) { term in
            let stride = parts * columns
            multiply(u, rows: piece.rows, columns: piece.columns, into: term, stride: stride, accumulate: false, compute)
            for (i, row) in piece.rows.enumerated() {
                for part in 0..<parts {
                    let values = term + i * stride + part * columns
                    mask.apply(to: values, row: row, columns: part * width + piece.columns.lowerBound..<part * width + piece.columns.upperBound)
                    compute.path.elementwise.pointee.add(values, piece.values + i * piece.stride + part * columns, columns)
                }
            }
        }
    }

    /// y += u·Wᵀ for all rows and columns.
    public func add(_ u: Operand, to y: Matrix, on compute: Compute) {
        precondition(y.rows == u.rows && y.columns == outputs, "y [\(y.rows), \(y.columns)] for [\(u.rows), \(outputs)]")
        add(u, to: PackedLinear.Piece(rows: 0..<y.rows, columns: 0..<width, values: y.pointer, stride: y.stride), on: compute)
    }

    private func multiply(
        _ u: Operand, rows: Range<Int>, columns: Range<Int>, into values: UnsafeMutablePointer<Float>, stride: Int, accumulate: Bool, _ compute: Compute
    ) {
        let kernels = compute.kernels
        let (m, n, k, adds) = (Int32(rows.count), Int32(columns.count), Int32(rank), Int32(accumulate ? 1 : 0))
        for part in 0..<parts {
            let packed = buffer.base + (part * panels + columns.lowerBound / 32) * panelFloats
            let target = values + part * columns.count
            switch precision {
            case .bf16: kernels.pointee.gemm_bf16(u.halves + rows.lowerBound * u.stride, u.stride, packed.halves, target, stride, m, n, k, adds)
            case .fp32: kernels.pointee.gemm_f32(u.floats + rows.lowerBound * u.stride, u.stride, packed, k, target, stride, m, n, k, adds)
            }
        }
    }
}

/// Which elements of rows are dropped, and by what the others grow: a function of each row's key, a layer's key and the column alone.
public struct DropoutMask: Sendable {
    private let rowKeys: [UInt64]
    private let layerKey: UInt64
    /// Of 65536: an element is dropped if its 16 bits lie below.
    private let threshold: UInt64
    private let factor: Float

    /// - Parameter probability: Of an element to be dropped, in [0, 1); rounded to 1/65536.
    public init(rowKeys: [UInt64], layerKey: UInt64, probability: Double) {
        precondition(probability >= 0 && probability < 1, "a share of \(probability) dropped")
        (self.rowKeys, self.layerKey) = (rowKeys, layerKey)
        threshold = min(65535, UInt64((probability * 65536).rounded()))
        factor = Float(65536 / Double(65536 - threshold))
    }

    /// Multiplies values of one row; `columns` begins at a multiple of 4.
    func apply(to values: UnsafeMutablePointer<Float>, row: Int, columns: Range<Int>) {
        var column = columns.lowerBound
        while column < columns.upperBound {
            var bits = mixed(rowKeys[row] ^ layerKey &+ UInt64(column / 4))
            for _ in 0..<min(4, columns.upperBound - column) {
                let place = values + column - columns.lowerBound
                place.pointee = bits & 0xFFFF < threshold ? 0 : place.pointee * factor
                bits >>= 16
                column += 1
            }
        }
    }

    /// Keys of a token chain: each token's follows from all before it, so that a chain has the same masks in every batch.
    public static func key(_ previous: UInt64, token: Int32) -> UInt64 { mixed(previous ^ UInt64(UInt32(bitPattern: token)) &+ 0x9E37_79B9_7F4A_7C15) }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
private func mixed(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
}

extension DropoutMask {
    /// The rows of x with the mask on them.
    public func apply(to x: Operand, into y: Operand, on compute: Compute) {
        precondition(x.rows == y.rows && x.columns == y.columns && x.rows <= rowKeys.count, "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)], \(rowKeys.count) keys")
        compute.phase(.elementwise) {
            compute.forEachRowBlock(x.rows, size: 32) { rows in
                compute.withScratch(x.columns) { values in
                    for row in rows {
                        x.load(values, stride: x.columns, rows: row..<row + 1, columns: 0..<x.columns, compute.kernels)
                        apply(to: values, row: row, columns: 0..<x.columns)
                        y.store(values, stride: x.columns, rows: row..<row + 1, columns: 0..<x.columns, compute.kernels)
                    }
                }
            }
        }
    }
}

/// Multiplies a product's results on their way.
public func scale(_ piece: PackedLinear.Piece, by factor: Float, on compute: Compute) {
    for i in 0..<piece.rows.count { compute.path.elementwise.pointee.scale(piece.values + i * piece.stride, factor, piece.columns.count) }
}

/// Multiplies each column of a product's results on their way with its factor; `factors` has one for every output, `parts` parts one after the other.
public func scaleColumns(_ piece: PackedLinear.Piece, by factors: Matrix, parts: Int = 1) {
    let width = factors.columns / parts
    for i in 0..<piece.rows.count {
        for part in 0..<parts {
            let values = piece.values + i * piece.stride + part * piece.columns.count
            let own = factors.pointer + part * width + piece.columns.lowerBound
            for j in 0..<piece.columns.count { values[j] *= own[j] }
        }
    }
}

/// y = x with each column multiplied with its factor.
public func scaleColumns(_ x: Operand, by factors: Matrix, into y: Operand, on compute: Compute) {
    precondition(x.rows == y.rows && x.columns == y.columns && factors.columns == x.columns, "x [\(x.rows), \(x.columns)], \(factors.columns) factors")
    compute.phase(.elementwise) {
        compute.forEachRowBlock(x.rows, size: 32) { rows in
            compute.withScratch(rows.count * x.columns) { values in
                x.load(values, stride: x.columns, rows: rows, columns: 0..<x.columns, compute.kernels)
                for i in 0..<rows.count {
                    for j in 0..<x.columns { values[i * x.columns + j] *= factors.pointer[j] }
                }
                y.store(values, stride: x.columns, rows: rows, columns: 0..<x.columns, compute.kernels)
            }
        }
    }
}

/// sums[j] += factors[j]·Σ over rows of x[·, j]·y[·, j], in the order of the rows.
public func addColumnDots(_ x: Operand, _ y: Matrix, factors: Matrix, to sums: Matrix, on compute: Compute) {
    precondition(x.rows == y.rows && x.columns == y.columns && sums.columns == x.columns && factors.columns == x.columns,
        "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)], sums \(sums.columns)")
    compute.phase(.elementwise) {
        let width = 64
        compute.parallel((x.columns + width - 1) / width) { block in
            let columns = block * width..<min(x.columns, block * width + width)
            var totals = [Double](repeating: 0, count: columns.count)
            compute.withScratch(width) { values in
                for row in 0..<x.rows {
                    x.load(values, stride: width, rows: row..<row + 1, columns: columns, compute.kernels)
                    let other = y.pointer + row * y.stride + columns.lowerBound
                    for j in 0..<columns.count { totals[j] += Double(values[j]) * Double(other[j]) }
                }
            }
            for (j, column) in columns.enumerated() { sums.pointer[column] += Float(totals[j] * Double(factors.pointer[column])) }
        }
    }
}
