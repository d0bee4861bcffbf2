import Checkpoints
import Models

/// From the file to a model that can work, the file in the page cache.
struct LoadPart: BenchPart {
    static let name = "load"
    static let summary = "time from the file to a model ready to train, and to one ready to decode, page cache warm"

    func run(_ context: BenchContext) throws {
        let checkpoint = try context.model()
        let bytes = checkpoint.weightFiles.reduce(0) { $0 + $1.bytes }
        func report(_ name: String, _ body: () throws -> Void) throws {
            let seconds = try Stopwatch.seconds(rounds: context.rounds, body)
            try context.report(Figure("ready to \(name)", seconds, "s", note: "\(byteCount(bytes)) on disk"))
            let limit = context.ceilings.reading(bytes: bytes)?.limiting()
            try context.report(Figure("ready to \(name), of the file", seconds.map { 1e-9 * Double(bytes) / $0 }, "GB/s", limit: limit))
        }
        let path = checkpoint.path
        let opening = try Stopwatch.seconds(rounds: context.rounds) { _ = try Checkpoint.open(path) }
        try context.report(Figure("checkpoint and tokenizer open", opening, "s"))
        try report("train") { _ = try Transformer(try Checkpoint.open(path), compute: context.compute, precision: context.precision) }
        try report("decode") {
            let checkpoint = try Checkpoint.open(path)
            _ = checkpoint.tokenizer
            _ = try checkpoint.isQuantized
                ? Decoder(stored: checkpoint, compute: context.compute)
                : Decoder(Transformer(checkpoint, compute: context.compute, precision: context.precision, trains: false))
        }
    }
}
