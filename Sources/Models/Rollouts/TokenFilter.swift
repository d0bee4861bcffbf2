import Foundation
import Tensors

/// From one row of logits to what may be drawn, and the draw.
///
/// Weights are e^((z − max z)/T). Few of them pass a filter: the filters look among those above a bound that is lowered until it
/// holds enough, so that nothing as long as the vocabulary is ever sorted (unless the distribution is all but flat).
struct TokenFilter: Sendable {
    let sampling: Sampling
    let vocabulary: Int
    private let kernel: SoftmaxKernel

    init(_ sampling: Sampling, vocabulary: Int, kernel: SoftmaxKernel) {
        (self.sampling, self.vocabulary, self.kernel) = (sampling, vocabulary, kernel)
    }

    /// What penalties look at.
    struct History {
        var prompt: [Int32] = [], completion: [Int32] = []
    }

    /// Memory of one row: weights, and the values and ids of those that filters keep.
    struct Scratch: @unchecked Sendable {  // a row is one task's
        let weights, values: UnsafeMutableBufferPointer<Float>
        let ids: UnsafeMutableBufferPointer<Int32>
        private let memory: FloatBuffer
        var isEmpty: Bool { weights.isEmpty }

        init(_ memory: FloatBuffer, at offset: Int, vocabulary: Int) {
            self.memory = memory
            let base = memory.base + offset
            weights = UnsafeMutableBufferPointer(start: base, count: vocabulary)
            values = UnsafeMutableBufferPointer(start: base + vocabulary, count: vocabulary)
            ids = UnsafeMutableBufferPointer(start: UnsafeMutableRawPointer(base + 2 * vocabulary).assumingMemoryBound(to: Int32.self), count: vocabulary)
        }
    }

    private var isGreedy: Bool { sampling.temperature <= 0 }
    var scratchFloats: Int { isGreedy && !sampling.changesLogits ? 0 : 3 * vocabulary }

    /// - Parameter uniform: In [0, 1); the draw is the token at which the cumulative mass, in id order, passes it.
    /// - Returns: The token, and its log p under `logits` at this temperature (1 when greedy), whatever penalties and filters did.
    func draw(_ logits: UnsafeBufferPointer<Float>, _ history: History, _ scratch: Scratch, uniform: Double) -> (token: Int32, logProb: Double) {
        let inverse = isGreedy ? 1 : 1 / sampling.temperature
        func result(_ token: Int, _ top: Int, _ total: Double) -> (Int32, Double) { (Int32(token), Double(logits[token] - logits[top]) * inverse - log(total)) }
        guard sampling.changesLogits else {
            let (total, best) = kernel.weights(logits, inverse: inverse, into: isGreedy ? nil : scratch.weights.baseAddress!)
            return result(isGreedy ? best : pick(scratch, total: total, best: best, uniform: uniform), best, total)
        }
        let (own, top) = kernel.weights(logits, inverse: inverse, into: nil)
        let (total, best) = changedWeights(logits, history, scratch, inverse: inverse)
        return result(isGreedy ? best : pick(scratch, total: total, best: best, uniform: uniform), top, own)
    }

    /// The ids that may be drawn, in order, and their probabilities.
    func distribution(_ logits: UnsafeBufferPointer<Float>, _ history: History, _ scratch: Scratch) -> (ids: [Int32], probabilities: [Double]) {
        let inverse = isGreedy ? 1 : 1 / sampling.temperature
        let (total, best) = changedWeights(logits, history, scratch, inverse: inverse)
        if isGreedy { return ([Int32(best)], [1]) }
        let count = keep(scratch, total: total) ?? kernel.atLeast(.leastNonzeroMagnitude, of: UnsafeBufferPointer(scratch.weights), values: scratch.values, indices: scratch.ids)
        let mass = scratch.values[..<count].reduce(0) { $0 + Double($1) }
        return (Array(scratch.ids[..<count]), scratch.values[..<count].map { Double($0) / mass })
    }

    private func pick(_ scratch: Scratch, total: Double, best: Int, uniform: Double) -> Int {
        guard let count = keep(scratch, total: total) else { return passed(UnsafeBufferPointer(scratch.weights), uniform: uniform) ?? best }
        var kept = 0.0
        for i in 0..<count { kept += Double(scratch.values[i]) }
        var left = uniform * kept
        for i in 0..<count {
            left -= Double(scratch.values[i])
            if left < 0 { return Int(scratch.ids[i]) }
        }
        return count > 0 ? Int(scratch.ids[count - 1]) : best
    }

    /// The token at which the mass of all weights passes its share `uniform`; the last if rounding leaves some over.
    private func passed(_ weights: UnsafeBufferPointer<Float>, uniform: Double) -> Int? {
        let run = 512
        func sum(_ start: Int) -> Double {
            var sum = 0.0
            for i in start..<min(start + run, weights.count) { sum += Double(weights[i]) }
            return sum
        }
        var kept = 0.0
        for start in stride(from: 0, to: weights.count, by: run) { kept += sum(start) }
        var left = uniform * kept
        for start in stride(from: 0, to: weights.count, by: run) {
            let mass = sum(start)
            if left - mass >= 0, start + run < weights.count {
                left -= mass
                continue
            }
            for i in start..<min(start + run, weights.count) {
                left -= Double(weights[i])
                if left < 0 { return i }
            }
        }
        return weights.indices.last { weights[$0] > 0 }
    }

    // MARK: Changed logits

    private func changedWeights(_ logits: UnsafeBufferPointer<Float>, _ history: History, _ scratch: Scratch, inverse: Double) -> (total: Double, best: Int) {
        let z = scratch.weights
        _ = z.update(fromContentsOf: logits)
        change(z, from: logits, history)
        var (total, best) = kernel.weights(UnsafeBufferPointer(z), inverse: inverse, into: nil)
        if z[best] == -.infinity {
            // Nothing is left to draw: a rule that forbids every token is none.
            _ = z.update(fromContentsOf: logits)
        }
        (total, best) = kernel.weights(UnsafeBufferPointer(z), inverse: inverse, into: z.baseAddress!)
        return (total, best)
    }

    private func change(_ z: UnsafeMutableBufferPointer<Float>, from logits: UnsafeBufferPointer<Float>, _ history: History) {
        let s = sampling
        func isKnown(_ id: Int32) -> Bool { z.indices.contains(Int(id)) }
        if s.repetitionPenalty != 1 {
            // From the logits as they were, so that a token seen twice is changed once.
            let penalty = Float(s.repetitionPenalty)
            for id in history.prompt where isKnown(id) { z[Int(id)] = logits[Int(id)] < 0 ? logits[Int(id)] * penalty : logits[Int(id)] / penalty }
            for id in history.completion where isKnown(id) { z[Int(id)] = logits[Int(id)] < 0 ? logits[Int(id)] * penalty : logits[Int(id)] / penalty }
        }
        if s.presencePenalty != 0 || s.frequencyPenalty != 0 {
            for (id, count) in counts(history.completion) where isKnown(id) { z[Int(id)] -= Float(s.presencePenalty + s.frequencyPenalty * Double(count)) }
        }
        if s.noRepeatNgram > 0 { forbidRepeats(z, history.prompt + history.completion) }
        if history.completion.count < s.minNewTokens { for id in s.stopIDs where isKnown(id) { z[Int(id)] = -.infinity } }
    }

    private func counts(_ ids: [Int32]) -> [(id: Int32, count: Int)] {
        var result: [(id: Int32, count: Int)] = []
        for id in ids.sorted() {
            if result.last?.id == id { result[result.count - 1].count += 1 } else { result.append((id, 1)) }
        }
        return result
    }

    /// Forbids every token that has followed the last n − 1 ones before.
    private func forbidRepeats(_ z: UnsafeMutableBufferPointer<Float>, _ ids: [Int32]) {
        let n = sampling.noRepeatNgram
        guard ids.count >= n else { return }
        let end = ids[(ids.count - n + 1)...]
        for start in 0...ids.count - n where ids[start..<start + n - 1].elementsEqual(end) {
            let id = Int(ids[start + n - 1])
            if z.indices.contains(id) { z[id] = -.infinity }
        }
    }

    // MARK: Filters

    /// Writes the ids and weights that the filters keep, in id order.
    /// - Returns: How many there are; nil if nothing filters.
    private func keep(_ scratch: Scratch, total: Double) -> Int? {
        let s = sampling, picksAmong = s.typicalP < 1 || s.epsilonCutoff > 0 || s.etaCutoff > 0
        let least = threshold(scratch, total: total)
        guard least > 0 || picksAmong else { return nil }
        var count = kernel.atLeast(max(least, .leastNonzeroMagnitude), of: UnsafeBufferPointer(scratch.weights), values: scratch.values, indices: scratch.ids)
        if s.typicalP < 1 { count = keepTypical(scratch, count) }
        if s.epsilonCutoff > 0 { count = keep(scratch, count) { _, _ in s.epsilonCutoff } }
        if s.etaCutoff > 0 { count = keep(scratch, count) { mass, entropy in min(s.etaCutoff, s.etaCutoff.squareRoot() * exp(-entropy())) } }
        return count
    }

    /// The least weight that top-k, top-p and min-p keep. Weights are relative to the most probable token's 1.
    private func threshold(_ scratch: Scratch, total: Double) -> Float {
        let weights = UnsafeBufferPointer(scratch.weights), floor = Float(max(sampling.minP, 0))
        let byRank = sampling.topK > 0 && sampling.topK < weights.count, byMass = sampling.topP < 1
        guard byRank || byMass else { return floor }
        var bound = Float(1.0 / 64)
        while true {
            let count = kernel.atLeast(bound, of: weights, values: scratch.values, indices: scratch.ids)
            let isAll = bound == 0 || count == weights.count
            if !isAll, byRank, count < sampling.topK {
                bound = lower(bound)
                continue
            }
            var sorted = UnsafeMutableBufferPointer(rebasing: scratch.values[0..<count])
            sorted.sort(by: >)
            if let least = kept(UnsafeBufferPointer(sorted), byRank: byRank, total: total, isAll: isAll) { return max(least, floor) }
            bound = lower(bound)
        }
    }

    private func lower(_ bound: Float) -> Float { bound > 1e-30 ? bound / 8 : 0 }

    /// The least weight kept among the largest ones, `sorted`; nil if more of them must be known.
    private func kept(_ sorted: UnsafeBufferPointer<Float>, byRank: Bool, total: Double, isAll: Bool) -> Float? {
        var (least, mass) = (Float(0), total)
        if byRank, sampling.topK <= sorted.count {
            least = sorted[sampling.topK - 1]
            mass = 0
            for w in sorted {
                if w < least { break }
                mass += Double(w)
            }
        }
        guard sampling.topP < 1 else { return least }
        var sum = 0.0
        for w in sorted {
            if w < least { break }
            sum += Double(w)
            if sum >= sampling.topP * mass { return w }
        }
        return isAll || least > 0 ? least : nil
    }

    /// Mass and entropy (nats) of the first `count` candidates.
    private func statistics(_ scratch: Scratch, _ count: Int) -> (mass: Double, entropy: Double) {
        var (mass, weighted) = (0.0, 0.0)
        for i in 0..<count {
            let w = Double(scratch.values[i])
            mass += w
            weighted += w * log(w)
        }
        return (mass, log(mass) - weighted / mass)
    }

    private func keepTypical(_ scratch: Scratch, _ count: Int) -> Int {
        let (mass, entropy) = statistics(scratch, count)
        let distance = (0..<count).map { abs(log(mass) - log(Double(scratch.values[$0])) - entropy) }
        let order = (0..<count).sorted { (distance[$0], scratch.ids[$0]) < (distance[$1], scratch.ids[$1]) }
        var sum = 0.0
        let last = order.first {
            sum += Double(scratch.values[$0])
            return sum >= sampling.typicalP * mass
        }
        guard let limit = (last ?? order.last).map({ distance[$0] }) else { return 0 }
        return compact(scratch, count) { distance[$0] <= limit }
    }

    /// Keeps the candidates of at least the probability that `least` names, and the most probable one in any case.
    private func keep(_ scratch: Scratch, _ count: Int, least: (_ mass: Double, _ entropy: () -> Double) -> Double) -> Int {
        guard count > 0 else { return 0 }
        let (mass, entropy) = statistics(scratch, count)
        let limit = least(mass, { entropy }) * mass
        let top = scratch.values[..<count].max() ?? 0
        return compact(scratch, count) { Double(scratch.values[$0]) >= limit || scratch.values[$0] == top }
    }

    private func compact(_ scratch: Scratch, _ count: Int, where keeps: (Int) -> Bool) -> Int {
        var kept = 0
        for i in 0..<count where keeps(i) {
            (scratch.values[kept], scratch.ids[kept]) = (scratch.values[i], scratch.ids[i])
            kept += 1
        }
        return kept
    }
}

/// What sampling may draw after one row of logits: the filters' own code, one row at a time.
public struct TokenDistribution: Sendable, Equatable {
    /// Ids in increasing order, and their probabilities, which sum to 1.
    public let tokens: [Int32]
    public let probabilities: [Double]

    /// - Parameters:
    ///   - prompt: And `completion` so far: what penalties look at.
    public init(_ logits: [Float], sampling: Sampling, prompt: [Int32] = [], completion: [Int32] = [], compute: Compute) {
        let filter = TokenFilter(sampling, vocabulary: logits.count, kernel: SoftmaxKernel(compute.path))
        let scratch = TokenFilter.Scratch(FloatBuffer(count: 3 * logits.count), at: 0, vocabulary: logits.count)
        (tokens, probabilities) = logits.withUnsafeBufferPointer { filter.distribution($0, TokenFilter.History(prompt: prompt, completion: completion), scratch) }
    }

    /// In nats.
    public var entropy: Double { -probabilities.reduce(0) { $0 + ($1 > 0 ? $1 * log($1) : 0) } }

    /// The token at which the cumulative probability, in id order, passes `uniform`.
    public func token(at uniform: Double) -> Int32? {
        var sum = 0.0
        for (token, probability) in zip(tokens, probabilities) {
            sum += probability
            if sum > uniform { return token }
        }
        return tokens.last
    }
}
