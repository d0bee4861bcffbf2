import CAlign

extension KernelPath {
    /// The kernels for stored weights and for decoding that go with a path's matrix products.
    var stored: UnsafePointer<align_stored> {
        let set: Int32 =
            switch self {
            case .amx, .avx512bf16, .avx512: 0
            case .avx2: 1
            case .portable: 2
            }
        return align_stored_for(set) ?? align_stored_for(2)!
    }
}

/// One linear layer's weights W `[outputs, inputs]` in the blocks a file stores them in, multiplied without being unpacked: y = x·Wᵀ.
///
/// Activations and sums are fp32, and a weight is the very float that the block stands for: the results are, to the bit,
/// those of an fp32 product with the dequantised weights. Memory and traffic are the file's.
public final class StoredLinear: @unchecked Sendable {  // panels are written before the first product, each by one task
    public static let panel = Int(align_panel_lanes)

    /// Rows of one type, such as one of the tensors that a product takes together.
    public struct Part: Sendable {
        /// ggml's number.
        public let type: Int
        public let rows: Range<Int>
        let panelBytes: Int
        let offset: Int
        let firstPanel: Int
        public var panels: Int { (rows.count + StoredLinear.panel - 1) / StoredLinear.panel }
    }

    public let outputs: Int
    public let inputs: Int
    public let parts: [Part]
    private let buffer: FloatBuffer
    private let panels: Int

    /// Memory for the weights; `pack` fills it.
    /// - Parameter parts: ggml's types and rows of the tensors, one under the other.
    /// - Returns: nil for a type without a product, or inputs that are not whole blocks of one.
    public init?(inputs: Int, parts: [(type: Int, rows: Int)]) {
        var (result, row, offset, panel) = ([Part](), 0, 0, 0)
        for part in parts {
            let bytes = align_panel_bytes(Int32(part.type), Int32(inputs))
            guard bytes > 0 else { return nil }
            result.append(Part(type: part.type, rows: row..<row + part.rows, panelBytes: bytes, offset: offset, firstPanel: panel))
            row += part.rows
            panel += result.last!.panels
            offset += result.last!.panels * bytes
        }
        (outputs, self.inputs, self.parts, panels) = (row, inputs, result, panel)
        buffer = FloatBuffer(count: (offset + 3) / 4)
    }

    /// Bytes of weights.
    public var bytes: Int { parts.reduce(0) { $0 + $1.panels * $1.panelBytes } }

    private func address(_ part: Part) -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(buffer.base) + part.offset }

    /// Takes rows of a part as stored, whole panels of them (fewer at the part's end); different panels may be packed at a time.
    public func pack(part: Int, firstPanel: Int, rows: UnsafeRawPointer, count: Int, rowBytes: Int) {
        let part = parts[part]
        withUnsafeTemporaryAllocation(of: UnsafeRawPointer?.self, capacity: Self.panel) { pointers in
            for start in stride(from: 0, to: count, by: Self.panel) {
                let n = min(Self.panel, count - start)
                for i in 0..<n { pointers[i] = rows + (start + i) * rowBytes }
                align_panel_pack(
                    Int32(part.type), pointers.baseAddress!, Int32(n), Int32(inputs), address(part), Int32(part.panels), Int32(firstPanel + start / Self.panel))
            }
        }
    }

    /// One output's weights as floats, `inputs` of them: a token's row of an embedding.
    public func row(_ index: Int, into destination: UnsafeMutablePointer<Float>) {
        guard let part = parts.first(where: { $0.rows.contains(index) }) else { preconditionFailure("row \(index) of \(outputs)") }
        align_panel_row(Int32(part.type), address(part), Int32(part.panels), Int32(index - part.rows.lowerBound), Int32(inputs), destination)
    }

    /// Weights of 32 outputs from `output` on (zero beyond the last) and of some inputs from a multiple of 32 on, as `[inputs.count][32]`.
    func expand(output: Int, inputs range: Range<Int>, into destination: UnsafeMutablePointer<Float>, _ kernels: UnsafePointer<align_stored>) {
        if let part = parts.first(where: { $0.rows.contains(output) }), (output - part.rows.lowerBound) % Self.panel == 0,
            part.rows.upperBound >= min(outputs, output + Self.panel) {
            let index = (output - part.rows.lowerBound) / Self.panel
            return kernels.pointee.expand(
                Int32(part.type), address(part), Int32(part.panels), Int32(index), Int32(inputs), Int32(range.lowerBound), Int32(range.count), destination)
        }
        // Outputs of several parts, or not from a panel's start on: row by row.
        destination.update(repeating: 0, count: range.count * Self.panel)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: inputs) { weights in
            for lane in 0..<max(0, min(Self.panel, outputs - output)) {
                row(output + lane, into: weights.baseAddress!)
                for i in range { destination[(i - range.lowerBound) * Self.panel + lane] = weights[i] }
            }
        }
    }

    /// y (+)= x·Wᵀ; x `[rows, inputs]`, y `[rows, outputs]`. A row's bits depend on neither its neighbours nor the threads.
    public func forward(_ x: Matrix, into y: Matrix, accumulate: Bool = false, on compute: Compute) {
        precondition(x.columns == inputs && y.columns == outputs && x.rows == y.rows, "x [\(x.rows), \(x.columns)], y [\(y.rows), \(y.columns)] for [\(outputs), \(inputs)]")
        guard x.rows > 0 else { return }
        let kernels = compute.path.stored
        compute.phase(.products) {
            compute.forEachRun(of: panels) { run in
                for part in parts {
                    let own = run.clamped(to: part.firstPanel..<part.firstPanel + part.panels)
                    guard !own.isEmpty else { continue }
                    let (first, last) = (own.lowerBound - part.firstPanel, own.upperBound - part.firstPanel)
                    let column = part.rows.lowerBound + first * Self.panel
                    let count = min(last * Self.panel, part.rows.count) - first * Self.panel
                    kernels.pointee.product(
                        Int32(part.type), address(part), Int32(part.panels), Int32(first), Int32(inputs), x.pointer, x.stride, y.pointer + column, y.stride,
                        Int32(x.rows), Int32(count), accumulate ? 1 : 0)
                }
            }
        }
    }
}

extension Compute {
    /// Shares out `count` panels in runs of neighbours, which memory reads best: large ones first, few where there are few panels.
    func forEachRun(of count: Int, _ body: (Range<Int>) -> Void) {
        let tasks = threads == 1 ? 1 : min(count, count >= 64 * threads ? 8 * threads : 2 * threads)
        guard tasks > 0 else { return }
        let (size, longer) = (count / tasks, count % tasks)
        parallel(tasks) { task in
            let start = task * size + min(task, longer)
            body(start..<start + size + (task < longer ? 1 : 0))
        }
    }
}
