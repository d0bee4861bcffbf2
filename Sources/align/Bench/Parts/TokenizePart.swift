import Tensors
import Tokenizers

/// Text to ids and back.
struct TokenizePart: BenchPart {
    static let name = "tokenize"
    static let summary = "encoding on one thread and on all, and decoding, MB/s over made-up English"

    func run(_ context: BenchContext) throws {
        let checkpoint = try context.model()
        guard let tokenizer = checkpoint.tokenizer else {
            if context.isNamed(Self.self) { _ = try checkpoint.text.requiredTokenizer() }
            return try context.say("  the model has no tokenizer")
        }
        let texts = BenchText.documents(bytes: 1 << 20)
        let megabytes = 1e-6 * Double(texts.reduce(0) { $0 + $1.utf8.count })
        let ids = texts.map { tokenizer.encode($0) }
        let tokens = ids.reduce(0) { $0 + $1.count }
        let note = formatted(1e6 * megabytes / Double(tokens), "%.2f bytes a token")
        let single = Stopwatch.seconds(rounds: context.rounds) { for text in texts { _ = tokenizer.encode(text) } }
        try context.report(Figure("encoding, 1 thread", single.map { megabytes / $0 }, "MB/s", note: note))
        if context.compute.threads > 1 {
            let all = Stopwatch.seconds(rounds: context.rounds) { context.compute.parallel(texts.count) { _ = tokenizer.encode(texts[$0]) } }
            let gain = formatted(single.sorted()[single.count / 2] / all.sorted()[all.count / 2], "%.2f times one thread")
            try context.report(Figure("encoding, \(context.compute.threads) threads", all.map { megabytes / $0 }, "MB/s", note: gain))
        }
        let decoding = Stopwatch.seconds(rounds: context.rounds) { for ids in ids { _ = tokenizer.decode(ids) } }
        try context.report(Figure("decoding, 1 thread", decoding.map { megabytes / $0 }, "MB/s"))
    }
}
