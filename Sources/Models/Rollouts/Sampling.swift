import Foundation

/// How tokens are drawn. Filters apply in the order temperature, top-k, top-p, min-p, as transformers applies them.
public struct Sampling: Sendable, Equatable, Codable {
    /// 0 is greedy: the most probable token, the lowest id among equals.
    public var temperature = 1.0
    /// Keeps the k most probable tokens (and those that tie with the k-th); 0: all.
    public var topK = 0
    /// Keeps the smallest set of most probable tokens whose mass reaches p; 1: all.
    public var topP = 1.0
    /// Keeps tokens at least this share as probable as the most probable one; 0: all.
    public var minP = 0.0
    public var maxNewTokens = 128
    /// Drawing one of these ends the completion; it stays part of it.
    public var stopIDs: [Int32] = []
    public var seed: UInt64 = 0
    /// Completions of each prompt.
    public var samplesPerPrompt = 1
    public init() {}
}

extension Sampling {
    /// Draws one token from a row of logits.
    /// - Parameter uniform: In [0, 1); the draw is the token at which the cumulative mass, in id order, passes it.
    /// - Returns: The token and log p of it, in nats, under the full distribution at this temperature (1 when greedy):
    ///   filters decide what may be drawn, never what its log-prob is.
    func draw(_ logits: UnsafeBufferPointer<Float>, uniform: Double) -> (token: Int32, logProb: Double) {
        let inverse = temperature > 0 ? 1 / temperature : 1
        var (top, best) = (-Float.infinity, 0)
        for (i, z) in logits.enumerated() where z > top { (top, best) = (z, i) }
        var weights = [Double](repeating: 0, count: logits.count)
        var total = 0.0
        for (i, z) in logits.enumerated() {
            weights[i] = exp(Double(z - top) * inverse)
            total += weights[i]
        }
        func result(_ token: Int) -> (Int32, Double) { (Int32(token), Double(logits[token] - top) * inverse - log(total)) }
        if temperature <= 0 { return result(best) }
        let least = threshold(weights, total: total)
        var kept = 0.0
        for w in weights where w >= least { kept += w }
        var left = uniform * kept
        var last = best
        for (i, w) in weights.enumerated() where w >= least {
            last = i
            left -= w
            if left < 0 { break }
        }
        return result(last)
    }

    /// The least weight that the filters keep. Weights are relative to the most probable token's 1.
    private func threshold(_ weights: [Double], total: Double) -> Double {
        var least = minP > 0 ? minP : 0
        guard (topK > 0 && topK < weights.count) || topP < 1 else { return least }
        let sorted = weights.sorted(by: >)
        if topK > 0, topK < sorted.count { least = max(least, sorted[topK - 1]) }
        if topP < 1 {
            let mass = sorted.prefix { $0 >= least }.reduce(0, +)
            var sum = 0.0
            for w in sorted where w >= least {
                sum += w
                if sum >= topP * mass {
                    least = max(least, w)
                    break
                }
            }
        }
        return least
    }
}
