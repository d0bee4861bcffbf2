import Foundation
import Testing

@testable import Tensors

/// Attention against its definition, in doubles, at shapes beyond one block of queries and one panel of a head.
@Suite("Attention") struct AttentionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var headSize = 40, heads = 4, keyValueHeads = 2
        var softCap: Double?
        var window: Int?
        var testDescription: String { "heads of \(headSize), cap \(softCap ?? 0), window \(window ?? 0)" }
        var shape: AttentionShape {
            AttentionShape(heads: heads, keyValueHeads: keyValueHeads, headSize: headSize, scale: 0.3, softCap: softCap, window: window)
        }
    }

    /// A prompt of 90 tokens with two continuations, and a document of 150.
    static let root = 0..<90, first = 90..<165, second = 165..<168, document = 168..<318
    static let trees: [[AttentionSegment]] = [
        [.init(queries: root, keys: [root]), .init(queries: first, keys: [root, first]), .init(queries: second, keys: [root, second])],
        [.init(queries: document, keys: [document])],
    ]
    static let rows = 318

    /// Output and the gradients of Σ out·dOut, by the definition.
    static func plain(_ c: Case, q: [Float], k: [Float], v: [Float], dOut: [Float]) -> (out: [Double], dq: [Double], dk: [Double], dv: [Double]) {
        let (width, kvWidth, d) = (c.heads * c.headSize, c.keyValueHeads * c.headSize, c.headSize)
        var (out, dq) = ([Double](repeating: 0, count: q.count), [Double](repeating: 0, count: q.count))
        var (dk, dv) = ([Double](repeating: 0, count: k.count), [Double](repeating: 0, count: k.count))
        for segment in trees.joined() {
            let keys = segment.keys.joined().map { $0 }
            for (i, row) in segment.queries.enumerated() {
                let own = keys.count - segment.queries.count + i
                let visible = Array(max(0, c.window.map { own + 1 - $0 } ?? 0)...own)
                for head in 0..<c.heads {
                    let (at, kv) = (row * width + head * d, (head / (c.heads / c.keyValueHeads)) * d)
                    let raw = visible.map { j in (0..<d).reduce(0.0) { $0 + Double(q[at + $1]) * Double(k[keys[j] * kvWidth + kv + $1]) } * 0.3 }
                    let scores = c.softCap.map { cap in raw.map { cap * tanh($0 / cap) } } ?? raw
                    let top = scores.max() ?? 0, weights = scores.map { exp($0 - top) }, total = weights.reduce(0, +)
                    let p = weights.map { $0 / total }
                    let dp = visible.map { j in (0..<d).reduce(0.0) { $0 + Double(dOut[at + $1]) * Double(v[keys[j] * kvWidth + kv + $1]) } }
                    let mean = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                    for (n, j) in visible.enumerated() {
                        let slope = c.softCap.map { 1 - (scores[n] / $0) * (scores[n] / $0) } ?? 1
                        let ds = p[n] * (dp[n] - mean) * slope * 0.3
                        let key = keys[j] * kvWidth + kv
                        for x in 0..<d {
                            out[at + x] += p[n] * Double(v[key + x])
                            dq[at + x] += ds * Double(k[key + x])
                            dk[key + x] += ds * Double(q[at + x])
                            dv[key + x] += p[n] * Double(dOut[at + x])
                        }
                    }
                }
            }
        }
        return (out, dq, dk, dv)
    }

    @Test("forward and backward are the definition's", arguments: KernelPath.available, [
        Case(), Case(headSize: 64), Case(headSize: 8), Case(headSize: 33, softCap: 1.5), Case(headSize: 64, window: 70), Case(headSize: 96, heads: 2, keyValueHeads: 1),
    ]) func definition(path: KernelPath, c: Case) throws {
        for (precision, tolerance) in [(Precision.fp32, 1e-5), (.bf16, 1.5e-2)] {
            let compute = try Compute(threads: 2, path: path)
            let run = run(c, precision, compute)
            let expected = Self.plain(c, q: run.q, k: run.k, v: run.v, dOut: run.dOut)
            for (name, found, wanted) in [("out", run.out, expected.out), ("dq", run.dq, expected.dq), ("dk", run.dk, expected.dk), ("dv", run.dv, expected.dv)] {
                let scale = wanted.map { abs($0) }.max() ?? 1
                let worst = zip(found, wanted).enumerated().max { abs(Double($0.element.0) - $0.element.1) < abs(Double($1.element.0) - $1.element.1) }
                guard let worst else { continue }
                let error = abs(Double(worst.element.0) - worst.element.1) / scale
                #expect(error < tolerance, "\(precision) \(name)[\(worst.offset)]: \(worst.element.0), by definition \(worst.element.1)")
            }
        }
    }

    @Test("a segment computed alone or one query at a time has the same bits", arguments: KernelPath.available, Precision.allCases)
    func alone(path: KernelPath, precision: Precision) throws {
        let (one, two) = try (Compute(threads: 1, path: path), Compute(threads: 2, path: path))
        let c = Case(headSize: 40, window: 100)
        let whole = run(c, precision, two)
        #expect(whole.out == run(c, precision, one).out && whole.dk == run(c, precision, one).dk, "\(path) \(precision): 1 and 2 threads differ")
        // The last queries of `first`, as decoding computes them.
        let width = c.heads * c.headSize
        let (q, k, v) = Self.inputs(c, precision, one)
        let (out, logSumExp) = (Operand(rows: Self.rows, columns: width, precision: precision), Matrix(rows: c.heads, columns: Self.rows))
        for row in Self.first.suffix(5) {
            let segment = AttentionSegment(queries: row..<row + 1, keys: [Self.root, Self.first.lowerBound..<row, row..<row + 1])
            attention(c.shape, q: q, k: k, v: v, segments: [segment], into: out, logSumExp: logSumExp, on: one)
            let alone = out.rows(row..<row + 1).array(on: one)
            #expect(alone == Array(whole.out[row * width..<(row + 1) * width]), "\(path) \(precision): row \(row)")
        }
    }

    static func inputs(_ c: Case, _ precision: Precision, _ compute: Compute) -> (q: Operand, k: Operand, v: Operand) {
        let (width, kvWidth) = (c.heads * c.headSize, c.keyValueHeads * c.headSize)
        return (operand(randomMatrix(rows, width, seed: 1), precision, compute), operand(randomMatrix(rows, kvWidth, seed: 2), precision, compute),
            operand(randomMatrix(rows, kvWidth, seed: 3), precision, compute))
    }

    /// Everything as fp32 values: what went in (rounded, under bf16) and what came out.
    private func run(_ c: Case, _ precision: Precision, _ compute: Compute) -> (
        q: [Float], k: [Float], v: [Float], dOut: [Float], out: [Float], dq: [Float], dk: [Float], dv: [Float]
    ) {
        let (width, kvWidth, rows) = (c.heads * c.headSize, c.keyValueHeads * c.headSize, Self.rows)
        let (q, k, v) = Self.inputs(c, precision, compute)
        let dOut = operand(randomMatrix(rows, width, seed: 4), precision, compute)
        let out = Operand(rows: rows, columns: width, precision: precision), logSumExp = Matrix(rows: c.heads, columns: rows)
        attention(c.shape, q: q, k: k, v: v, segments: Array(Self.trees.joined()), into: out, logSumExp: logSumExp, on: compute)
        let (dq, dk, dv) = (Matrix(rows: rows, columns: width), Matrix(rows: rows, columns: kvWidth), Matrix(rows: rows, columns: kvWidth))
        attentionBackward(c.shape, q: q, k: k, v: v, trees: Self.trees, out: out, dOut: dOut, logSumExp: logSumExp, dq: dq, dk: dk, dv: dv, on: compute)
        return (q.array(on: compute), k.array(on: compute), v.array(on: compute), dOut.array(on: compute), out.array(on: compute), dq.array, dk.array, dv.array)
    }
}
