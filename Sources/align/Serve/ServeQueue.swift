import Checkpoints
import Foundation
import Models
import Synchronization
import Tokenizers

/// What waits to be sampled, and the one thread that samples: requests of the same rules run together.
///
/// A request's draws follow from its seed alone: `Generator` draws by (seed, prompt, sample, token), and a request's seed stands
/// where the prompt's number would. So requests of different seeds share a batch, and none sees who else is in it.
final class ServeQueue: Sendable {
    /// A request ready to run.
    struct Call: Sendable {
        var prompts: [[Int32]]
        /// Without seed; `maxNewTokens` is its own, and the batch's is the largest.
        var sampling: Sampling
        var stream: Int
        var feed: CompletionFeed

        var completions: Int { prompts.count * sampling.samplesPerPrompt }

        /// What requests of one batch have in common. Lengths, stop strings and samples are each request's own.
        var rules: Sampling {
            var rules = sampling
            (rules.maxNewTokens, rules.samplesPerPrompt, rules.seed, rules.stopStrings) = (0, 1, 0, [])
            return rules
        }
    }

    /// Completions that may wait, and that run together.
    static let most = 4096, together = 64
    /// Streams below this are seeds that clients gave; those above are the server's.
    static let seeds = 1 << 40

    private struct State {
        var calls: [Call] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    private let arrived = DispatchSemaphore(value: 0)
    private let running = Atomic<Int>(0)
    private let isDropped = Atomic<Bool>(false)

    /// Completions waiting, and running.
    var load: (waiting: Int, running: Int) { (state.withLock { $0.calls.reduce(0) { $0 + $1.completions } }, running.load(ordering: .relaxed)) }

    /// - Throws: `ServeError` of status 429 when too much waits, 503 when the server is going down.
    func add(_ call: Call) throws(ServeError) {
        let fault = state.withLock { state -> ServeError? in
            if state.isClosed { return .unavailable("The server is shutting down.") }
            let waiting = state.calls.reduce(0) { $0 + $1.completions }
            guard waiting == 0 || waiting + call.completions <= Self.most else { return .unavailable("\(waiting) completions wait already.", status: 429) }
            state.calls.append(call)
            return nil
        }
        if let fault { throw fault }
        arrived.signal()
    }

    /// Takes no more calls; `run` returns when those it has are done.
    func close() {
        state.withLock { $0.isClosed = true }
        arrived.signal()
    }

    /// Ends the calls under way as soon as the next token.
    func drop() { isDropped.store(true, ordering: .relaxed) }

    /// Samples until the queue is closed and empty.
    func run(_ generator: Generator, tokenizer: Tokenizer) {
        while true {
            arrived.wait()
            let isClosed = state.withLock { $0.isClosed }
            // Those that arrive together are to run together.
            if !isClosed { usleep(2000) }
            while let batch = takeBatch() { sample(batch, generator, tokenizer) }
            if isClosed { return }
        }
    }

    /// The oldest call, and those of the same rules, as many as run together.
    private func takeBatch() -> [Call]? {
        state.withLock { state in
            state.calls.removeAll { $0.feed.isCancelled }
            guard let rules = state.calls.first?.rules else { return nil }
            var (batch, rest, count) = ([Call](), [Call](), 0)
            for call in state.calls {
                if call.rules == rules, batch.isEmpty || count + call.completions <= Self.together {
                    batch.append(call)
                    count += call.completions
                } else {
                    rest.append(call)
                }
            }
            state.calls = rest
            return batch
        }
    }

    // MARK: Sampling

    /// One completion under way.
    private struct Running {
        var text: CompletionText
        var count = 0
        var reason: FinishReason?
    }

    private func sample(_ batch: [Call], _ generator: Generator, _ tokenizer: Tokenizer) {
        var sampling = batch[0].rules
        sampling.maxNewTokens = batch.map(\.sampling.maxNewTokens).max() ?? 1
        var (jobs, owners) = ([Generator.Job](), [(call: Int, prompt: Int)]())
        var all: [[Running]] = []
        for (number, call) in batch.enumerated() {
            for (prompt, tokens) in call.prompts.enumerated() {
                jobs.append(Generator.Job(tokens: tokens, index: call.stream + prompt, samples: Array(0..<call.sampling.samplesPerPrompt)))
                owners.append((number, prompt))
                let start = Running(text: CompletionText(tokenizer, stopStrings: call.sampling.stopStrings))
                all.append([Running](repeating: start, count: call.sampling.samplesPerPrompt))
            }
        }
        running.store(batch.reduce(0) { $0 + $1.completions }, ordering: .relaxed)
        defer { running.store(0, ordering: .relaxed) }
        do {
            try generator.run(jobs, sampling: sampling) { [self] place, token in
                let call = batch[owners[place.job].call]
                let choice = owners[place.job].prompt * call.sampling.samplesPerPrompt + place.sample
                return take(token, call, choice, &all[place.job][place.sample])
            } onFinish: { place, completion in
                let call = batch[owners[place.job].call]
                let choice = owners[place.job].prompt * call.sampling.samplesPerPrompt + place.sample
                let rest = all[place.job][place.sample].text.finish()
                if !rest.isEmpty { call.feed.post(.text(choice: choice, rest)) }
                let reason = all[place.job][place.sample].reason ?? completion.finishReason
                call.feed.post(.finished(choice: choice, .init(tokens: completion.tokens, logProbs: completion.logProbs, reason: reason)))
                running.subtract(1, ordering: .relaxed)
                return true
            }
        } catch {
            let fault = ServeError(status: 500, message: "Sampling failed: \(error)", type: "server_error")
            for call in batch { call.feed.post(.failed(fault)) }
        }
    }

    /// - Returns: Whether the completion goes on.
    private func take(_ token: Int32, _ call: Call, _ choice: Int, _ running: inout Running) -> Bool {
        running.count += 1
        let text = running.text.append(token, mayStop: running.count >= call.sampling.minNewTokens)
        if !text.isEmpty { call.feed.post(.text(choice: choice, text)) }
        if let stop = running.text.stop { running.reason = .stopString(stop) }
        else if running.count >= call.sampling.maxNewTokens, !call.sampling.stopIDs.contains(token) { running.reason = .length }
        else if call.feed.isCancelled || isDropped.load(ordering: .relaxed) { running.reason = .cancelled }
        return running.reason == nil
    }
}
