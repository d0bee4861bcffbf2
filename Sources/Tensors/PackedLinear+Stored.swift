import CAlign

// Products with frozen weights that stay in a file's blocks.
extension PackedLinear {
    /// Bytes of panels that exist at a time where nobody asks for pieces of a certain width.
    private static let waveBytes = 8 << 20

    /// The product, some columns at a time: their panels are made of the blocks by all threads, then every block of rows takes them.
    func waves(
        _ product: Product, _ stored: StoredLinear, _ x: Operand, _ n: Int, _ k: Int, into y: Operand?, accumulate: Bool, _ pieces: Pieces?,
        _ compute: Compute, _ epilogue: (Piece) -> Void
    ) {
        let isHalf = precision == .bf16
        let panelFloats = isHalf ? (k + 31) / 32 * 32 * 16 : 32 * k
        let cuts = pieces ?? Pieces(columns: max(1, min(16, Self.waveBytes / (4 * panelFloats))) * 32)
        // Results of a product that nobody looks at on the way go where they belong.
        let target = pieces == nil ? y?.matrix : nil
        precondition(target != nil || !accumulate, "sums are kept in fp32 only")
        let width = n / cuts.parts
        let size = compute.productBlock(x.rows)
        let kernels = compute.kernels
        for first in Swift.stride(from: 0, to: width, by: cuts.columns) {
            let columns = first..<min(first + cuts.columns, width)
            let panels = (columns.count + 31) / 32
            compute.withScratch(cuts.parts * panels * panelFloats) { packed in
                compute.parallel(cuts.parts * panels) { index in
                    let column = index / panels * width + first + index % panels * 32
                    expand(product, stored, panel: column, k, into: packed + index * panelFloats, compute)
                }
                func multiply(_ rows: Range<Int>, part: Int, into values: UnsafeMutablePointer<Float>, stride: Int) {
                    let b = packed + part * panels * panelFloats
                    if isHalf {
                        kernels.pointee.gemm_bf16(x.halves + rows.lowerBound * x.stride, x.stride, b.halves, values, stride, Int32(rows.count),
                            Int32(columns.count), Int32(k), accumulate ? 1 : 0)
                    } else {
                        kernels.pointee.gemm_f32(x.floats + rows.lowerBound * x.stride, x.stride, b, Int32(k), values, stride, Int32(rows.count),
                            Int32(columns.count), Int32(k), accumulate ? 1 : 0)
                    }
                }
                compute.parallel((x.rows + size - 1) / size) { block in
                    let rows = block * size..<min(x.rows, (block + 1) * size)
                    if let target { return multiply(rows, part: 0, into: target.pointer + rows.lowerBound * target.stride + first, stride: target.stride) }
                    let stride = cuts.parts * columns.count
                    compute.withScratch(rows.count * stride) { values in
                        for part in 0..<cuts.parts { multiply(rows, part: part, into: values + part * columns.count, stride: stride) }
                        epilogue(Piece(rows: rows, columns: columns, values: values, stride: stride))
                        guard let y else { return }
                        for part in 0..<cuts.parts {
                            y.store(values + part * columns.count, stride: stride, rows: rows, columns: part * width + first..<part * width + columns.upperBound, kernels)
                        }
                    }
                }
            }
        }
    }

    /// Bytes of a frozen layer's blocks; nil for others.
    public var storedBytes: Int? { stored?.bytes }

    /// ‖W_o‖² of a frozen layer's row, of the weights as stored.
    public func squaredNorm(ofOutput output: Int) -> Float {
        guard let stored else { preconditionFailure("norms are of frozen layers") }
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: inputs) { row in
            stored.row(output, into: row.baseAddress!)
            return Float(row.reduce(0.0) { $0 + Double($1) * Double($1) })
        }
    }

    /// y = x·Wᵀ of a frozen layer in fp32, whatever the precision of its other products.
    public func exactForward(_ x: Matrix, into y: Matrix, on compute: Compute) {
        guard let stored else { preconditionFailure("exact products are of frozen layers") }
        stored.forward(x, into: y, on: compute)
    }

    /// The panel of a product's right side that begins at column `panel`, of its type.
    private func expand(_ product: Product, _ stored: StoredLinear, panel: Int, _ k: Int, into packed: UnsafeMutablePointer<Float>, _ compute: Compute) {
        let (table, kernels) = (compute.path.stored, compute.kernels)
        let lanes = StoredLinear.panel
        switch product {
        case let .forward(outputs):
            guard precision == .bf16 else { return stored.expand(output: outputs.lowerBound + panel, inputs: 0..<inputs, into: packed, table) }
            let step = 128  // inputs whose floats stay in the first cache
            withUnsafeTemporaryAllocation(of: Float.self, capacity: step * lanes) { tile in
                for first in Swift.stride(from: 0, to: inputs, by: step) {
                    let count = min(step, inputs - first)
                    stored.expand(output: outputs.lowerBound + panel, inputs: first..<first + count, into: tile.baseAddress!, table)
                    kernels.pointee.pack_bf16(tile.baseAddress!, lanes, Int32(lanes), Int32(count), 1, packed.halves + first * lanes)
                }
            }
        case let .inputGradient(outputs):
            let columns = min(lanes, inputs - panel)
            withUnsafeTemporaryAllocation(of: Float.self, capacity: lanes * lanes) { tile in
                for first in Swift.stride(from: 0, to: k, by: lanes) {
                    stored.expand(output: outputs.lowerBound + first, inputs: panel..<panel + columns, into: tile.baseAddress!, table)
                    let count = Int32(min(lanes, k - first))
                    if precision == .bf16 {
                        kernels.pointee.pack_bf16(tile.baseAddress!, lanes, Int32(columns), count, 0, packed.halves + first * lanes)
                    } else {
                        kernels.pointee.pack_f32(tile.baseAddress!, lanes, Int32(columns), count, 0, packed + first * lanes)
                    }
                }
            }
        }
    }
}
