import CAlign

/// Rows of one task of a product: a multiple of every kernel's tile, small enough to stay in a core's cache.
let productRows = 96

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
    /// Frozen weights in a file's blocks, in place of `weight` and panels of their own.
    let stored: StoredLinear?
    /// bf16 in the memory of floats: panels of 32 outputs, and panels of 32 inputs.
    private var byOutput: FloatBuffer?
    private var byInput: FloatBuffer?

    public init(outputs: Int, inputs: Int, precision: Precision, forwardOnly: Bool = false) {
        self.outputs = outputs
        self.inputs = inputs
        self.precision = precision
        self.forwardOnly = forwardOnly
        stored = nil
    }

    /// Frozen weights that stay in their blocks: the panels of a product are made as it needs them, a few at a time.
    ///
    /// Results are, to the bit, those of the dequantised weights packed whole.
    public init(_ stored: StoredLinear, precision: Precision) {
        (outputs, inputs, self.precision, self.stored, forwardOnly) = (stored.outputs, stored.inputs, precision, stored, false)
    }

    /// The bf16 panels of 32 outputs, `[inputs/2][32][2]` each; nil under fp32.
    var outputPanels: UnsafePointer<UInt16>? { byOutput.map { UnsafePointer($0.base.halves) } }

    private var paddedInputs: Int { (inputs + 31) / 32 * 32 }
    private var paddedOutputs: Int { (outputs + 31) / 32 * 32 }

    /// Takes the weights as they are now; to be called after every change of them.
    public func pack(_ weight: Matrix, on compute: Compute) {
        compute.phase(.packing) {
            if precision == .bf16 { pack(weight, on: compute) { _ in } } else { self.weight = weight }
        }
    }

    /// Calls `change` for every few rows of the weights, several at a time, and packs them while they are in the cache.
    public func pack(_ weight: Matrix, on compute: Compute, afterChanging change: (Range<Int>) -> Void) {
        precondition(weight.rows == outputs && weight.columns == inputs, "weight [\(weight.rows), \(weight.columns)] for [\(outputs), \(inputs)]")
        // Packed weights need not stay.
        self.weight = precision == .fp32 ? weight : nil
        if precision == .bf16 && byOutput == nil {
            byOutput = FloatBuffer(count: paddedOutputs * paddedInputs / 2)
            byInput = forwardOnly ? nil : FloatBuffer(count: paddedOutputs * paddedInputs / 2)
        }
        let kernels = compute.kernels
        compute.parallel((outputs + 31) / 32) { slab in
            let rows = slab * 32..<min(slab * 32 + 32, outputs)
            change(rows)
            let values = weight.pointer + rows.lowerBound * weight.stride
            if let byOutput {
                kernels.pointee.pack_bf16(values, weight.stride, Int32(rows.count), Int32(inputs), 0, byOutput.base.halves + slab * 32 * paddedInputs)
            }
            guard let byInput else { return }
            for column in stride(from: 0, to: inputs, by: 32) {
                kernels.pointee.pack_bf16(values + column, weight.stride, Int32(min(32, inputs - column)), Int32(rows.count), 1,
                    byInput.base.halves + column * paddedOutputs + slab * 32 * 32)
            }
        }
    }

    /// Where a product's results are while they are still in the cache: `parts` blocks of columns side by side in each row.
    public struct Piece {
        public let rows: Range<Int>
        /// Columns of every part.
        public let columns: Range<Int>
        /// First row of the first part; the next part begins `columns.count` floats on.
        public let values: UnsafeMutablePointer<Float>
        public let stride: Int
    }

    /// How a product is cut where its results are handed on: columns of one piece, and equal parts of the outputs that
    /// each piece has its columns of (gate and up). `columns` is a multiple of 32.
    public struct Pieces: Sendable {
        public var columns: Int
        public var parts: Int
        public init(columns: Int = 512, parts: Int = 1) {
            precondition(columns > 0 && columns % 32 == 0 && parts > 0, "pieces of \(columns) columns, \(parts) parts")
            self.columns = columns
            self.parts = parts
        }
    }

    /// y = x·Wᵀ for all outputs, or for a range of them that starts at a multiple of 32.
    ///
    /// `epilogue` gets the fp32 results piece by piece before they are rounded into `y`, and may change them; the pieces of a
    /// row come in the order of columns. Without `y` the results are the epilogue's alone, and never whole in memory under bf16.
    /// - Parameters:
    ///   - x: `[rows, inputs]`.
    ///   - y: `[rows, outputs.count]`.
    public func forward(
        _ x: Operand, outputs range: Range<Int>? = nil, into y: Operand? = nil, pieces: Pieces = Pieces(), on compute: Compute, epilogue: (Piece) -> Void
    ) {
        compute.phase(.products) { run(.forward(range ?? 0..<outputs), x, into: y, accumulate: false, pieces, compute, epilogue) }
    }

    /// y = x·Wᵀ with nothing to hand on.
    public func forward(_ x: Operand, outputs range: Range<Int>? = nil, into y: Operand, on compute: Compute) {
        compute.phase(.products) { run(.forward(range ?? 0..<outputs), x, into: y, accumulate: false, nil, compute) { _ in } }
    }

    /// dx = dy·W; else as `forward`.
    public func backwardInput(
        _ dy: Operand, into dx: Operand? = nil, pieces: Pieces = Pieces(), on compute: Compute, epilogue: (Piece) -> Void
    ) {
        compute.phase(.inputGradients) { run(.inputGradient(0..<outputs), dy, into: dx, accumulate: false, pieces, compute, epilogue) }
    }

    /// dx (+)= dy·W, or the share of a range of outputs that starts at a multiple of 32: dy then has only these columns.
    public func backwardInput(_ dy: Operand, outputs range: Range<Int>? = nil, into dx: Operand, accumulate: Bool = false, on compute: Compute) {
        compute.phase(.inputGradients) { run(.inputGradient(range ?? 0..<outputs), dy, into: dx, accumulate: accumulate, nil, compute) { _ in } }
    }

    /// y (+)= x·Wᵀ of fp32 rows, which are rounded on the way where the layer is bf16.
    public func forward(_ x: Matrix, outputs range: Range<Int>? = nil, into y: Matrix, accumulate: Bool = false, on compute: Compute) {
        compute.phase(.products) { rounded(.forward(range ?? 0..<outputs), x, y, accumulate, compute) }
    }

    /// dx (+)= dy·W of fp32 rows.
    public func backwardInput(_ dy: Matrix, outputs range: Range<Int>? = nil, into dx: Matrix, accumulate: Bool = false, on compute: Compute) {
        compute.phase(.inputGradients) { rounded(.inputGradient(range ?? 0..<outputs), dy, dx, accumulate, compute) }
    }

    /// Which of the layer's two products, for which outputs.
    enum Product {
        case forward(Range<Int>)
        case inputGradient(Range<Int>)
    }

    private func rounded(_ product: Product, _ x: Matrix, _ y: Matrix, _ accumulate: Bool, _ compute: Compute) {
        guard precision == .bf16, x.rows > 0 else { return run(product, Operand(x), into: Operand(y), accumulate: accumulate, nil, compute) { _ in } }
        compute.withScratchBuffer(Operand.floats(rows: x.rows, columns: x.columns, precision: .bf16)) { buffer in
            let operand = Operand(buffer: buffer, offset: 0, rows: x.rows, columns: x.columns, precision: .bf16)
            convert(x, into: operand, on: compute)
            run(product, operand, into: Operand(y), accumulate: accumulate, nil, compute) { _ in }
        }
    }

    /// - Parameter pieces: nil: nobody wants them.
    private func run(_ product: Product, _ x: Operand, into y: Operand?, accumulate: Bool, _ pieces: Pieces?, _ compute: Compute, _ epilogue: (Piece) -> Void) {
        precondition(x.precision == precision, "\(x.precision) rows for a layer of \(precision)")
        let (n, k, range): (Int, Int, Range<Int>) =
            switch product {
            case let .forward(range): (range.count, inputs, range)
            case let .inputGradient(range): (inputs, range.count, range)
            }
        precondition(x.columns == k && range.lowerBound % 32 == 0 && range.upperBound <= outputs,
            "x [\(x.rows), \(x.columns)], outputs \(range) of [\(outputs), \(inputs)]")
        precondition(y.map { $0.rows == x.rows && $0.columns == n } ?? true, "y [\(y?.rows ?? 0), \(y?.columns ?? 0)] for [\(x.rows), \(n)]")
        guard x.rows > 0 else { return }
        if let stored { return waves(product, stored, x, n, k, into: y, accumulate: accumulate, pieces, compute, epilogue) }
        if let target = y?.matrix {  // results have a place of their own
            whole(product, x, n, target, accumulate, compute)
            if let pieces { cut(target.pointer, target.stride, x.rows, n, pieces, compute, epilogue) }
            return
        }
        precondition(!accumulate, "sums are kept in fp32 only")
        let cuts = pieces ?? Pieces()
        let width = n / cuts.parts
        if precision == .bf16 && x.rows >= 4 * compute.threads * productRows && (cuts.parts == 1 || width % 32 == 0) {
            return fused(product, x, n, y, cuts, compute, epilogue)
        }
        compute.withScratchBuffer(x.rows * n) { buffer in
            let target = Matrix(buffer: buffer, offset: 0, rows: x.rows, columns: n, stride: n)
            whole(product, x, n, target, false, compute)
            if let pieces { cut(target.pointer, n, x.rows, n, pieces, compute, epilogue) }
            if let y { convert(target, into: y, on: compute) }
        }
    }

    /// Hands finished results on, in the pieces that `fused` would have made.
    private func cut(_ values: UnsafeMutablePointer<Float>, _ stride: Int, _ rows: Int, _ n: Int, _ pieces: Pieces, _ compute: Compute, _ epilogue: (Piece) -> Void) {
        let width = n / pieces.parts
        let step = pieces.parts == 1 ? pieces.columns : width
        compute.forEachRowBlock(rows, size: 16) { r in
            for first in Swift.stride(from: 0, to: width, by: step) {
                epilogue(Piece(rows: r, columns: first..<min(first + step, width), values: values + r.lowerBound * stride + first, stride: stride))
            }
        }
    }

    /// bf16: each task takes a block of rows through all outputs, a few panels at a time, and hands them on from the cache.
    private func fused(_ product: Product, _ x: Operand, _ n: Int, _ y: Operand?, _ pieces: Pieces, _ compute: Compute, _ epilogue: (Piece) -> Void) {
        let kernels = compute.kernels
        let (packed, panelStride, k) = panels(product)
        let width = n / pieces.parts
        let size = compute.productBlock(x.rows)
        let panelsFollow = panelStride == (k + 31) / 32 * 32 * 32
        compute.parallel((x.rows + size - 1) / size) { block in
            let rows = block * size..<min(x.rows, (block + 1) * size)
            compute.withScratch(size * pieces.parts * pieces.columns) { scratch in
                for first in Swift.stride(from: 0, to: width, by: pieces.columns) {
                    let columns = first..<min(first + pieces.columns, width)
                    let stride = pieces.parts * columns.count
                    for part in 0..<pieces.parts {
                        let step = panelsFollow ? columns.count : 32
                        for p in Swift.stride(from: 0, to: columns.count, by: step) {
                            kernels.pointee.gemm_bf16(x.halves + rows.lowerBound * x.stride, x.stride, packed + (part * width + first + p) / 32 * panelStride,
                                scratch + part * columns.count + p, stride, Int32(rows.count), Int32(min(step, columns.count - p)), Int32(k), 0)
                        }
                    }
                    epilogue(Piece(rows: rows, columns: columns, values: scratch, stride: stride))
                    guard let y else { continue }
                    for part in 0..<pieces.parts {
                        y.store(scratch + part * columns.count, stride: stride, rows: rows, columns: part * width + first..<part * width + columns.upperBound, kernels)
                    }
                }
            }
        }
    }

    /// A bf16 product's right side: its first panel, from one panel to the next, and the length of the contraction.
    private func panels(_ product: Product) -> (packed: UnsafePointer<UInt16>, stride: Int, k: Int) {
        switch product {
        case let .forward(range):
            guard let byOutput else { preconditionFailure("a product before pack") }
            return (UnsafePointer(byOutput.base.halves + range.lowerBound * paddedInputs), paddedInputs * 32, inputs)
        case let .inputGradient(range):
            guard let byInput else { preconditionFailure("this layer was packed for forward only") }
            return (UnsafePointer(byInput.base.halves + range.lowerBound * 32), paddedOutputs * 32, range.count)
        }
    }

    /// The product into fp32 rows that have a place of their own.
    private func whole(_ product: Product, _ x: Operand, _ n: Int, _ y: Matrix, _ accumulate: Bool, _ compute: Compute) {
        guard let rows = x.matrix else { return halfProduct(product, x, n, y, accumulate, compute) }
        guard let weight else { preconditionFailure("a product before pack") }
        switch product {
        case let .forward(range):
            let w = weight.rows(range)
            if compute.floatProducts == .openblas { return OpenBLAS.product(rows, w, transposed: true, into: y, accumulate: accumulate, on: compute) }
            floatProduct(rows, n: n, k: inputs, y, accumulate, compute) { kernels, panel, count, packed in
                kernels.pointee.pack_f32(w.pointer + panel * 32 * w.stride, w.stride, count, Int32(w.columns), 0, packed)
            }
        case let .inputGradient(range):
            let w = weight.rows(range)
            if compute.floatProducts == .openblas { return OpenBLAS.product(rows, w, transposed: false, into: y, accumulate: accumulate, on: compute) }
            floatProduct(rows, n: n, k: range.count, y, accumulate, compute) { kernels, panel, count, packed in
                kernels.pointee.pack_f32(w.pointer + panel * 32, w.stride, count, Int32(w.rows), 1, packed)
            }
        }
    }

    /// bf16: row blocks by groups of panels.
    private func halfProduct(_ product: Product, _ x: Operand, _ n: Int, _ y: Matrix, _ accumulate: Bool, _ compute: Compute) {
        let kernels = compute.kernels
        let (packed, panelStride, k) = panels(product)
        let size = compute.productBlock(x.rows)
        let blocks = (x.rows + size - 1) / size
        let panels = (n + 31) / 32
        // Few rows (decoding): every panel group is a task; many: the rows' blocks suffice.
        let group = blocks >= 8 * compute.threads ? panels : max(1, min(panels, 16))
        let groups = (panels + group - 1) / group
        compute.parallel(blocks * groups) { task in
            let rows = task / groups * size
            let panel = task % groups * group
            let columns = min(group * 32, n - panel * 32)
            let count = min(size, x.rows - rows)
            for p in Swift.stride(from: 0, to: columns, by: 32) {
                kernels.pointee.gemm_bf16(x.halves + rows * x.stride, x.stride, packed + (panel + p / 32) * panelStride, y.pointer + rows * y.stride + panel * 32 + p,
                    y.stride, Int32(count), Int32(min(32, columns - p)), Int32(k), accumulate ? 1 : 0)
            }
        }
    }

    /// fp32: one task a panel, packed on the spot, run over all rows.
    private func floatProduct(
        _ x: Matrix, n: Int, k: Int, _ y: Matrix, _ accumulate: Bool, _ compute: Compute,
        pack: (UnsafePointer<align_kernels>, Int, Int32, UnsafeMutablePointer<Float>) -> Void
    ) {
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

extension Compute {
    /// Weights rounded to bf16 as `PackedLinear` takes them.
    public func settle(_ values: UnsafePointer<Float>, into halves: UnsafeMutableRawPointer, count: Int) {
        kernels.pointee.settle(values, halves.assumingMemoryBound(to: UInt16.self), Int32(count), Int32(count))
    }
}
