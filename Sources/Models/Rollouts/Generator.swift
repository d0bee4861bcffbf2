import Foundation
import Tensors

/// One sampled continuation of a prompt.
public struct Completion: Sendable, Equatable {
    public enum FinishReason: String, Sendable, Codable { case stop, length }
    /// The token that stopped it included.
    public var tokens: [Int32]
    /// log p of each token at the sampling temperature (1 when greedy), untruncated, in nats.
    public var logProbs: [Double]
    public var finishReason: FinishReason
}

/// Samples completions from a model on this machine, several sequences at a time over one key/value cache.
///
/// Token t of sample s of prompt p is drawn with a number made of (seed, p, s, t): completions depend neither on which
/// others run beside them nor on the number of threads.
public final class Generator {
    private let model: Transformer
    /// Rows of the cache, shared by the sequences that run together.
    private let cacheRows: Int

    public init(model: Transformer, cacheRows: Int = 16_384) {
        self.model = model
        self.cacheRows = cacheRows
    }

    private struct Sequence {
        var index: Int
        var prompt: [Int32]
        var promptRows: Range<Int>
        var ownRows: Range<Int>
        var limit: Int
        var completion = Completion(tokens: [], logProbs: [], finishReason: .length)
        var stream: UInt64
    }

    /// Completions of every prompt, `samplesPerPrompt` of each, prompt by prompt.
    /// - Parameters:
    ///   - firstPrompt: What `prompts[0]` counts as, for callers that give many prompts in parts: draws are those of one call.
    ///   - onToken: Called with the completion's index and each token as it is drawn; false ends that completion.
    /// - Throws: `ModelError.contextTooLong` for a prompt that leaves no room, `.tokenOutOfRange`.
    public func generate(
        prompts: [[Int32]], firstPrompt: Int = 0, sampling: Sampling, onToken: ((Int, Int32) -> Bool)? = nil
    ) throws -> [Completion] {
        let samples = max(sampling.samplesPerPrompt, 1)
        var results = [Completion](repeating: Completion(tokens: [], logProbs: [], finishReason: .length), count: prompts.count * samples)
        guard sampling.maxNewTokens > 0 else { return results }
        for prompt in prompts where prompt.isEmpty || prompt.count >= model.config.maxPositions {
            throw ModelError.contextTooLong(tokens: prompt.count, limit: model.config.maxPositions)
        }
        var first = 0
        while first < prompts.count {
            // As many prompts as the cache holds with all their samples; one at least.
            var (end, rows) = (first, 0)
            while end < prompts.count {
                let more = prompts[end].count + samples * limit(prompts[end], sampling)
                if end > first && rows + more > cacheRows { break }
                rows += more
                end += 1
            }
            for (index, completion) in try wave(prompts, first..<end, firstPrompt, samples: samples, rows: rows, sampling: sampling, onToken: onToken) {
                results[index] = completion
            }
            first = end
        }
        return results
    }

    private func limit(_ prompt: [Int32], _ sampling: Sampling) -> Int { min(sampling.maxNewTokens, model.config.maxPositions - prompt.count) }

    private func wave(
        _ prompts: [[Int32]], _ range: Range<Int>, _ firstPrompt: Int, samples: Int, rows: Int, sampling: Sampling, onToken: ((Int, Int32) -> Bool)?
    ) throws -> [(Int, Completion)] {
        let cache = KeyValueCache(layers: model.config.layers, rows: rows, width: model.keyValueWidth, precision: model.precision)
        var active: [Sequence] = []
        var finished: [(Int, Completion)] = []
        func rowsFor(_ count: Int) -> Range<Int> {
            guard let taken = cache.reserve(count) else { preconditionFailure("the cache of \(rows) rows is smaller than what was planned") }
            return taken
        }
        /// Draws the next token of `sequence`; nil when it is complete.
        func advance(_ sequence: inout Sequence, _ logits: Matrix, row: Int) -> Bool {
            var random = RandomStream(seed: sampling.seed, stream: sequence.stream, index: UInt64(sequence.completion.tokens.count))
            let buffer = UnsafeBufferPointer(start: logits.pointer + row * logits.stride, count: logits.columns)
            let (token, logProb) = sampling.draw(buffer, uniform: random.uniform())
            sequence.completion.tokens.append(token)
            sequence.completion.logProbs.append(logProb)
            let goesOn = onToken?(sequence.index, token) ?? true
            if sampling.stopIDs.contains(token) || !goesOn { sequence.completion.finishReason = .stop; return false }
            return sequence.completion.tokens.count < sequence.limit
        }
        for p in range {
            let promptRows = rowsFor(prompts[p].count)
            let hidden = try prefill(prompts[p], promptRows, cache)
            let logits = model.logits(hidden)
            for s in 0..<samples {
                let length = limit(prompts[p], sampling)
                var sequence = Sequence(
                    index: p * samples + s, prompt: prompts[p], promptRows: promptRows, ownRows: rowsFor(length), limit: length,
                    stream: UInt64(firstPrompt + p) << 20 | UInt64(s))
                if advance(&sequence, logits, row: 0) { active.append(sequence) } else { finished.append((sequence.index, sequence.completion)) }
            }
        }
        while !active.isEmpty {
            let hidden = try model.extend(
                active.map { sequence in
                    let done = sequence.completion.tokens.count
                    let own = sequence.ownRows.lowerBound
                    var keys = [sequence.promptRows]
                    if done > 1 { keys.append(own..<own + done - 1) }
                    keys.append(own + done - 1..<own + done)
                    return Transformer.Extension(tokens: [sequence.completion.tokens[done - 1]], firstPosition: sequence.prompt.count + done - 1, keys: keys)
                }, cache: cache)
            let logits = model.logits(hidden)
            var still: [Sequence] = []
            for (row, sequence) in active.enumerated() {
                var sequence = sequence
                if advance(&sequence, logits, row: row) { still.append(sequence) } else { finished.append((sequence.index, sequence.completion)) }
            }
            active = still
        }
        return finished
    }

    /// Computes a prompt in chunks; returns the hidden state of its last token.
    private func prefill(_ prompt: [Int32], _ rows: Range<Int>, _ cache: KeyValueCache) throws -> Matrix {
        let size = 512
        var hidden: Matrix?
        for start in stride(from: 0, to: prompt.count, by: size) {
            let end = min(start + size, prompt.count)
            var keys: [Range<Int>] = start > 0 ? [rows.lowerBound..<rows.lowerBound + start] : []
            keys.append(rows.lowerBound + start..<rows.lowerBound + end)
            hidden = try model.extend([Transformer.Extension(tokens: Array(prompt[start..<end]), firstPosition: start, keys: keys)], cache: cache)
        }
        guard let hidden else { preconditionFailure("an empty prompt has no last token") }
        return hidden
    }
}
