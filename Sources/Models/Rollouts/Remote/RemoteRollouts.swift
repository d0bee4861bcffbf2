import Serialization

/// Samples from a server of OpenAI's protocol, several requests at a time.
///
/// Every completion is one request: it is handed over when it comes, tried again by itself when the server stumbles, and seeded by
/// (seed, step, prompt, sample). A request that fails for good does not take the others with it: the call goes on, and its
/// error at the end counts what is missing. A server that is down, unknown or unwilling ends the call at once.
public final class RemoteRollouts: Rollouts {
    public struct Options: Sendable, Equatable {
        /// Requests under way at a time.
        public var concurrency = 8
        /// Asks for log-probs, which some servers refuse; nil: of those known to have them.
        public var logProbs: Bool?
        /// Requests in a row that may fail for good before the server counts as down.
        public var failuresInARow = 5
        public init() {}
    }

    public let model: RolloutModel
    public let givesTokens: Bool
    private let server: OpenAIServer
    private let served: OpenAIServer.ServedModel
    private let options: Options
    private let isCancelled: @Sendable () -> Bool

    /// Asks the server for its models: a wrong address, key or name shows here, before any prompt is sent.
    /// - Parameter asked: The model; nil: the only one.
    /// - Parameter isCancelled: Asked several times a second; true ends a call with `HTTPError.cancelled`.
    /// - Throws: `RemoteError`.
    public init(_ server: OpenAIServer, model asked: String?, options: Options = Options(), isCancelled: @escaping @Sendable () -> Bool = { false }) throws(RemoteError) {
        (self.server, self.options, self.isCancelled) = (server, options, isCancelled)
        served = try server.model(named: asked, isCancelled: isCancelled)
        model = RolloutModel(name: "\(server.name)#\(served.id)")
        givesTokens = ["vllm", "align"].contains(served.owner)
    }

    public func synchronize(_ policy: any Policy, version: Int) throws {
        throw RolloutError.cannotSynchronize(
            engine: model.name, reason: "servers of OpenAI's protocol take no weights", remedy: "Train off-policy on its completions, or sample on this machine.")
    }

    public func sample(_ request: RolloutRequest, _ take: (Rollout) throws -> Bool) async throws {
        var jobs: [Job] = []
        for prompt in request.prompts {
            for sample in prompt.samples { jobs.append(Job(prompt: prompt.index, sample: sample, request: try remoteRequest(prompt, sample, request))) }
        }
        guard !jobs.isEmpty else { return }
        let calls = ConcurrentCalls()
        defer { calls.stop() }
        let (server, served, isCancelled) = (server, served.id, isCancelled)
        var (failed, inARow) = (0, 0)
        var first: RemoteError?
        let answers = calls.results(count: jobs.count, limit: options.concurrency) { [jobs] index in
            Result { () throws(RemoteError) in try Self.ask(jobs[index].request, server, served) { calls.isStopped || isCancelled() } }
        }
        for await (job, result) in answers {
            calls.took()
            switch result {
            case let .success(answer):
                inARow = 0
                if try !take(rollout(jobs[job], answer, request)) { return }
            case let .failure(error):
                if error.isFatal { throw error }
                (failed, inARow, first) = (failed + 1, inARow + 1, first ?? error)
                if inARow >= options.failuresInARow, failed < jobs.count { throw RemoteError.incomplete(server: server.name, failed: failed, of: jobs.count, first: "\(error)") }
            }
        }
        try Task.checkCancellation()  // a cancelled task's stream ends early, as if all had come
        if let first { throw jobs.count == 1 ? first : .incomplete(server: server.name, failed: failed, of: jobs.count, first: "\(first)") }
    }

    // MARK: Requests

    private struct Job: Sendable {
        var prompt, sample: Int
        var request: RemoteRequest
    }

    private func remoteRequest(_ prompt: RolloutPrompt, _ sample: Int, _ request: RolloutRequest) throws(RolloutError) -> RemoteRequest {
        try RemoteRequest(
            prompt, sample: sample, sampling: request.sampling, step: request.step, model: served.id, givesTokens: givesTokens,
            logProbs: options.logProbs ?? givesTokens, engine: model.name)
    }

    private func rollout(_ job: Job, _ answer: RemoteAnswer, _ request: RolloutRequest) -> Rollout {
        Rollout(
            prompt: job.prompt, sample: job.sample, promptTokens: answer.promptTokens, tokens: answer.tokens, logProbs: answer.logProbs, text: answer.text,
            finishReason: answer.finishReason, model: model, sampling: request.sampling, step: request.step)
    }

    private static func ask(
        _ request: RemoteRequest, _ server: OpenAIServer, _ served: String, isCancelled: @escaping @Sendable () -> Bool
    ) throws(RemoteError) -> RemoteAnswer {
        let json = try server.post(request.path, request.body, request: request.number, isCancelled: isCancelled)
        let answer = try RemoteAnswer(json, isChat: request.isChat, server: server.name)
        if let said = answer.model, !isSame(said, as: served) { throw .wrongModel(server: server.name, asked: served, served: [said]) }
        return answer
    }

    /// "gpt-x" may answer as "gpt-x-2026-01-01", and some servers say the file that the model was read from; another model may not answer.
    private static func isSame(_ said: String, as served: String) -> Bool {
        said.isEmpty || said.hasPrefix(served) || served.hasPrefix(said) || said.hasSuffix(served) || served.hasSuffix(said)
            || said.hasPrefix("/") || said.lowercased().hasSuffix(".gguf")
    }
}
