import CAlign

/// Rows of activations in the type that matrix products take: fp32, or bf16 padded with zeros to a multiple of 32 columns.
///
/// Keeping them so saves the products a conversion, and under bf16 half the memory; a view, which keeps its buffer alive.
public struct Operand: Sendable {
    public let precision: Precision
    public let buffer: FloatBuffer
    /// In elements of the type, as is `stride`.
    let offset: Int
    public let rows: Int
    public let columns: Int
    public let stride: Int

    /// Elements from one row's start to the next's for rows of their own: under bf16 never whole pages, since the rows of a product's tile
    /// would then share one place in the nearest cache.
    static func stride(_ columns: Int, _ precision: Precision) -> Int {
        guard precision == .bf16 else { return columns }
        let padded = (columns + 31) / 32 * 32
        return padded > 0 && padded % 2048 == 0 ? padded + 32 : padded
    }

    /// Floats of memory that `rows` rows take.
    public static func floats(rows: Int, columns: Int, precision: Precision) -> Int {
        let elements = rows * stride(columns, precision)
        return precision == .bf16 ? (elements + 1) / 2 : elements
    }

    /// Zeroed memory of its own.
    public init(rows: Int, columns: Int, precision: Precision) {
        self.init(buffer: FloatBuffer(count: Operand.floats(rows: rows, columns: columns, precision: precision)), offset: 0, rows: rows, columns: columns, precision: precision)
    }

    /// - Parameter offset: In floats.
    public init(buffer: FloatBuffer, offset: Int, rows: Int, columns: Int, precision: Precision) {
        precondition(offset >= 0 && offset + Operand.floats(rows: rows, columns: columns, precision: precision) <= buffer.count,
            "offset \(offset), [\(rows), \(columns)] of \(precision.rawValue) in \(buffer.count) floats")
        self.init(precision: precision, buffer: buffer, elementOffset: precision == .bf16 ? 2 * offset : offset, rows: rows, columns: columns,
            stride: Operand.stride(columns, precision))
    }

    /// fp32 rows as they are.
    public init(_ matrix: Matrix) {
        self.init(precision: .fp32, buffer: matrix.buffer, elementOffset: matrix.offset, rows: matrix.rows, columns: matrix.columns, stride: matrix.stride)
    }

    private init(precision: Precision, buffer: FloatBuffer, elementOffset: Int, rows: Int, columns: Int, stride: Int) {
        self.precision = precision
        self.buffer = buffer
        self.offset = elementOffset
        self.rows = rows
        self.columns = columns
        self.stride = stride
    }

    /// Some of the columns. What lies beside them is then not zero: such a view is for attention, not for products.
    public func columns(_ range: Range<Int>) -> Operand {
        precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
        return Operand(precision: precision, buffer: buffer, elementOffset: offset + range.lowerBound, rows: rows, columns: range.count, stride: stride)
    }

    public func rows(_ range: Range<Int>) -> Operand {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return Operand(precision: precision, buffer: buffer, elementOffset: offset + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
    }

    /// The fp32 values; nil under bf16.
    public var matrix: Matrix? {
        precision == .fp32 ? Matrix(buffer: buffer, offset: offset, rows: rows, columns: columns, stride: stride) : nil
    }

    var floats: UnsafeMutablePointer<Float> { buffer.base + offset }
    var halves: UnsafeMutablePointer<UInt16> { buffer.base.halves + offset }
    var raw: UnsafeMutableRawPointer { precision == .bf16 ? UnsafeMutableRawPointer(halves) : UnsafeMutableRawPointer(floats) }

    /// Rounds `count` values of each row into columns `range`, padding included where the range is the last.
    func store(_ source: UnsafePointer<Float>, stride sourceStride: Int, rows range: Range<Int>, columns: Range<Int>, _ kernels: UnsafePointer<align_kernels>) {
        let padded = columns.upperBound == self.columns ? max(columns.count, stride - columns.lowerBound) : columns.count
        for (i, row) in range.enumerated() {
            let (from, at) = (source + i * sourceStride, row * stride + columns.lowerBound)
            switch precision {
            case .bf16: kernels.pointee.to_bf16(from, halves + at, Int32(columns.count), Int32(padded))
            case .fp32: (floats + at).update(from: from, count: columns.count)
            }
        }
    }

    /// The values of rows and columns as fp32.
    func load(_ target: UnsafeMutablePointer<Float>, stride targetStride: Int, rows range: Range<Int>, columns: Range<Int>, _ kernels: UnsafePointer<align_kernels>) {
        for (i, row) in range.enumerated() {
            let (to, at) = (target + i * targetStride, row * stride + columns.lowerBound)
            switch precision {
            case .bf16: kernels.pointee.from_bf16(halves + at, to, Int32(columns.count))
            case .fp32: to.update(from: floats + at, count: columns.count)
            }
        }
    }

    /// Overwrites one row with another operand's, of the same type and length.
    public func copy(row: Int, from other: Operand, row source: Int) {
        precondition(other.precision == precision && other.columns == columns, "a row of \(other.columns) \(other.precision) for \(columns) \(precision)")
        let bytes = precision == .bf16 ? 2 : 4
        (raw + row * stride * bytes).copyMemory(from: other.raw + source * other.stride * bytes, byteCount: columns * bytes)
    }

    /// Zeroes what products read beyond the columns, for writers that leave it alone.
    func clearPadding() {
        guard precision == .bf16, columns % 32 != 0 else { return }
        for row in 0..<rows { (halves + row * stride + columns).update(repeating: 0, count: (columns + 31) / 32 * 32 - columns) }
    }

    /// The values, row by row, for looking at them.
    public func array(on compute: Compute) -> [Float] {
        var values = [Float](repeating: 0, count: rows * columns)
        values.withUnsafeMutableBufferPointer {
            guard let base = $0.baseAddress else { return }
            load(base, stride: columns, rows: 0..<rows, columns: 0..<columns, compute.kernels)
        }
        return values
    }
}

/// Rounds x into an operand of the same shape; where it is fp32, copies.
public func convert(_ x: Matrix, into operand: Operand, on compute: Compute) {
    precondition(operand.rows == x.rows && operand.columns == x.columns, "x [\(x.rows), \(x.columns)] into [\(operand.rows), \(operand.columns)]")
    compute.phase(.elementwise) {
        compute.forEachRowBlock(x.rows, size: 32) { r in
            operand.store(x.pointer + r.lowerBound * x.stride, stride: x.stride, rows: r, columns: 0..<x.columns, compute.kernels)
        }
    }
}

extension UnsafeMutablePointer<Float> {
    /// The same memory as bf16 values.
    var halves: UnsafeMutablePointer<UInt16> { UnsafeMutableRawPointer(self).assumingMemoryBound(to: UInt16.self) }
}
