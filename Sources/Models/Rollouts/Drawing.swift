import Foundation
import Tensors

/// Draws the tokens of a step, a row a task, in memory that is set aside once.
final class Drawing {
    private let sampling: Sampling
    private let compute: Compute
    private let filter: TokenFilter
    private let rows: [TokenFilter.Scratch]

    private struct Request {
        var logits = 0, stream: UInt64 = 0, index = 0
        var prompt: [Int32] = [], completion: [Int32] = []
    }
    private let seed: UInt64
    private var requests: [Request]
    /// By row: the token, and log p of it in nats under the full distribution at this temperature (1 when greedy): filters and
    /// penalties decide what may be drawn, never what its log-prob is.
    private(set) var drawn: [(token: Int32, logProb: Double)]

    /// - Parameters:
    ///   - rows: Most rows that are drawn at a time.
    ///   - step: The training step; it is part of what draws follow from.
    init(_ sampling: Sampling, step: Int = 0, rows: Int, vocabulary: Int, compute: Compute) {
        (self.sampling, self.compute) = (sampling, compute)
        seed = sampling.seed ^ mixed(UInt64(bitPattern: Int64(step)))
        filter = TokenFilter(sampling, vocabulary: vocabulary, kernel: SoftmaxKernel(compute.path))
        let memory = FloatBuffer(count: rows * filter.scratchFloats)
        let floats = filter.scratchFloats
        self.rows = (0..<rows).map { TokenFilter.Scratch(memory, at: $0 * floats, vocabulary: floats == 0 ? 0 : vocabulary) }
        requests = [Request](repeating: Request(), count: rows)
        drawn = [(token: Int32, logProb: Double)](repeating: (0, 0), count: rows)
    }

    /// Says which row of logits the next `draw` takes for `row`, and which draw of which stream it is.
    func ask(row: Int, logits: Int, stream: UInt64, prompt: [Int32] = [], completion: [Int32] = [], index: Int) {
        requests[row] = Request(logits: logits, stream: stream, index: index)
        if sampling.changesLogits { (requests[row].prompt, requests[row].completion) = (prompt, completion) }
    }

    func draw(_ logits: Matrix, rows count: Int) {
        drawn.withUnsafeMutableBufferPointer { drawn in
            let drawn = drawn.baseAddress!
            let (requests, rows, filter, seed) = (requests, rows, filter, seed)
            compute.parallel(count) { row in
                let request = requests[row]
                let z = UnsafeBufferPointer(start: UnsafePointer(logits.pointer + request.logits * logits.stride), count: filter.vocabulary)
                var random = RandomStream(seed: seed, stream: request.stream, index: UInt64(request.index))
                let history = TokenFilter.History(prompt: request.prompt, completion: request.completion)
                drawn[row] = filter.draw(z, history, rows[row], uniform: random.uniform())
            }
        }
        // Their owners append to them next, and would copy what is held here.
        if sampling.changesLogits { for row in 0..<count { (requests[row].prompt, requests[row].completion) = ([], []) } }
    }
}

/// Bits of a step's number spread over 64 (SplitMix64's finaliser); 0 stays 0.
private func mixed(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
}
