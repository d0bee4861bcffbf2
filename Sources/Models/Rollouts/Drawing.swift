import Foundation
import Tensors

/// Draws the tokens of a step, a row a task, in memory that is set aside once; each row by its own rules.
final class Drawing {
    /// How a row is drawn.
    struct Rules: Sendable {
        fileprivate let filter: TokenFilter
        fileprivate let seed: UInt64
    }

    private let compute: Compute
    private let vocabulary: Int
    private let step: UInt64
    /// One a row; empty as long as no rules need them.
    private var scratch: [TokenFilter.Scratch]

    private struct Request {
        var logits = 0, stream: UInt64 = 0, index = 0
        var rules: Rules?
        var prompt: [Int32] = [], completion: [Int32] = []
    }
    private var requests: [Request]
    /// By row: the token, and log p of it in nats under the full distribution at this temperature (1 when greedy): filters and
    /// penalties decide what may be drawn, never what its log-prob is.
    private(set) var drawn: [(token: Int32, logProb: Double)]

    /// - Parameters:
    ///   - rows: Most rows that are drawn at a time.
    ///   - step: The training step; it is part of what draws follow from.
    init(step: Int = 0, rows: Int, vocabulary: Int, compute: Compute) {
        (self.vocabulary, self.compute, self.step) = (vocabulary, compute, mixed(UInt64(bitPattern: Int64(step))))
        let none = FloatBuffer(count: 0)
        scratch = [TokenFilter.Scratch](repeating: TokenFilter.Scratch(none, at: 0, vocabulary: 0), count: rows)
        requests = [Request](repeating: Request(), count: rows)
        drawn = [(token: Int32, logProb: Double)](repeating: (0, 0), count: rows)
    }

    /// Rules that rows can be drawn by, and the memory that they need.
    func rules(_ sampling: Sampling) -> Rules {
        let filter = TokenFilter(sampling, vocabulary: vocabulary, kernel: SoftmaxKernel(compute.path))
        if filter.scratchFloats > 0, let first = scratch.first, first.isEmpty {
            let memory = FloatBuffer(count: scratch.count * filter.scratchFloats)
            scratch = scratch.indices.map { TokenFilter.Scratch(memory, at: $0 * filter.scratchFloats, vocabulary: vocabulary) }
        }
        return Rules(filter: filter, seed: sampling.seed ^ step)
    }

    /// Says which row of logits the next `draw` takes for `row`, by which rules, and which draw of which stream it is.
    func ask(row: Int, logits: Int, rules: Rules, stream: UInt64, prompt: [Int32] = [], completion: [Int32] = [], index: Int) {
        requests[row] = Request(logits: logits, stream: stream, index: index, rules: rules)
        if rules.filter.sampling.changesLogits { (requests[row].prompt, requests[row].completion) = (prompt, completion) }
    }

    func draw(_ logits: Matrix, rows count: Int) {
        drawn.withUnsafeMutableBufferPointer { drawn in
            let drawn = drawn.baseAddress!
            let (requests, scratch, vocabulary) = (requests, scratch, vocabulary)
            compute.parallel(count) { row in
                let request = requests[row]
                guard let rules = request.rules else { preconditionFailure("row \(row) was not asked for") }
                let z = UnsafeBufferPointer(start: UnsafePointer(logits.pointer + request.logits * logits.stride), count: vocabulary)
                var random = RandomStream(seed: rules.seed, stream: request.stream, index: UInt64(request.index))
                let history = TokenFilter.History(prompt: request.prompt, completion: request.completion)
                drawn[row] = rules.filter.draw(z, history, scratch[row], uniform: random.uniform())
            }
        }
        // Their owners append to them next, and would copy what is held here.
        for row in 0..<count where requests[row].rules?.filter.sampling.changesLogits == true { (requests[row].prompt, requests[row].completion) = ([], []) }
    }
}

/// Bits of a step's number spread over 64 (SplitMix64's finaliser); 0 stays 0.
private func mixed(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
}
