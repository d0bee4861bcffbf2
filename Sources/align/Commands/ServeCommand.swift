import Checkpoints
import Foundation
import Models

/// Serves a model to clients of OpenAI's protocol.
struct ServeCommand: Command {
    static let usage = Usage(
        "serve", "Serve a model to clients of OpenAI's protocol.",
        [
            .optional("host", "ADDRESS", "where to listen; 0.0.0.0 is every network this machine is on", default: "127.0.0.1"),
            .optional("port", "N", "the port; 0 takes a free one", default: "8000"),
            .optional("served-model", "NAME", "what clients call the model", default: "the checkpoint's file name", aliases: ["served_model_name"]),
            .optional("seed", "N", "what draws of requests without a seed follow from", default: "0"),
            .optional("batch-size", "N", "completions that take a step together", default: "64", aliases: ["max_num_seqs"]),
        ] + ModelChoice.decodingFlags,
        example: "align serve --model SmolLM2 --port 8000",
        notes: """
            POST /v1/completions and /v1/chat/completions, with "stream", "n", "stop", "logprobs", "seed", "temperature", "top_p", "top_k", "min_p",
            penalties and "return_token_ids"; GET /v1/models and /health. A request joins those under way at their next token. What it says does
            not depend on which others there are: it follows from its own seed, and without one from --seed and its number.
            There is no key and no encryption: leave it on 127.0.0.1, or put a proxy before it. Ctrl-C or SIGTERM takes no more
            requests, gives those under way ten seconds, and ends with exit code 0.
            """)

    let host: String
    let port: Int
    let name: String?
    let seed: Int
    let together: Int
    let model: ModelChoice
    /// Seconds for requests under way at the end.
    static let grace = 10.0

    init(_ arguments: Arguments) throws(UsageError) {
        host = arguments.optionalText("host") ?? "127.0.0.1"
        port = try arguments.integer("port", in: 0...65_535, default: 8000, expected: "a port from 0 to 65535")
        name = arguments.optionalText("served-model")
        seed = try arguments.integer("seed", in: 0...Int.max, default: 0, expected: "a whole number from 0")
        together = try arguments.integer("batch-size", in: 1...4096, default: 64, expected: "a number of completions, such as 32")
        model = try ModelChoice(arguments)
    }

    func run() async throws {
        let checkpoint = try model.open()
        let tokenizer = try checkpoint.text.requiredTokenizer()
        // A port that cannot be had is known before the minutes that weights may take.
        let listener: ListeningSocket
        do throws(HTTPError) { listener = try ListeningSocket(host: host, port: port) } catch {
            throw UsageError.badValue(command: Self.usage.name, flag: "port", found: "\(port)", expected: "an address that is free and this machine's own; \(error)")
        }
        let decoder = try model.decoder(checkpoint)
        let served = name ?? Self.defaultName(checkpoint.path)
        let queue = ServeQueue()
        let api = ServeAPI(
            .init(
                name: served, text: checkpoint.text, tokenizer: tokenizer, config: checkpoint.config, stopIDs: checkpoint.stopIDs,
                cachePrecision: decoder.cachePrecision, seed: UInt64(seed)),
            queue: queue)
        let server = HTTPServer(listener) { api.handle($0) }
        Interrupt.install(quietly: true)
        let shown = host.contains(":") ? "[\(host)]" : host
        Output.note("serving \(served) at http://\(shown):\(server.port)/v1 (Ctrl-C ends it)")
        if !["127.0.0.1", "localhost", "::1"].contains(host) { Output.warn("\(host): whoever reaches this address may use the model; there is no key") }

        let ended = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            server.run { Interrupt.isRequested }
            queue.close()
            // Requests under way have some time; then they are cut off, and say so.
            if !server.drain(seconds: Self.grace) { queue.drop() }
            _ = server.drain(seconds: 2)
            ended.signal()
        }
        queue.run(Generator(decoder: decoder, sequences: together), tokenizer: tokenizer)
        Self.wait(ended)
        Output.note("stopped")
    }

    private static func wait(_ semaphore: DispatchSemaphore) { semaphore.wait() }

    /// The last part of the path, without the ending of a weights file.
    static func defaultName(_ path: String) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        for ending in [".gguf", ".safetensors"] where name.hasSuffix(ending) { return String(name.dropLast(ending.count)) }
        return name
    }
}
