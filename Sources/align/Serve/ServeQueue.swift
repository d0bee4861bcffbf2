import Checkpoints
import Foundation
import Models
import Synchronization
import Tokenizers

/// What waits to be sampled, and the one thread that samples: a request joins those that run before their next token, in the order
/// of arrival, as soon as there are places for it.
///
/// A request's draws follow from its seed alone: `Generator` draws by (seed, prompt, sample, token), and a request's seed stands
/// where the prompt's number would. So requests of different seeds share a batch, and none sees who else is in it.
final class ServeQueue: Sendable {
    /// A request ready to run.
    struct Call: Sendable {
        var prompts: [[Int32]]
        /// Without seed.
        var sampling: Sampling
        var stream: Int
        var feed: CompletionFeed

        var completions: Int { prompts.count * sampling.samplesPerPrompt }

        /// Its prompts' place in draws is the call's stream; stop strings are found in the text, by `Running`.
        var jobs: [Generator.Job] {
            var rules = sampling
            (rules.samplesPerPrompt, rules.seed, rules.stopStrings) = (1, 0, [])
            return prompts.enumerated().map { Generator.Job(tokens: $0.element, index: stream + $0.offset, samples: Array(0..<sampling.samplesPerPrompt), sampling: rules) }
        }
    }

    /// Completions that may wait.
    static let most = 4096
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
            while sample(generator, tokenizer) { continue }
            if isClosed { return }
        }
    }

    /// The oldest calls, as many as there are free places.
    /// - Parameters:
    ///   - isFirst: Nothing runs: the oldest call is taken whatever it needs.
    ///   - mayJoin: Whether a call's prompts can run beside others; one that cannot waits until it is alone, and those behind it with it.
    private func take(places: Int, isFirst: Bool, _ mayJoin: (Call) -> Bool) -> [Call] {
        state.withLock { state in
            state.calls.removeAll { $0.feed.isCancelled }
            var count = 0
            let end = state.calls.firstIndex { call in
                let isTaken = isFirst && count == 0 || count + call.completions <= places && mayJoin(call)
                if isTaken { count += call.completions }
                return !isTaken
            } ?? state.calls.endIndex
            defer { state.calls.removeSubrange(..<end) }
            return Array(state.calls[..<end])
        }
    }

    // MARK: Sampling

    /// The samples of one prompt under way.
    private struct Running {
        let call: Call
        /// What the call counts the first of them as.
        let choice: Int
        var texts: [CompletionText]
        var counts: [Int]
        var reasons: [FinishReason?]
        var left: Int

        init(_ call: Call, prompt: Int, _ tokenizer: Tokenizer) {
            let samples = call.sampling.samplesPerPrompt
            (self.call, choice, left) = (call, prompt * samples, samples)
            texts = [CompletionText](repeating: CompletionText(tokenizer, stopStrings: call.sampling.stopStrings), count: samples)
            counts = [Int](repeating: 0, count: samples)
            reasons = [FinishReason?](repeating: nil, count: samples)
        }
    }

    /// Runs what waits and what comes meanwhile, until nothing is left that can join.
    /// - Returns: Whether anything waited.
    private func sample(_ generator: Generator, _ tokenizer: Tokenizer) -> Bool {
        var (under, next) = ([Int: Running](), 0)  // by the job's number
        func admit(isFirst: Bool) -> [Generator.Job] {
            let places = generator.sequences - running.load(ordering: .relaxed)
            let calls = take(places: places, isFirst: isFirst) { call in call.prompts.allSatisfy { generator.hasRoom(prompt: $0.count, sampling: call.sampling) } }
            for call in calls {
                running.add(call.completions, ordering: .relaxed)
                for prompt in call.prompts.indices {
                    under[next] = Running(call, prompt: prompt, tokenizer)
                    next += 1
                }
            }
            return calls.flatMap(\.jobs)
        }
        let first = admit(isFirst: true)
        guard !first.isEmpty else { return false }
        defer { running.store(0, ordering: .relaxed) }
        do {
            try generator.run(first, sampling: Sampling(), joining: { admit(isFirst: false) }, onToken: { [self] place, token in
                guard under[place.job] != nil else { return false }
                return take(token, place.sample, &under[place.job]!)
            }, onFinish: { [self] place, completion in
                finish(place.sample, completion, &under[place.job]!)
                if under[place.job]?.left == 0 { under[place.job] = nil }
                return true
            })
        } catch {
            let fault = ServeError(status: 500, message: "Sampling failed: \(error)", type: "server_error")
            for one in under.values { one.call.feed.post(.failed(fault)) }
        }
        return true
    }

    /// - Returns: Whether the completion goes on.
    private func take(_ token: Int32, _ sample: Int, _ running: inout Running) -> Bool {
        let call = running.call
        running.counts[sample] += 1
        let text = running.texts[sample].append(token, mayStop: running.counts[sample] >= call.sampling.minNewTokens)
        if !text.isEmpty { call.feed.post(.text(choice: running.choice + sample, text)) }
        if let stop = running.texts[sample].stop { running.reasons[sample] = .stopString(stop) }
        else if call.feed.isCancelled || isDropped.load(ordering: .relaxed) { running.reasons[sample] = .cancelled }
        return running.reasons[sample] == nil
    }

    private func finish(_ sample: Int, _ completion: Completion, _ running: inout Running) {
        let (feed, choice) = (running.call.feed, running.choice + sample)
        let rest = running.texts[sample].finish()
        if !rest.isEmpty { feed.post(.text(choice: choice, rest)) }
        let reason = running.reasons[sample] ?? completion.finishReason
        feed.post(.finished(choice: choice, .init(tokens: completion.tokens, logProbs: completion.logProbs, reason: reason)))
        running.left -= 1
        self.running.subtract(1, ordering: .relaxed)
    }
}
