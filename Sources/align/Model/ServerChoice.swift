import Models

/// The server that samples in place of a model on this machine.
struct ServerChoice {
    static let flags: [Flag] = [
        Flag.optional("server", "URL", "sample from this server of OpenAI's protocol, not on this machine", aliases: ["base_url"]),
        .optional("served-model", "NAME", "the server's model", default: "its only one", aliases: ["served_model_name"]),
        .optional("concurrency", "N", "requests under way at a time", default: "8"),
        .optional("timeout", "SECONDS", "for one answer", default: "600"),
        .optional("retries", "N", "how often a request is repeated while the server is busy or away", default: "5"),
        .switched("logprobs", "ask the server for log-probs too; those known to have them are asked anyway"),
    ].map { $0.under("Server") }

    let address: String
    let model: String?
    let limits: HTTPClient.Limits
    let retry: RetryPolicy
    let options: RemoteRollouts.Options

    /// nil without `--server`, where the other flags have no meaning.
    init?(_ arguments: Arguments) throws(UsageError) {
        let command = arguments.usage.name
        let own = Self.flags.map(\.name).filter { $0 != "server" && arguments.optionalText($0) != nil }
        guard let address = arguments.optionalText("server") else {
            if let flag = own.first { throw .conflict(command: command, flags: [flag], reason: "it belongs to --server URL") }
            return nil
        }
        let local = ["model", "precision", "threads", "batch-size", "ignore-eos"].filter { arguments.optionalText($0) != nil }
        guard local.isEmpty else { throw .conflict(command: command, flags: ["server"] + local, reason: "the server has its own model and settings") }
        do throws(HTTPError) { _ = try HTTPURL(address) } catch { throw .badValue(command: command, flag: "server", found: "that address", expected: "\(error)") }
        self.address = address
        model = arguments.optionalText("served-model")
        var (limits, retry, options) = (HTTPClient.Limits(), RetryPolicy(), RemoteRollouts.Options())
        limits.answerSeconds = try arguments.number("timeout", in: 0.001...86_400, default: limits.answerSeconds, expected: "seconds above 0, such as 600")
        retry.attempts = 1 + (try arguments.integer("retries", in: 0...1000, default: retry.attempts - 1, expected: "a number, such as 5"))
        options.concurrency = try arguments.integer("concurrency", in: 1...1024, default: options.concurrency, expected: "a number of requests, such as 8")
        if arguments.isOn("logprobs") { options.logProbs = true }
        (self.limits, self.retry, self.options) = (limits, retry, options)
    }

    /// Asks the server for its models.
    /// - Throws: `RemoteError`.
    func engine() throws -> RemoteRollouts {
        let server = try OpenAIServer(address: address, limits: limits, retry: retry)
        return try RemoteRollouts(server, model: model, options: options) { Interrupt.isRequested }
    }
}

/// `--shard I/N`: every Nth prompt, from the Ith on.
struct Shard: Equatable {
    let index, count: Int

    init(_ arguments: Arguments) throws(UsageError) {
        let text = arguments.optionalText("shard") ?? "1/1"
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let index = parts[0], let count = parts[1], count > 0, (1...count).contains(index) else {
            throw .badValue(command: arguments.usage.name, flag: "shard", found: text, expected: "I/N with I from 1 to N, such as 2/4")
        }
        (self.index, self.count) = (index, count)
    }

    func has(_ prompt: Int) -> Bool { prompt % count == index - 1 }
}
