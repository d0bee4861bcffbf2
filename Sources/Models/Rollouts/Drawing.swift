import Foundation
import Tensors

/// Draws the tokens of a step, a row a task, in memory that is set aside once.
///
/// Weights are e^((z − max z)/T). Few of them pass a filter: the filters look among those above a bound that is lowered
/// until it holds enough, so that nothing as long as the vocabulary is ever sorted (unless the distribution is all but flat).
final class Drawing {
    private let sampling: Sampling
    private let compute: Compute
    private let kernel: SoftmaxKernel
    private let vocabulary: Int
    private let weights: Matrix
    /// Candidates of a row: values, and the bits of their ids.
    private let candidates: Matrix
    private static let most = 4096

    private struct Request { var logits = 0, stream: UInt64 = 0, index = 0 }
    private var requests: [Request]
    /// By row: the token, and log p of it in nats under the full distribution at this temperature (1 when greedy): filters
    /// decide what may be drawn, never what its log-prob is.
    private(set) var drawn: [(token: Int32, logProb: Double)]

    init(_ sampling: Sampling, rows: Int, vocabulary: Int, compute: Compute) {
        (self.sampling, self.compute, self.vocabulary) = (sampling, compute, vocabulary)
        kernel = SoftmaxKernel(compute.path)
        let draws = sampling.temperature > 0
        weights = Matrix(rows: draws ? rows : 0, columns: vocabulary)
        candidates = Matrix(rows: draws ? rows : 0, columns: 2 * Self.most)
        requests = [Request](repeating: Request(), count: rows)
        drawn = [(token: Int32, logProb: Double)](repeating: (0, 0), count: rows)
    }

    /// Says which row of logits the next `draw` takes for `row`, and which draw of which stream it is.
    func ask(row: Int, logits: Int, stream: UInt64, index: Int) { requests[row] = Request(logits: logits, stream: stream, index: index) }

    func draw(_ logits: Matrix, rows: Int) {
        let (requests, weights, candidates) = (requests, weights, candidates)
        drawn.withUnsafeMutableBufferPointer { drawn in
            let drawn = drawn.baseAddress!
            compute.parallel(rows) { row in
                let request = requests[row]
                let z = UnsafeBufferPointer(start: UnsafePointer(logits.pointer + request.logits * logits.stride), count: vocabulary)
                guard sampling.temperature > 0 else {
                    let (total, best) = kernel.weights(z, inverse: 1, into: nil)
                    drawn[row] = (Int32(best), -log(total))
                    return
                }
                var random = RandomStream(seed: sampling.seed, stream: request.stream, index: UInt64(request.index))
                let own = candidates.pointer + row * candidates.stride
                let ids = UnsafeMutableRawPointer(own + Self.most).assumingMemoryBound(to: Int32.self)
                drawn[row] = draw(
                    z, weights: UnsafeMutableBufferPointer(start: weights.pointer + row * weights.stride, count: vocabulary),
                    values: UnsafeMutableBufferPointer(start: own, count: Self.most), ids: UnsafeMutableBufferPointer(start: ids, count: Self.most),
                    uniform: random.uniform())
            }
        }
    }

    /// - Parameter uniform: In [0, 1); the draw is the token at which the cumulative mass, in id order, passes it.
    private func draw(
        _ z: UnsafeBufferPointer<Float>, weights: UnsafeMutableBufferPointer<Float>, values: UnsafeMutableBufferPointer<Float>,
        ids: UnsafeMutableBufferPointer<Int32>, uniform: Double
    ) -> (token: Int32, logProb: Double) {
        let inverse = 1 / sampling.temperature
        let (total, best) = kernel.weights(z, inverse: inverse, into: weights.baseAddress!)
        func result(_ token: Int) -> (Int32, Double) { (Int32(token), Double(z[token] - z[best]) * inverse - log(total)) }
        let all = UnsafeBufferPointer(weights)
        let least = threshold(all, total: total, values, ids)
        if least > 0 {
            let count = kernel.atLeast(least, of: all, values: values, indices: ids)
            if count <= values.count {
                var kept = 0.0
                for i in 0..<count { kept += Double(values[i]) }
                var left = uniform * kept
                for i in 0..<count {
                    left -= Double(values[i])
                    if left < 0 { return result(Int(ids[i])) }
                }
                return result(count > 0 ? Int(ids[count - 1]) : best)
            }
        }
        return result(passed(all, least: least, uniform: uniform) ?? best)
    }

    /// The token at which the mass of the weights of at least `least` passes its share `uniform`; the last of them if rounding leaves some over.
    private func passed(_ weights: UnsafeBufferPointer<Float>, least: Float, uniform: Double) -> Int? {
        let run = 512
        func sum(_ start: Int) -> Double {
            var sum = 0.0
            for i in start..<min(start + run, weights.count) where weights[i] >= least { sum += Double(weights[i]) }
            return sum
        }
        var kept = 0.0
        for start in stride(from: 0, to: weights.count, by: run) { kept += sum(start) }
        var left = uniform * kept
        var last: Int?
        for start in stride(from: 0, to: weights.count, by: run) {
            let mass = sum(start)
            if left - mass >= 0, start + run < weights.count {
                left -= mass
                continue
            }
            for i in start..<min(start + run, weights.count) where weights[i] >= least {
                last = i
                left -= Double(weights[i])
                if left < 0 { return i }
            }
        }
        return last ?? weights.indices.last { weights[$0] >= least }
    }

    /// The least weight that the filters keep. Weights are relative to the most probable token's 1.
    private func threshold(
        _ weights: UnsafeBufferPointer<Float>, total: Double, _ values: UnsafeMutableBufferPointer<Float>, _ ids: UnsafeMutableBufferPointer<Int32>
    ) -> Float {
        let floor = Float(max(sampling.minP, 0))
        let byRank = sampling.topK > 0 && sampling.topK < weights.count, byMass = sampling.topP < 1
        guard byRank || byMass else { return floor }
        // Without top-k the mass that top-p is a share of is that of all weights above the floor.
        var mass = floor > 0 ? weights.reduce(0) { $1 >= floor ? $0 + Double($1) : $0 } : total
        var bound = Float(1.0 / 64)
        while true {
            let count = kernel.atLeast(max(bound, floor), of: weights, values: values, indices: ids)
            guard count <= values.count else { break }
            let isAll = bound <= floor || count == weights.count
            if !isAll, byRank, count < sampling.topK { bound = lower(bound); continue }
            var sorted = UnsafeMutableBufferPointer(rebasing: values[0..<count])
            sorted.sort(by: >)
            if let least = kept(UnsafeBufferPointer(sorted), floor: floor, mass: &mass, isAll: isAll) { return least }
            bound = lower(bound)
        }
        return weights.sorted(by: >).withUnsafeBufferPointer { kept($0, floor: floor, mass: &mass, isAll: true) } ?? floor
    }

    private func lower(_ bound: Float) -> Float { bound > 1e-30 ? bound / 8 : 0 }

    /// The least weight kept among the largest ones, `sorted`; nil if more of them must be known.
    private func kept(_ sorted: UnsafeBufferPointer<Float>, floor: Float, mass: inout Double, isAll: Bool) -> Float? {
        var least = floor
        if sampling.topK > 0, sampling.topK < vocabulary, sampling.topK <= sorted.count {
            least = max(least, sorted[sampling.topK - 1])
            mass = 0
            for w in sorted where w >= least { mass += Double(w) }
        }
        guard sampling.topP < 1 else { return least }
        var sum = 0.0
        for w in sorted where w >= least {
            sum += Double(w)
            if sum >= sampling.topP * mass { return max(least, w) }
        }
        return isAll ? least : nil
    }
}
