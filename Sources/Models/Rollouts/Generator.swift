import Tensors
import Tokenizers

/// One sampled continuation of a prompt.
public struct Completion: Sendable, Equatable {
    /// The token that stopped it included.
    public var tokens: [Int32] = []
    /// log p of each token at the sampling temperature (1 when greedy), untruncated, in nats.
    public var logProbs: [Double] = []
    public var finishReason = FinishReason.length
}

/// Samples completions from a model on this machine, many sequences at a time over one key/value cache.
///
/// Token t of sample s of prompt p at step u is drawn with a number made of (seed, u, p, s, t): completions depend neither on which
/// others run beside them nor on the number of threads. A sequence that ends leaves its place to the next at once (`Schedule`).
public final class Generator {
    let decoder: Decoder
    /// Cuts completions at stop strings.
    let tokenizer: Tokenizer?
    /// Rows of the cache, shared by the sequences that run together; more where one sequence needs more.
    let cacheRows: Int
    /// Most sequences that take a step together.
    public let sequences: Int

    public init(decoder: Decoder, tokenizer: Tokenizer? = nil, cacheRows: Int = 16_384, sequences: Int = 64) {
        precondition(sequences > 0 && cacheRows > 0, "\(sequences) sequences over \(cacheRows) rows")
        (self.decoder, self.tokenizer, self.cacheRows, self.sequences) = (decoder, tokenizer, cacheRows, sequences)
    }

    public convenience init(model: Transformer, cacheRows: Int = 16_384, sequences: Int = 64) {
        self.init(decoder: Decoder(model), cacheRows: cacheRows, sequences: sequences)
    }

    /// What keys and values are kept in.
    public var cachePrecision: Precision { decoder.cachePrecision }

    /// A prompt, and which of its samples are wanted.
    public struct Job: Sendable {
        public var tokens: [Int32]
        /// What the prompt counts as in draws.
        public var index: Int
        public var samples: [Int]
        /// Its own rules; nil: the call's.
        public var sampling: Sampling?
        public init(tokens: [Int32], index: Int, samples: [Int], sampling: Sampling? = nil) {
            (self.tokens, self.index, self.samples, self.sampling) = (tokens, index, samples, sampling)
        }
    }

    /// Says of which completion something is: its job's place in the call, and the sample's number.
    public struct Place: Sendable, Hashable {
        public var job: Int
        public var sample: Int
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
        var results = [Completion](repeating: Completion(), count: prompts.count * samples)
        let jobs = prompts.enumerated().map { Job(tokens: $0.element, index: firstPrompt + $0.offset, samples: Array(0..<samples)) }
        let tell = onToken.map { onToken in { (place: Place, token: Int32) in onToken(place.job * samples + place.sample, token) } }
        try run(jobs, sampling: sampling, onToken: tell) { place, completion in
            results[place.job * samples + place.sample] = completion
            return true
        }
        return results
    }

    /// Samples every completion of the jobs and hands each over when it is finished.
    /// - Parameters:
    ///   - step: The training step that asks; part of what draws follow from.
    ///   - joining: Asked before every step for jobs that came meanwhile, which count on from those there are; each must have room (`hasRoom`).
    ///     The call ends when nothing is left and nothing came.
    ///   - onToken: Called with each token as it is drawn; false ends its completion.
    ///   - onFinish: false ends the call; completions that are not finished are dropped.
    /// - Throws: `ModelError.contextTooLong`, `.tokenOutOfRange`; `RolloutError.unsupported` for stop strings without a tokenizer; what
    ///   `joining` and `onFinish` throw.
    public func run(
        _ jobs: [Job], sampling: Sampling, step: Int = 0, joining: (() throws -> [Job])? = nil, onToken: ((Place, Int32) -> Bool)? = nil,
        onFinish: (Place, Completion) throws -> Bool
    ) throws {
        for job in jobs { try check(job, job.sampling ?? sampling) }
        guard sampling.maxNewTokens > 0 || jobs.contains(where: { $0.sampling != nil }) else {
            for (index, job) in jobs.enumerated() {
                for sample in job.samples where try !onFinish(Place(job: index, sample: sample), Completion()) { return }
            }
            return
        }
        guard joining != nil || jobs.contains(where: { !$0.samples.isEmpty }) else { return }
        var checked: (() throws -> [Job])?
        if let joining {
            checked = { [self] in
                let more = try joining()
                for job in more {
                    let rules = job.sampling ?? sampling
                    try check(job, rules)
                    precondition(hasRoom(prompt: job.tokens.count, sampling: rules), "a job of \(job.tokens.count) tokens joined without room")
                }
                return more
            }
        }
        try Schedule(self, jobs, sampling, step: step, isOpen: joining != nil).run(joining: checked, onToken, onFinish)
    }

    private func check(_ job: Job, _ sampling: Sampling) throws {
        if !sampling.stopStrings.isEmpty, tokenizer == nil {
            throw RolloutError.unsupported(engine: "the local engine", what: "a stop string", needs: "the model's tokenizer")
        }
        if job.tokens.isEmpty || job.tokens.count >= decoder.config.maxPositions {
            throw ModelError.contextTooLong(tokens: job.tokens.count, limit: decoder.config.maxPositions)
        }
        try decoder.check(job.tokens)
        precondition(job.sampling.map { $0.maxNewTokens > 0 } ?? true, "a job of no tokens")
    }

    /// Whether a job may join others: a prompt of `prompt` tokens and one of its samples fit the cache.
    public func hasRoom(prompt: Int, sampling: Sampling) -> Bool {
        let own = Self.ownBlocks(prompt: prompt, sampling: sampling, maxPositions: decoder.config.maxPositions)
        return DecodingCache.blocks(prompt) + own <= DecodingCache.blocks(cacheRows)
    }

    /// Blocks of the cache that a call takes at most; see `CacheMemory` for what they weigh.
    public static func blocks(prompts: [Int], samples: Int, sampling: Sampling, maxPositions: Int, cacheRows: Int = 16_384) -> Int {
        var (all, largest) = (0, 0)
        for prompt in prompts {
            let own = ownBlocks(prompt: prompt, sampling: sampling, maxPositions: maxPositions), shared = DecodingCache.blocks(prompt)
            all += shared + samples * own
            largest = max(largest, shared + own)
        }
        return min(all, max(DecodingCache.blocks(cacheRows), largest))
    }

    /// Longest completion of a prompt of `prompt` tokens.
    static func limit(prompt: Int, sampling: Sampling, maxPositions: Int) -> Int { min(sampling.maxNewTokens, maxPositions - prompt) }

    /// Blocks of one completion: its last token is never read.
    static func ownBlocks(prompt: Int, sampling: Sampling, maxPositions: Int) -> Int {
        DecodingCache.blocks(max(0, limit(prompt: prompt, sampling: sampling, maxPositions: maxPositions) - 1))
    }
}
