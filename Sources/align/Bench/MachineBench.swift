import Tensors

/// The floor that models are measured against.
enum MachineBench {
    typealias Shape = (rows: Int, outputs: Int, inputs: Int)

    /// Products of small models' layers, and one whose operands reward a good kernel.
    static let shapes: [Shape] = [(1024, 576, 1536), (1024, 3072, 576), (1536, 2048, 2048)]

    static func product(_ shape: Shape, precision: Precision, rounds: Int, on compute: Compute) -> Figure {
        var random = RandomStream(seed: 1, stream: 0, index: 0)
        func matrix(_ rows: Int, _ columns: Int) -> Matrix {
            let matrix = Matrix(rows: rows, columns: columns)
            matrix.copy(from: (0..<rows * columns).map { _ in Float(random.uniform() - 0.5) })
            return matrix
        }
        let (x, y) = (matrix(shape.rows, shape.inputs), Matrix(rows: shape.rows, columns: shape.outputs))
        let layer = PackedLinear(outputs: shape.outputs, inputs: shape.inputs, precision: precision, forwardOnly: true)
        layer.pack(matrix(shape.outputs, shape.inputs), on: compute)
        let operations = 2 * Double(shape.rows) * Double(shape.outputs) * Double(shape.inputs)
        let seconds = Figure.seconds(rounds: rounds) { for _ in 0..<8 { layer.forward(x, into: y, on: compute) } }
        return Figure("product \(shape.rows) x \(shape.outputs) x \(shape.inputs)", seconds.map { 8e-9 * operations / $0 }, "GFLOP/s")
    }

    /// Reads 1 GB, more than any cache holds.
    static func memory(rounds: Int, on compute: Compute) -> Figure {
        let memory = MemoryRead(on: compute)
        _ = memory.gigabytesPerSecond()
        return Figure("memory read", (0..<rounds).map { _ in memory.gigabytesPerSecond() }, "GB/s")
    }
}

/// 1 GB to read, on all threads.
struct MemoryRead {
    private let buffer = FloatBuffer(count: 1 << 28)
    private let compute: Compute

    init(on compute: Compute) {
        self.compute = compute
        let (buffer, block) = (buffer, 1 << 20)
        compute.parallel(buffer.count / block) { i in (buffer.base + i * block).update(repeating: 1, count: block) }
    }

    func gigabytesPerSecond() -> Double {
        let start = ContinuousClock.now
        _ = sumOfSquares(buffer, on: compute)
        return 4e-9 * Double(buffer.count) / ((ContinuousClock.now - start) / .seconds(1))
    }
}
