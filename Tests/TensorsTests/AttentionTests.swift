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
        let compute = try Compute(threads: 2, path: path)
        let (width, kvWidth, rows) = (c.heads * c.headSize, c.keyValueHeads * c.headSize, Self.rows)
        let q = randomMatrix(rows, width, seed: 1), k = randomMatrix(rows, kvWidth, seed: 2), v = randomMatrix(rows, kvWidth, seed: 3)
        let dOut = randomMatrix(rows, width, seed: 4), out = Matrix(rows: rows, columns: width), logSumExp = Matrix(rows: c.heads, columns: rows)
        attention(c.shape, q: q, k: k, v: v, segments: Array(Self.trees.joined()), into: out, logSumExp: logSumExp, on: compute)
        let (dq, dk, dv) = (Matrix(rows: rows, columns: width), Matrix(rows: rows, columns: kvWidth), Matrix(rows: rows, columns: kvWidth))
        attentionBackward(c.shape, q: q, k: k, v: v, trees: Self.trees, out: out, dOut: dOut, logSumExp: logSumExp, dq: dq, dk: dk, dv: dv, on: compute)
        let expected = Self.plain(c, q: q.array, k: k.array, v: v.array, dOut: dOut.array)
        for (name, found, wanted) in [("out", out, expected.out), ("dq", dq, expected.dq), ("dk", dk, expected.dk), ("dv", dv, expected.dv)] {
            let scale = wanted.map { abs($0) }.max() ?? 1
            let worst = zip(found.array, wanted).enumerated().max { abs(Double($0.element.0) - $0.element.1) < abs(Double($1.element.0) - $1.element.1) }
            guard let worst else { continue }
            let error = abs(Double(worst.element.0) - worst.element.1) / scale
            #expect(error < 1e-5, "\(name)[\(worst.offset)]: \(worst.element.0), by definition \(worst.element.1)")
        }
    }
}
