import Foundation
import Testing

@testable import Tensors

@Suite("Elementwise operations") struct ElementwiseTests {
    static let paths = KernelPath.available

    @Test("cross-entropy and its gradient", arguments: paths) func crossEntropy(path: KernelPath) throws {
        let compute = try Compute(threads: 2, path: path)
        let (rows, vocabulary) = (3, 77)
        let logits = randomMatrix(rows, vocabulary, seed: 1)
        for i in 0..<rows * vocabulary { logits.pointer[i] *= 6 }
        let targets: [Int32] = [0, 40, 76]
        let values = logits.array.map(Double.init)
        var statistics = CrossEntropy(targets: targets)
        let coefficients = [0.5, -2, 1]
        let blocks = stride(from: 0, to: vocabulary, by: 32).map { start in
            let columns = start..<min(start + 32, vocabulary)
            let piece = PackedLinear.Piece(rows: 0..<rows, columns: 0..<columns.count, values: logits.pointer + start, stride: vocabulary)
            let tops = Matrix(rows: rows, columns: 1)
            statistics.collect(rows: 0..<rows, first: start, tops: tops, on: compute) { add in add(piece) }
            return (columns, tops)
        }
        let backward = CrossEntropyBackward(targets: targets, logProbs: statistics.logProbs, logSumExp: statistics.logSumExp, coefficients: coefficients)
        for (columns, tops) in blocks { backward.apply(to: Operand(logits.columns(columns)), tops: tops, first: columns.lowerBound, on: compute) }
        for r in 0..<rows {
            let z = Array(values[r * vocabulary..<(r + 1) * vocabulary])
            let top = z.max()!
            let sum = z.reduce(0) { $0 + exp($1 - top) }
            let p = z.map { exp($0 - top) / sum }
            let logProb = z[Int(targets[r])] - top - log(sum)
            let entropy = -p.reduce(0) { $0 + ($1 > 0 ? $1 * log($1) : 0) }
            #expect(abs(statistics.logProbs[r] - logProb) < 1e-5, "log-prob \(statistics.logProbs[r]), \(logProb)")
            #expect(abs(statistics.entropies[r] - entropy) < 1e-5, "entropy \(statistics.entropies[r]), \(entropy)")
            let squares = log(p.reduce(0) { $0 + $1 * $1 }), mean = z.reduce(0, +) / Double(vocabulary)
            #expect(abs(statistics.logSumSquares[r] - squares) < 1e-5, "log Σp² \(statistics.logSumSquares[r]), \(squares)")
            #expect(abs(statistics.meanLogits[r] - mean) < 1e-5, "mean logit \(statistics.meanLogits[r]), \(mean)")
            #expect(statistics.isArgmax[r] == (z.firstIndex(of: top) == Int(targets[r])))
            for j in 0..<vocabulary {
                let expected = coefficients[r] * ((j == Int(targets[r]) ? 1 : 0) - p[j])
                #expect(abs(Double(logits.array(r, j)) - expected) < 1e-5, "∂/∂z[\(j)] \(logits.array(r, j)), \(expected)")
            }
        }
    }

    /// By hand: g = 0.5 clipped by ½ is 0.25; m = 0.025, v = 6.25e-5, m̂ = 0.25, v̂ = 0.0625, so the step is lr · 1 and decay lr·λ·θ.
    @Test("one AdamW step", arguments: paths) func adamW(path: KernelPath) throws {
        let compute = try Compute(threads: 1, path: path)
        let (w, g, m, v) = (FloatBuffer(count: 19), FloatBuffer(count: 19), FloatBuffer(count: 19), FloatBuffer(count: 19))
        for i in 0..<19 { (w.base[i], g.base[i]) = (2, 0.5) }
        var step = AdamWStep(learningRate: 0.1, step: 1)
        step.gradientScale = 0.5
        step.weightDecay = 0.01
        Tensors.adamW(weights: w, gradients: g, firstMoment: m, secondMoment: v, range: 0..<19, step: step, on: compute)
        for i in 0..<19 { #expect(abs(w.base[i] - 1.898) < 1e-5, "weight \(w.base[i]), 2 · (1 − 0.001) − 0.1 = 1.898") }
    }

    @Test("a sum of squares is the same for any number of threads", arguments: paths) func squares(path: KernelPath) throws {
        let x = randomMatrix(1, 300_001, seed: 9)
        let exact = x.array.reduce(0.0) { $0 + Double($1) * Double($1) }
        let sums = try [1, 2, 5].map { try sumOfSquares(x.buffer, range: 0..<300_001, on: Compute(threads: $0, path: path)) }
        #expect(sums[0] == sums[1] && sums[1] == sums[2], "\(sums)")
        #expect(abs(sums[0] / exact - 1) < 1e-6, "\(sums[0]), exactly \(exact)")
    }

    @Test("gates and their slopes agree with differences", arguments: paths, [Gate.silu, .geluTanh]) func gates(path: KernelPath, gate: Gate) throws {
        let compute = try Compute(threads: 1, path: path)
        let (rows, d) = (2, 21)
        let input = randomMatrix(rows, 2 * d, seed: 3).array
        func piece(_ x: Matrix, columns: Int) -> PackedLinear.Piece {
            PackedLinear.Piece(rows: 0..<rows, columns: 0..<columns, values: x.pointer, stride: x.stride)
        }
        func h(_ values: [Float]) -> [Float] {
            let (gateUp, out) = (Matrix(rows: rows, columns: 2 * d), Matrix(rows: rows, columns: d))
            gateUp.copy(from: values)
            gated(piece(gateUp, columns: d), into: Operand(out), gate: gate, on: compute)
            return out.array
        }
        let gradient = Matrix(rows: rows, columns: 2 * d)
        gradient.copy(from: input)
        let ones = Matrix(rows: rows, columns: d)
        ones.copy(from: [Float](repeating: 1, count: rows * d))
        let hidden = Matrix(rows: rows, columns: d)
        gatedBackward(piece(ones, columns: d), gateUp: Operand(gradient), hidden: Operand(hidden), gate: gate, on: compute)
        #expect(hidden.array == h(input), "the backward's h is not the forward's")
        for i in input.indices {
            var (up, down) = (input, input)
            up[i] += 1e-2
            down[i] -= 1e-2
            let numeric = zip(h(up), h(down)).reduce(0.0) { $0 + Double($1.0) - Double($1.1) } / 2e-2
            #expect(abs(numeric - Double(gradient.array[i])) < 2e-3, "\(gate) \(i): \(gradient.array[i]), numerically \(numeric)")
        }
    }
}

@Suite("Random stream") struct RandomStreamTests {
    @Test("the same place gives the same numbers, another place others") func places() {
        func draws(_ seed: UInt64, _ stream: UInt64, _ index: UInt64) -> [UInt64] {
            var r = RandomStream(seed: seed, stream: stream, index: index)
            return (0..<8).map { _ in r.next() }
        }
        #expect(draws(1, 2, 3) == draws(1, 2, 3))
        let places = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1 << 40, 2, 3), (1, 2, 1 << 40)].map { draws(UInt64($0.0), UInt64($0.1), UInt64($0.2)) }
        let all = places.joined()
        #expect(Set(all).count == all.count, "\(all.count - Set(all).count) numbers twice")
    }

    @Test("moments") func moments() {
        var r = RandomStream(seed: 11, stream: 0, index: 0)
        let n = 40_000
        let uniform = (0..<n).map { _ in r.uniform() }
        let normal = (0..<n).map { _ in r.normal() }
        let mean = uniform.reduce(0, +) / Double(n)
        let variance = normal.reduce(0) { $0 + $1 * $1 } / Double(n)
        #expect(abs(mean - 0.5) < 0.008 && uniform.allSatisfy { $0 >= 0 && $0 < 1 }, "mean \(mean)")
        #expect(abs(variance - 1) < 0.04, "variance \(variance)")
        #expect(r.permutation(100).sorted() == Array(0..<100))
    }
}
