import Checkpoints
import Tensors

/// y = x·Wᵀ with x `[rows, inputs]` and W `[outputs, inputs]`, and its two gradients.
struct ProductShape {
    let name: String
    let rows: Int, outputs: Int, inputs: Int

    var operations: Double { 2 * Double(rows) * Double(outputs) * Double(inputs) }

    /// What one layer and the head multiply in a training step of 4 rows of 512 tokens.
    static func training(_ config: ModelConfig) -> [ProductShape] {
        let rows = 4 * 512
        let (d, wide) = (config.hiddenSize, config.intermediateSize)
        let (queries, keys) = (config.heads * config.headDimension, config.keyValueHeads * config.headDimension)
        return [
            ProductShape(name: "query, key, value", rows: rows, outputs: queries + 2 * keys, inputs: d),
            ProductShape(name: "attention output", rows: rows, outputs: d, inputs: queries),
            ProductShape(name: "gate and up", rows: rows, outputs: 2 * wide, inputs: d),
            ProductShape(name: "down", rows: rows, outputs: d, inputs: wide),
            // The head runs in blocks: logits are never whole.
            ProductShape(name: "head, a block", rows: min(rows, 1024), outputs: min(config.vocabularySize, 4096), inputs: d),
        ]
    }
}

/// One product's rate.
struct MeasuredProduct {
    enum Kind: String, CaseIterable {
        case forward
        case inputGradient = "input gradient"
        case weightGradient = "weight gradient"
    }

    let shape: ProductShape
    let kind: Kind
    let precision: Precision
    let products: FloatProducts
    /// GFLOP/s, sorted.
    let rates: [Double]

    var median: Double { rates[rates.count / 2] }
    var best: Double { rates[rates.count - 1] }

    /// Rates of a shape's three products.
    static func measure(_ shape: ProductShape, precision: Precision, rounds: Int, on compute: Compute) -> [MeasuredProduct] {
        let x = Operand.drawn(rows: shape.rows, columns: shape.inputs, precision: precision, on: compute)
        let y = Operand.drawn(rows: shape.rows, columns: shape.outputs, precision: precision, on: compute)
        let weight = Matrix.drawn(rows: shape.outputs, columns: shape.inputs)
        let layer = PackedLinear(outputs: shape.outputs, inputs: shape.inputs, precision: precision)
        layer.pack(weight, on: compute)
        let (out, dx, dw) = (
            Operand(rows: shape.rows, columns: shape.outputs, precision: precision), Operand(rows: shape.rows, columns: shape.inputs, precision: precision),
            Matrix(rows: shape.outputs, columns: shape.inputs)
        )
        // So often that a round takes some milliseconds.
        let times = max(1, min(256, Int(1e10 / shape.operations)))
        return Kind.allCases.map { kind in
            let seconds = Stopwatch.seconds(rounds: rounds) {
                for _ in 0..<times {
                    switch kind {
                    case .forward: layer.forward(x, into: out, on: compute)
                    case .inputGradient: layer.backwardInput(y, into: dx, on: compute)
                    case .weightGradient: accumulateWeightGradient(y, x, into: dw, on: compute)
                    }
                }
            }
            let rates = seconds.map { 1e-9 * shape.operations * Double(times) / $0 }.sorted()
            return MeasuredProduct(shape: shape, kind: kind, precision: precision, products: compute.floatProducts, rates: rates)
        }
    }
}

extension Matrix {
    /// Small numbers of both signs: what they are does not matter to the time, as long as they are neither zero nor subnormal.
    static func drawn(rows: Int, columns: Int) -> Matrix {
        let matrix = Matrix(rows: rows, columns: columns)
        var random = RandomStream(seed: 1, stream: 0, index: 0)
        // A prime length, so that rows differ.
        let pattern = (0..<8191).map { _ in Float(random.uniform() - 0.5) }
        pattern.withUnsafeBufferPointer { pattern in
            for start in Swift.stride(from: 0, to: rows * columns, by: pattern.count) {
                (matrix.pointer + start).update(from: pattern.baseAddress!, count: min(pattern.count, rows * columns - start))
            }
        }
        return matrix
    }
}

extension Operand {
    /// The same numbers as a product takes them.
    static func drawn(rows: Int, columns: Int, precision: Precision, on compute: Compute) -> Operand {
        let matrix = Matrix.drawn(rows: rows, columns: columns)
        guard precision == .bf16 else { return Operand(matrix) }
        let rounded = Operand(rows: rows, columns: columns, precision: .bf16)
        convert(matrix, into: rounded, on: compute)
        return rounded
    }
}
