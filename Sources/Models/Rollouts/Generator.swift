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
/// others run beside them nor on the number of threads. Buffers are set aside before the first token, none between two.
public final class Generator {
    private let decoder: Decoder
    /// Rows of the cache, shared by the sequences that run together.
    private let cacheRows: Int
    /// Prompt tokens that are read together, where more than one prompt fits.
    private let readRows = 512

    public init(decoder: Decoder, cacheRows: Int = 16_384) {
        self.decoder = decoder
        self.cacheRows = cacheRows
    }

    public convenience init(model: Transformer, cacheRows: Int = 16_384) { self.init(decoder: Decoder(model), cacheRows: cacheRows) }

    private struct Sequence {
        var index: Int
        var promptRows: Range<Int>
        var ownRows: Range<Int>
        var limit: Int
        var completion = Completion(tokens: [], logProbs: [], finishReason: .length)
        var stream: UInt64
        var isDone = false

        /// The newest token's place.
        var query: DecodingCache.Query {
            let done = completion.tokens.count
            return DecodingCache.Query(position: promptRows.count + done - 1, prompt: promptRows, own: ownRows.lowerBound..<ownRows.lowerBound + done)
        }
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
        for prompt in prompts where prompt.isEmpty || prompt.count >= decoder.config.maxPositions {
            throw ModelError.contextTooLong(tokens: prompt.count, limit: decoder.config.maxPositions)
        }
        var first = 0
        while first < prompts.count {
            // As many prompts as the cache holds with all their samples; one at least.
            var (end, rows) = (first, 0)
            while end < prompts.count {
                let more = DecodingCache.rows(prompts[end].count) + samples * DecodingCache.rows(limit(prompts[end], sampling))
                if end > first && rows + more > cacheRows { break }
                rows += more
                end += 1
            }
            let wave = Wave(generator: self, prompts: prompts, range: first..<end, firstPrompt: firstPrompt, samples: samples, rows: rows, sampling: sampling)
            try wave.run(onToken, into: &results)
            first = end
        }
        return results
    }

    private func limit(_ prompt: [Int32], _ sampling: Sampling) -> Int { min(sampling.maxNewTokens, decoder.config.maxPositions - prompt.count) }

    /// Prompts whose samples run together.
    private final class Wave {
        private let decoder: Decoder
        private let generator: Generator
        private let prompts: [[Int32]]
        private let range: Range<Int>
        private let firstPrompt, samples: Int
        private let sampling: Sampling
        private let cache: DecodingCache
        private let drawing: Drawing
        private var active: [Sequence] = []

        init(generator: Generator, prompts: [[Int32]], range: Range<Int>, firstPrompt: Int, samples: Int, rows: Int, sampling: Sampling) {
            (self.generator, decoder, self.prompts, self.range) = (generator, generator.decoder, prompts, range)
            (self.firstPrompt, self.samples, self.sampling) = (firstPrompt, samples, sampling)
            cache = decoder.makeCache(rows: rows)
            let sequences = range.count * samples
            decoder.plan(sequences: sequences, keys: range.map { prompts[$0].count + generator.limit(prompts[$0], sampling) }.max() ?? 0)
            drawing = Drawing(sampling, rows: sequences, vocabulary: decoder.config.vocabularySize, compute: decoder.compute)
            active.reserveCapacity(sequences)
        }

        func run(_ onToken: ((Int, Int32) -> Bool)?, into results: inout [Completion]) throws {
            try read(onToken)
            collect(into: &results)
            while !active.isEmpty {
                decoder.beginStep()
                for i in active.indices {
                    drawing.ask(row: i, logits: i, stream: active[i].stream, index: active[i].completion.tokens.count)
                    decoder.add(active[i].completion.tokens[active[i].completion.tokens.count - 1], active[i].query)
                }
                drawing.draw(decoder.step(cache), rows: active.count)
                var finished = false
                for i in active.indices {
                    take(i, drawing.drawn[i], onToken)
                    finished = finished || active[i].isDone
                }
                if finished { collect(into: &results) }
            }
        }

        private func take(_ i: Int, _ drawn: (token: Int32, logProb: Double), _ onToken: ((Int, Int32) -> Bool)?) {
            active[i].completion.tokens.append(drawn.token)
            active[i].completion.logProbs.append(drawn.logProb)
            let goesOn = onToken?(active[i].index, drawn.token) ?? true
            if sampling.stopIDs.contains(drawn.token) || !goesOn {
                active[i].completion.finishReason = .stop
                active[i].isDone = true
            } else if active[i].completion.tokens.count >= active[i].limit {
                active[i].isDone = true
            }
        }

        private func collect(into results: inout [Completion]) {
            for sequence in active where sequence.isDone { results[sequence.index] = sequence.completion }
            active.removeAll { $0.isDone }
        }

        /// Reads the prompts, several at a time where they are short, and draws the first token of every sample.
        private func read(_ onToken: ((Int, Int32) -> Bool)?) throws {
            var start = range.lowerBound
            while start < range.upperBound {
                var (pack, end) = (PromptPack(), start)
                var promptRows: [Range<Int>] = []
                while end < range.upperBound, end == start || pack.tokens.count + prompts[end].count <= generator.readRows {
                    promptRows.append(rows(prompts[end].count))
                    pack.append(prompts[end], rows: promptRows[end - start])
                    end += 1
                }
                let logits = try decoder.read(pack, into: cache)
                let first = active.count
                for p in start..<end {
                    for s in 0..<samples {
                        let limit = generator.limit(prompts[p], sampling)
                        var sequence = Sequence(
                            index: p * samples + s, promptRows: promptRows[p - start], ownRows: rows(limit), limit: limit,
                            stream: UInt64(firstPrompt + p) << 20 | UInt64(s))
                        sequence.completion.tokens.reserveCapacity(limit)
                        sequence.completion.logProbs.reserveCapacity(limit)
                        drawing.ask(row: active.count - first, logits: p - start, stream: sequence.stream, index: 0)
                        active.append(sequence)
                    }
                }
                drawing.draw(logits, rows: active.count - first)
                for i in first..<active.count { take(i, drawing.drawn[i - first], onToken) }
                start = end
            }
        }

        private func rows(_ count: Int) -> Range<Int> {
            guard let taken = cache.reserve(count) else { preconditionFailure("the cache of \(cache.rows) rows is smaller than what was planned") }
            return taken
        }
    }
}
