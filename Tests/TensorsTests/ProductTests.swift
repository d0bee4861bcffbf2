import Tensors
import Testing

func randomMatrix(_ rows: Int, _ columns: Int, seed: UInt64) -> Matrix {
    var random = RandomStream(seed: seed, stream: 0, index: 0)
    let matrix = Matrix(rows: rows, columns: columns)
    matrix.copy(from: (0..<rows * columns).map { _ in Float(random.normal()) })
    return matrix
}

/// Rounded to bf16, to nearest even.
func bf16(_ x: Float) -> Float {
    let bits = x.bitPattern
    return Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000)
}

/// A weight as bf16 products take it: the threshold between neighbours lies within an eighth of a unit of the middle.
func settled(_ x: Float) -> Float {
    let bits = x.bitPattern
    return Float(bitPattern: (bits &+ 0x6000 &+ ((bits >> 16) &* 0x9E37_79B1) >> 18) & 0xFFFF_0000)
}

/// The same values in the type that products of `precision` take.
func operand(_ x: Matrix, _ precision: Precision, _ compute: Compute) -> Operand {
    guard precision == .bf16 else { return Operand(x) }
    let rounded = Operand(rows: x.rows, columns: x.columns, precision: .bf16)
    convert(x, into: rounded, on: compute)
    return rounded
}

@Suite("Matrix products") struct ProductTests {
    struct Shape: CustomStringConvertible, Sendable {
        var rows: Int, outputs: Int, inputs: Int
        var description: String { "\(rows)x\(outputs)x\(inputs)" }
    }
    // One block and beyond it, with tails in every direction.
    static let shapes = [Shape(rows: 1, outputs: 32, inputs: 32), Shape(rows: 7, outputs: 45, inputs: 19), Shape(rows: 131, outputs: 200, inputs: 77), Shape(rows: 600, outputs: 96, inputs: 130)]
    static let paths = KernelPath.available

    @Test("forward, input and weight gradients are the sums they stand for", arguments: paths, Precision.allCases)
    func values(path: KernelPath, precision: Precision) throws {
        let compute = try Compute(threads: 2, path: path)
        for s in Self.shapes {
            let (x, w, dy) = (randomMatrix(s.rows, s.inputs, seed: 1), randomMatrix(s.outputs, s.inputs, seed: 2), randomMatrix(s.rows, s.outputs, seed: 3))
            let layer = PackedLinear(outputs: s.outputs, inputs: s.inputs, precision: precision)
            layer.pack(w, on: compute)
            let (y, dx, dw) = (randomMatrix(s.rows, s.outputs, seed: 4), randomMatrix(s.rows, s.inputs, seed: 5), randomMatrix(s.outputs, s.inputs, seed: 6))
            let (y0, dx0, dw0) = (y.array, dx.array, dw.array)
            layer.forward(x, into: y, accumulate: true, on: compute)
            layer.backwardInput(dy, into: dx, accumulate: true, on: compute)
            accumulateWeightGradient(operand(dy, precision, compute), operand(x, precision, compute), into: dw, on: compute)
            let round: (Float) -> Double = precision == .bf16 ? { Double(bf16($0)) } : { Double($0) }
            let roundWeight: (Float) -> Double = precision == .bf16 ? { Double(settled($0)) } : { Double($0) }
            let (xs, ws, dys) = (x.array.map(round), w.array.map(roundWeight), dy.array.map(round))
            var worst = 0.0
            for i in 0..<s.rows {
                for j in 0..<s.outputs {
                    let sum = (0..<s.inputs).reduce(Double(y0[i * s.outputs + j])) { $0 + xs[i * s.inputs + $1] * ws[j * s.inputs + $1] }
                    worst = max(worst, abs(sum - Double(y.array(i, j))))
                }
            }
            for i in stride(from: 0, to: s.rows, by: 5) {
                for k in 0..<s.inputs {
                    let sum = (0..<s.outputs).reduce(Double(dx0[i * s.inputs + k])) { $0 + dys[i * s.outputs + $1] * ws[$1 * s.inputs + k] }
                    worst = max(worst, abs(sum - Double(dx.array(i, k))))
                }
            }
            for j in stride(from: 0, to: s.outputs, by: 3) {
                for k in 0..<s.inputs {
                    let sum = (0..<s.rows).reduce(Double(dw0[j * s.inputs + k])) { $0 + dys[$1 * s.outputs + j] * xs[$1 * s.inputs + k] }
                    worst = max(worst, abs(sum - Double(dw.array(j, k))))
                }
            }
            #expect(worst < 2e-4, "\(path) \(precision) \(s): off by \(worst)")
        }
    }

    @Test("weights on a coarse grid follow a small update in the mean, and bf16's own values stay", arguments: paths)
    func settling(path: KernelPath) throws {
        let compute = try Compute(threads: 2, path: path)
        let (outputs, inputs) = (256, 512)
        // An f16 holds three bits more than bf16: one weight in eight lies halfway between two bf16.
        let grid = randomMatrix(outputs, inputs, seed: 1).array.map { Float(Float16($0)) }
        let halfway = Double(grid.filter { $0.bitPattern & 0xFFFF == 0x8000 }.count) / Double(grid.count)
        let (layer, w, x) = (PackedLinear(outputs: outputs, inputs: inputs, precision: .bf16), Matrix(rows: outputs, columns: inputs), Matrix(rows: 1, columns: inputs))
        x.copy(from: (0..<inputs).map { $0 % 3 == 0 ? -1 : 1 })
        func sum(_ change: Float) -> Double {
            w.copy(from: grid.enumerated().map { $1 + change * x.array(0, $0 % inputs) })
            layer.pack(w, on: compute)
            let y = Matrix(rows: 1, columns: outputs)
            layer.forward(x, into: y, on: compute)
            return y.array.reduce(0) { $0 + Double($1) }
        }
        let change: Float = 2e-5
        let (moved, expected) = (sum(change) - sum(0), Double(change) * Double(outputs * inputs))
        #expect(halfway > 0.1, "\(halfway) of the weights lie halfway")
        #expect(abs(moved / expected - 1) < 0.5, "\(path): the sum moved by \(moved), the weights by \(expected)")

        w.copy(from: grid.map(bf16))
        layer.pack(w, on: compute)
        let (y, exact) = (Matrix(rows: 1, columns: outputs), PackedLinear(outputs: outputs, inputs: inputs, precision: .fp32))
        let z = Matrix(rows: 1, columns: outputs)
        exact.pack(w, on: compute)
        layer.forward(x, into: y, on: compute)
        exact.forward(x, into: z, on: compute)
        let off = zip(y.array, z.array).map { abs($0 - $1) }.max() ?? .infinity
        #expect(off < 1e-4, "\(path): bf16's own values are off by \(off)")
    }

    @Test("a row's bits depend on neither its neighbours nor the threads", arguments: paths, Precision.allCases)
    func determinism(path: KernelPath, precision: Precision) throws {
        let one = try Compute(threads: 1, path: path)
        let two = try Compute(threads: 2, path: path)
        for s in Self.shapes {
            let (x, w, dy) = (randomMatrix(s.rows, s.inputs, seed: 1), randomMatrix(s.outputs, s.inputs, seed: 2), randomMatrix(s.rows, s.outputs, seed: 3))
            let layer = PackedLinear(outputs: s.outputs, inputs: s.inputs, precision: precision)
            layer.pack(w, on: two)
            func run(_ compute: Compute) -> [[Float]] {
                let (y, dx, dw) = (Matrix(rows: s.rows, columns: s.outputs), Matrix(rows: s.rows, columns: s.inputs), Matrix(rows: s.outputs, columns: s.inputs))
                layer.forward(x, into: y, on: compute)
                layer.backwardInput(dy, into: dx, on: compute)
                accumulateWeightGradient(operand(dy, precision, compute), operand(x, precision, compute), into: dw, on: compute)
                return [y.array, dx.array, dw.array]
            }
            let whole = run(one)
            #expect(whole == run(two), "\(path) \(precision) \(s): 1 and 2 threads differ")
            for row in [0, s.rows / 2, s.rows - 1] {
                let (y, dx) = (Matrix(rows: 1, columns: s.outputs), Matrix(rows: 1, columns: s.inputs))
                layer.forward(x.rows(row..<row + 1), into: y, on: one)
                layer.backwardInput(dy.rows(row..<row + 1), into: dx, on: one)
                #expect(y.array == Array(whole[0][row * s.outputs..<(row + 1) * s.outputs]), "\(path) \(precision) \(s): forward of row \(row)")
                #expect(dx.array == Array(whole[1][row * s.inputs..<(row + 1) * s.inputs]), "\(path) \(precision) \(s): backward of row \(row)")
            }
            // The vocabulary head's blocks.
            if s.outputs > 64 {
                let part = Matrix(rows: s.rows, columns: s.outputs - 64)
                layer.forward(x, outputs: 64..<s.outputs, into: part, on: two)
                let expected = (0..<s.rows).flatMap { whole[0][$0 * s.outputs + 64..<($0 + 1) * s.outputs] }
                #expect(part.array == expected, "\(path) \(precision) \(s): outputs from 64")
            }
        }
    }

    @Test("results handed on in pieces are the whole product's, in the order of columns", arguments: paths, Precision.allCases)
    func pieces(path: KernelPath, precision: Precision) throws {
        let compute = try Compute(threads: 2, path: path)
        // Enough rows to be handed on from the cache, and too few.
        for (rows, outputs, parts) in [(900, 192, 2), (900, 150, 1), (40, 192, 2), (900, 90, 2)] {
            let (x, w) = (randomMatrix(rows, 70, seed: 1), randomMatrix(outputs, 70, seed: 2))
            let layer = PackedLinear(outputs: outputs, inputs: 70, precision: precision)
            layer.pack(w, on: compute)
            let whole = Matrix(rows: rows, columns: outputs)
            layer.forward(x, into: whole, on: compute)
            let (seen, order) = (Matrix(rows: rows, columns: outputs), Matrix(rows: rows, columns: 1))
            let stored = Operand(rows: rows, columns: outputs, precision: precision)
            let width = outputs / parts
            layer.forward(operand(x, precision, compute), into: stored, pieces: PackedLinear.Pieces(columns: 64, parts: parts), on: compute) { piece in
                for (i, row) in piece.rows.enumerated() {
                    let inOrder = Int(order.pointer[row]) == piece.columns.lowerBound
                    order.pointer[row] = inOrder ? Float(piece.columns.upperBound) : -1
                    for part in 0..<parts {
                        for (j, column) in piece.columns.enumerated() {
                            let value = piece.values + i * piece.stride + part * piece.columns.count + j
                            seen.pointer[row * outputs + part * width + column] = value.pointee
                            value.pointee *= 2
                        }
                    }
                }
            }
            #expect(seen.array == whole.array, "\(path) \(precision) [\(rows), \(outputs)] in \(parts): handed-on values differ")
            #expect(order.array.allSatisfy { $0 == Float(width) }, "\(path) \(precision) [\(rows), \(outputs)]: columns out of order or missing")
            let doubled = whole.array.map { precision == .bf16 ? bf16(2 * $0) : 2 * $0 }
            #expect(stored.array(on: compute) == doubled, "\(path) \(precision) [\(rows), \(outputs)]: what is stored is not what the pieces became")
        }
    }

    @Test("every index is taken once, nested loops included") func team() throws {
        let compute = try Compute(threads: 3)
        let counts = Matrix(rows: 1000, columns: 4)
        for _ in 0..<200 {
            compute.parallel(1000) { i in
                compute.parallel(4) { j in counts.pointer[i * 4 + j] += 1 }
            }
        }
        #expect(counts.array.allSatisfy { $0 == 200 }, "between \(counts.array.min() ?? 0) and \(counts.array.max() ?? 0), not 200")
    }

    @Test("an unknown path is refused by name") func unavailable() {
        for path in KernelPath.allCases where path.unavailability != nil {
            #expect(throws: ComputeError.unavailablePath(path, reason: path.unavailability ?? "")) { try Compute(threads: 1, path: path) }
        }
    }
}

extension Matrix {
    func array(_ row: Int, _ column: Int) -> Float { pointer[row * stride + column] }
}
