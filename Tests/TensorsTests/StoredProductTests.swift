import CAlign
import Testing

@testable import Tensors

/// Products straight from stored blocks, against products with the same weights dequantised.
@Suite("Stored products") struct StoredProductTests {
    struct Kind: CustomStringConvertible, Sendable {
        var name: String, type: Int, block: Int, bytes: Int
        var description: String { name }
    }
    static let kinds = [
        Kind(name: "F32", type: 0, block: 1, bytes: 4), Kind(name: "F16", type: 1, block: 1, bytes: 2), Kind(name: "BF16", type: 30, block: 1, bytes: 2),
        Kind(name: "Q4_0", type: 2, block: 32, bytes: 18), Kind(name: "Q4_1", type: 3, block: 32, bytes: 20), Kind(name: "Q5_0", type: 6, block: 32, bytes: 22),
        Kind(name: "Q5_1", type: 7, block: 32, bytes: 24), Kind(name: "Q8_0", type: 8, block: 32, bytes: 34), Kind(name: "Q4_K", type: 12, block: 256, bytes: 144),
        Kind(name: "Q5_K", type: 13, block: 256, bytes: 176), Kind(name: "Q6_K", type: 14, block: 256, bytes: 210),
    ]

    /// Random blocks whose scales are modest halves, and the floats they stand for.
    static func weights(_ kind: Kind, rows: Int, inputs: Int, seed: UInt64) -> (bytes: [UInt8], floats: [Float]) {
        var random = RandomStream(seed: seed, stream: 9, index: 0)
        let blocks = rows * inputs / kind.block
        var bytes = (0..<blocks * kind.bytes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        func put(half value: Float, at offset: Int) {
            let bits = Float16(value).bitPattern
            (bytes[offset], bytes[offset + 1]) = (UInt8(bits & 255), UInt8(bits >> 8))
        }
        for block in 0..<blocks {
            let at = block * kind.bytes
            func scale() -> Float { Float(random.normal() * 0.1) }
            switch kind.name {
            case "F32": withUnsafeBytes(of: Float(random.normal()).bitPattern) { for i in 0..<4 { bytes[at + i] = $0[i] } }
            case "F16": put(half: Float(random.normal()), at: at)
            case "BF16": withUnsafeBytes(of: UInt16(Float(random.normal()).bitPattern >> 16)) { for i in 0..<2 { bytes[at + i] = $0[i] } }
            case "Q6_K": put(half: scale() / 64, at: at + 208)
            case "Q4_1", "Q5_1", "Q4_K", "Q5_K":
                put(half: scale(), at: at)
                put(half: scale(), at: at + 2)
            default: put(half: scale(), at: at)
            }
        }
        var floats = [Float](repeating: 0, count: rows * inputs)
        #expect(align_dequantize(Int32(kind.type), bytes, &floats, floats.count) == 0)
        return (bytes, floats)
    }

    static func linear(_ parts: [(kind: Kind, rows: Int)], inputs: Int) throws -> (linear: StoredLinear, floats: [Float]) {
        let linear = try #require(StoredLinear(inputs: inputs, parts: parts.map { ($0.kind.type, $0.rows) }))
        var all: [Float] = []
        for (index, part) in parts.enumerated() {
            let (bytes, floats) = weights(part.kind, rows: part.rows, inputs: inputs, seed: UInt64(index + 1))
            let rowBytes = inputs / part.kind.block * part.kind.bytes
            // Panels may come in any order and in any number.
            for first in stride(from: 0, to: part.rows, by: 64).reversed() {
                bytes.withUnsafeBytes {
                    linear.pack(part: index, firstPanel: first / 32, rows: $0.baseAddress! + first * rowBytes, count: min(64, part.rows - first), rowBytes: rowBytes)
                }
            }
            all += floats
        }
        return (linear, all)
    }

    @Test("the sums are, to the bit, those over the dequantised weights", arguments: kinds, KernelPath.available) func values(kind: Kind, path: KernelPath) throws {
        let (outputs, inputs, rows) = (77, kind.block == 1 ? 45 : 512, 14)
        let compute = try Compute(threads: 2, path: path)
        let (linear, w) = try Self.linear([(kind, outputs)], inputs: inputs)
        let (x, y) = (randomMatrix(rows, inputs, seed: 4), randomMatrix(rows, outputs, seed: 5))
        let before = y.array
        linear.forward(x, into: y, accumulate: true, on: compute)
        for i in 0..<rows {
            for j in 0..<outputs {
                var sum: Float = 0
                for k in 0..<inputs { sum.addProduct(x.array(i, k), w[j * inputs + k]) }
                let expected = before[i * outputs + j] + sum
                #expect(y.array(i, j) == expected, "\(path) \(kind) [\(i), \(j)]: \(y.array(i, j)), dequantised \(expected)")
            }
        }
        var row = [Float](repeating: .nan, count: inputs)
        linear.row(70, into: &row)
        #expect(row == Array(w[70 * inputs..<71 * inputs]), "\(kind): a row is \(row.prefix(4)), dequantised \(w[70 * inputs..<70 * inputs + 4])")
    }

    @Test("neither neighbours nor threads change a bit; parts of several types", arguments: KernelPath.available) func alone(path: KernelPath) throws {
        let kinds = Dictionary(uniqueKeysWithValues: Self.kinds.map { ($0.name, $0) })
        let (linear, _) = try Self.linear([(kinds["Q4_K"]!, 96), (kinds["Q6_K"]!, 40), (kinds["Q8_0"]!, 300)], inputs: 256)
        let x = randomMatrix(131, 256, seed: 6)
        let together = Matrix(rows: 131, columns: 436)
        linear.forward(x, into: together, on: try Compute(threads: 3, path: path))
        let single = try Compute(threads: 1, path: path)
        for (start, count) in [(0, 1), (17, 1), (40, 2), (90, 13), (130, 1)] {
            let part = Matrix(rows: count, columns: 436)
            linear.forward(x.rows(start..<start + count), into: part, on: single)
            let expected = together.rows(start..<start + count).array
            #expect(part.array == expected, "\(path), rows \(start)..<\(start + count): \(part.array[0]) and \(expected[0])")
        }
    }

    @Test("what cannot be multiplied is refused") func refused() {
        #expect(StoredLinear(inputs: 48, parts: [(2, 32)]) == nil)
        #expect(StoredLinear(inputs: 128, parts: [(12, 32)]) == nil)
        #expect(StoredLinear(inputs: 256, parts: [(10, 32)]) == nil)
        #expect(StoredLinear(inputs: 256, parts: [(3, 0), (3, 33)])?.bytes == 2 * 8 * 640)
    }

    @Test("the few rows of a step have the bits of many", arguments: KernelPath.available) func packed(path: KernelPath) throws {
        let compute = try Compute(threads: 2, path: path)
        for precision in Precision.allCases {
            let layer = PackedLinear(outputs: 205, inputs: 70, precision: precision, forwardOnly: true)
            layer.pack(randomMatrix(205, 70, seed: 7), on: compute)
            let (x, y, steps) = (randomMatrix(5, 70, seed: 8), Matrix(rows: 5, columns: 205), Matrix(rows: 5, columns: 205))
            layer.forward(x, into: y, on: compute)
            for i in 0..<5 { layer.decode(x.rows(i..<i + 1), into: steps.rows(i..<i + 1), operand: FloatBuffer(count: 48), on: compute) }
            let largest = zip(y.array, steps.array).map { abs($0 - $1) }.max() ?? 0
            #expect(largest == 0, "\(path) \(precision): off by \(largest)")
        }
    }
}
