import Tensors

/// One call of a generator: which prompts are read when, and which sequences take a step together.
///
///     read a piece of the next prompts  ·  draw the first token of all their samples  ·  samples wait
///     waiting samples take the places of those that ended  ·  all that run take one step
///
/// Prompts are read when no sample waits, in pieces of `readRows` tokens, and a step is taken after every `readAhead` of them: long
/// prompts hold nobody up for long. A sequence starts only when the cache has the blocks that it may come to need. Jobs that come
/// while others run join them before the next step.
final class Schedule {
    private static let readRows = 512, readAhead = 2048

    private let generator: Generator
    private let decoder: Decoder
    /// Jobs that wait to be read, the first being number `firstJob` of the call.
    private var jobs: ArraySlice<Generator.Job>
    private var firstJob = 0
    /// The rules of jobs without their own.
    private let sampling: Sampling
    private let cache: DecodingCache
    private let drawing: Drawing
    /// Most sequences that run together.
    private let places: Int
    /// The first of them, and a prompt of which a part was read.
    private var next, partial: Prompt?
    private var waiting: [Sequence] = []
    private var firstWaiting = 0
    private var active: [Sequence] = []
    /// Blocks that prompts hold and that running sequences hold or may come to need.
    private var committed = 0

    /// A prompt's part of the cache, shared by its samples.
    private final class Prompt {
        let number: Int
        let job: Generator.Job
        let sampling: Sampling
        let rules: Drawing.Rules
        let limit: Int
        var chain = DecodingCache.Chain()
        /// Samples that are not finished.
        var samples: Int
        var tokens: [Int32] { job.tokens }
        var blocks: Int { DecodingCache.blocks(tokens.count) }
        /// Of one sample.
        let ownBlocks: Int

        init(_ number: Int, _ job: Generator.Job, _ sampling: Sampling, _ rules: Drawing.Rules, maxPositions: Int) {
            (self.number, self.job, self.sampling, self.rules, samples) = (number, job, sampling, rules, job.samples.count)
            limit = Generator.limit(prompt: job.tokens.count, sampling: sampling, maxPositions: maxPositions)
            ownBlocks = Generator.ownBlocks(prompt: job.tokens.count, sampling: sampling, maxPositions: maxPositions)
        }
    }

    private struct Sequence {
        let prompt: Prompt
        let sample: Int
        let stream: UInt64
        var chain = DecodingCache.Chain()
        var completion = Completion()
        var text: CompletionText?
        var isDone = false
    }

    /// - Parameter isOpen: Jobs may join; the cache is then as large as the generator's may be.
    init(_ generator: Generator, _ jobs: [Generator.Job], _ sampling: Sampling, step: Int, isOpen: Bool) {
        (self.generator, decoder, self.jobs, self.sampling) = (generator, generator.decoder, jobs[...], sampling)
        let config = decoder.config, most = DecodingCache.blocks(generator.cacheRows)
        var (all, largest, total, keys) = (0, 0, 0, isOpen ? min(config.maxPositions, generator.cacheRows) : 0)
        for job in jobs where !job.samples.isEmpty {
            let rules = job.sampling ?? sampling
            let prompt = DecodingCache.blocks(job.tokens.count), own = Generator.ownBlocks(prompt: job.tokens.count, sampling: rules, maxPositions: config.maxPositions)
            all += prompt + job.samples.count * own
            largest = max(largest, prompt + own)
            total += job.samples.count
            keys = max(keys, job.tokens.count + Generator.limit(prompt: job.tokens.count, sampling: rules, maxPositions: config.maxPositions))
        }
        cache = decoder.makeCache(blocks: isOpen ? max(most, largest) : min(all, max(most, largest)))
        places = isOpen ? generator.sequences : min(generator.sequences, total)
        decoder.plan(sequences: places, keys: keys)
        drawing = Drawing(step: step, rows: places, vocabulary: config.vocabularySize, compute: decoder.compute)
        active.reserveCapacity(places)
    }

    /// - Parameter joining: Asked before every step for jobs that came meanwhile.
    func run(
        joining: (() throws -> [Generator.Job])?, _ onToken: ((Generator.Place, Int32) -> Bool)?, _ onFinish: (Generator.Place, Completion) throws -> Bool
    ) throws {
        while true {
            if let joining { jobs += try joining() }
            var read = 0
            start()
            while active.count < places, firstWaiting == waiting.count, read < Schedule.readAhead || active.isEmpty {
                let count = try readPiece(onToken, onFinish)
                guard let count else { return }
                if count == 0 { break }
                read += count
                start()
            }
            guard !active.isEmpty else {
                precondition(firstWaiting == waiting.count && partial == nil && jobs.isEmpty, "prompt \(firstJob) found no room in \(cache.blocks) blocks")
                return
            }
            step(onToken)
            guard try collect(onFinish) else { return }
        }
    }

    // MARK: Reading

    /// Reads up to `readRows` tokens of the next prompts, as far as the cache has room for them and for a sample.
    /// - Returns: How many tokens it read; nil if the call is to end.
    private func readPiece(_ onToken: ((Generator.Place, Int32) -> Bool)?, _ onFinish: (Generator.Place, Completion) throws -> Bool) throws -> Int? {
        var (pack, ended, most) = (PromptPack(), [Prompt](), 0)
        while pack.tokens.count < Schedule.readRows {
            if partial == nil {
                guard let prompt = nextPrompt() else { break }
                most = max(most, prompt.ownBlocks)
                guard committed + prompt.blocks + most <= cache.blocks else { break }
                // A short prompt is read at once.
                if !pack.tokens.isEmpty, pack.tokens.count + prompt.tokens.count > Schedule.readRows { break }
                takeJob()
                committed += prompt.blocks
                partial = prompt
            }
            guard let prompt = partial else { break }
            let end = min(prompt.tokens.count, prompt.chain.count + Schedule.readRows - pack.tokens.count)
            pack.append(prompt.tokens[prompt.chain.count..<end], to: &prompt.chain, of: cache, isEnd: end == prompt.tokens.count)
            if end == prompt.tokens.count {
                ended.append(prompt)
                partial = nil
            }
        }
        guard !pack.tokens.isEmpty else { return 0 }
        let logits = try decoder.read(pack, into: cache)
        return try drawFirst(ended, logits, onToken, onFinish) ? pack.tokens.count : nil
    }

    /// Draws the first token of every sample of the prompts that were read; row i of `logits` is prompt i's.
    private func drawFirst(
        _ prompts: [Prompt], _ logits: Matrix, _ onToken: ((Generator.Place, Int32) -> Bool)?, _ onFinish: (Generator.Place, Completion) throws -> Bool
    ) throws -> Bool {
        let all = prompts.enumerated().flatMap { row, prompt in prompt.job.samples.map { (row: row, prompt: prompt, sample: $0) } }
        for first in stride(from: 0, to: all.count, by: places) {
            let part = all[first..<min(first + places, all.count)]
            var sequences = part.map { sequence($0.prompt, sample: $0.sample) }
            for (i, entry) in part.enumerated() { drawing.ask(row: i, logits: entry.row, rules: entry.prompt.rules, stream: sequences[i].stream, prompt: entry.prompt.tokens, index: 0) }
            drawing.draw(logits, rows: sequences.count)
            for i in sequences.indices {
                take(&sequences[i], drawing.drawn[i], onToken)
                if !sequences[i].isDone {
                    waiting.append(sequences[i])
                } else if try !finish(sequences[i], onFinish) {
                    return false
                }
            }
        }
        return true
    }

    private func sequence(_ prompt: Prompt, sample: Int) -> Sequence {
        precondition((0..<1 << 20).contains(sample), "sample \(sample) of a prompt")
        var sequence = Sequence(prompt: prompt, sample: sample, stream: UInt64(prompt.job.index) << 20 | UInt64(sample))
        sequence.completion.tokens.reserveCapacity(min(prompt.limit, 4096))
        sequence.completion.logProbs.reserveCapacity(min(prompt.limit, 4096))
        let stops = prompt.sampling.stopStrings
        if !stops.isEmpty { sequence.text = generator.tokenizer.map { CompletionText($0, stopStrings: stops) } }
        return sequence
    }

    /// The first job that wants samples, as a prompt; those before it are dropped.
    private func nextPrompt() -> Prompt? {
        if let next { return next }
        while let job = jobs.first, job.samples.isEmpty { takeJob() }
        guard let job = jobs.first else { return nil }
        let rules = job.sampling ?? sampling
        next = Prompt(firstJob, job, rules, drawing.rules(rules), maxPositions: decoder.config.maxPositions)
        return next
    }

    private func takeJob() {
        jobs.removeFirst()
        firstJob += 1
        next = nil
    }

    // MARK: Steps

    /// Lets waiting sequences take free places.
    private func start() {
        while active.count < places, firstWaiting < waiting.count {
            let need = waiting[firstWaiting].prompt.ownBlocks
            guard committed + need <= cache.blocks else { break }
            committed += need
            active.append(waiting[firstWaiting])
            firstWaiting += 1
        }
        if firstWaiting == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            firstWaiting = 0
        }
    }

    private func step(_ onToken: ((Generator.Place, Int32) -> Bool)?) {
        decoder.beginStep()
        for i in active.indices {
            let count = active[i].completion.tokens.count
            drawing.ask(
                row: i, logits: i, rules: active[i].prompt.rules, stream: active[i].stream, prompt: active[i].prompt.tokens, completion: active[i].completion.tokens, index: count)
            decoder.add(active[i].completion.tokens[count - 1], prompt: active[i].prompt.chain, own: &active[i].chain, of: cache)
        }
        drawing.draw(decoder.step(cache), rows: active.count)
        for i in active.indices { take(&active[i], drawing.drawn[i], onToken) }
    }

    private func take(_ sequence: inout Sequence, _ drawn: (token: Int32, logProb: Double), _ onToken: ((Generator.Place, Int32) -> Bool)?) {
        sequence.completion.tokens.append(drawn.token)
        sequence.completion.logProbs.append(drawn.logProb)
        let (count, sampling) = (sequence.completion.tokens.count, sequence.prompt.sampling)
        _ = sequence.text?.append(drawn.token, mayStop: count >= sampling.minNewTokens)
        let goesOn = onToken?(Generator.Place(job: sequence.prompt.number, sample: sequence.sample), drawn.token) ?? true
        let reason: FinishReason? =
            if sampling.stopIDs.contains(drawn.token) { .stopToken(drawn.token) }
            else if let stop = sequence.text?.stop { .stopString(stop) }
            else if count >= sequence.prompt.limit { .length }
            else if !goesOn { .cancelled }
            else { nil }
        guard let reason else { return }
        sequence.completion.finishReason = reason
        sequence.isDone = true
    }

    /// Hands over what is finished and frees its place.
    /// - Returns: Whether the call goes on.
    private func collect(_ onFinish: (Generator.Place, Completion) throws -> Bool) throws -> Bool {
        guard active.contains(where: \.isDone) else { return true }
        let done = active.filter(\.isDone)
        active.removeAll(where: \.isDone)
        for sequence in done {
            committed -= sequence.prompt.ownBlocks
            cache.giveBack(sequence.chain)
            guard try finish(sequence, onFinish) else { return false }
        }
        return true
    }

    private func finish(_ sequence: Sequence, _ onFinish: (Generator.Place, Completion) throws -> Bool) throws -> Bool {
        let prompt = sequence.prompt
        prompt.samples -= 1
        if prompt.samples == 0 {
            committed -= prompt.blocks
            cache.giveBack(prompt.chain)
        }
        return try onFinish(Generator.Place(job: prompt.number, sample: sequence.sample), sequence.completion)
    }
}
