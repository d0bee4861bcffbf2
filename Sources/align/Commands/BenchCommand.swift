import Checkpoints
import Foundation
import Models
import Serialization
import Tensors

/// Measures what this machine can do first, then each part of the engine's work as a share of it.
struct BenchCommand: Command {
    static let usage = Usage(
        "bench", "Measure this machine, and training, decoding, loading and tokenizing against it.",
        ModelChoice.flags + [
            .optional("rounds", "N", "measurements of each figure; the median counts, the spread is shown", default: "5; 1 for growth"),
            .optional("pairs", "N", "preference pairs of a DPO step", default: "4"),
            .optional("prompt-tokens", "N", "tokens of a pair's prompt", default: "200"),
            .optional("completion-tokens", "N", "tokens of either completion", default: "150"),
            .switched("profile", "with train: time by phase of a step"),
            .optional("plot", "FILE.svg", "with growth: write the curves here"),
            .optional("compare", "OLD.json", "print each figure beside that of an earlier --json output, with the ratio"),
            .optional("measured", "NEW.json", "with --compare: take the figures from this --json output and measure nothing"),
            .switched("json", "print one JSON object"),
        ],
        positionals: [Positional(placeholder: "PART", help: "what to measure: " + BenchParts.names.joined(separator: ", ") + "; none: all but losses and growth", count: .any)],
        example: "align bench train decode --rounds 7 --compare before.json",
        notes: """
            Parts:
            \(Help.table(BenchParts.all.map { ($0.name, $0.summary) }).dropLast())

            Every run measures its own ceilings first: the fastest matrix product among those of the model's training
            step (4 rows of 512 tokens; ours and OpenBLAS's), by precision, and reading memory and cache on all threads, the
            best round of each; its last line says how far the machine has moved from that. Later figures, medians, say which
            share of their ceiling they reach. Machines differ and are shared: compare shares, or the normalised ratio of --compare.
            Training steps run on random tokens: forward, backward, gradient norm, AdamW, packing. "tokens/s" counts the
            tokens that an implementation without shared prompts would process; arithmetic counts those computed, three
            times the forward's operations. With losses every token that a step computes counts once, one that it only scores a third. Decoding counts the tokens after each sequence's first.
            """)

    let choice: ModelChoice
    let parts: [any BenchPart.Type]
    let settings: BenchSettings
    let old: String?
    let measured: String?
    let isJSON: Bool

    init(_ arguments: Arguments) throws(UsageError) {
        choice = try ModelChoice(arguments)
        var wanted = BenchSettings()
        wanted.rounds = try arguments.optionalInteger("rounds", in: 1...1000, expected: "a number of measurements, such as 5")
        wanted.pairs = try arguments.integer("pairs", in: 1...4096, default: 4, expected: "a number of pairs, such as 4")
        wanted.promptTokens = try arguments.integer("prompt-tokens", in: 1...100_000, default: 200, expected: "a number of tokens, such as 200")
        wanted.completionTokens = try arguments.integer("completion-tokens", in: 1...100_000, default: 150, expected: "a number of tokens, such as 150")
        wanted.profiles = arguments.isOn("profile")
        wanted.plot = arguments.optionalText("plot")
        wanted.named = arguments.positionals
        if let unknown = wanted.named.first(where: { !BenchParts.names.contains($0) }) {
            throw .badArgument(
                command: "bench", placeholder: "PART", found: unknown, expected: "one of " + BenchParts.names.joined(separator: ", "),
                nearest: nearest(to: unknown, in: BenchParts.names))
        }
        let chosen = BenchParts.all.filter { [wanted] in wanted.named.isEmpty ? $0.isDefault : wanted.named.contains($0.name) }
        parts = chosen
        old = arguments.optionalText("compare")
        measured = arguments.optionalText("measured")
        isJSON = arguments.isOn("json")
        func runs(_ part: any BenchPart.Type) -> Bool { chosen.contains { $0.name == part.name } }
        if wanted.profiles, !runs(TrainPart.self) {
            throw .conflict(command: "bench", flags: ["profile"], reason: "it needs the part train, found " + wanted.named.joined(separator: ", "))
        }
        if wanted.plot != nil, !runs(GrowthPart.self) {
            throw .conflict(command: "bench", flags: ["plot"], reason: "it draws the part growth; name that part")
        }
        if measured != nil {
            if old == nil { throw .conflict(command: "bench", flags: ["measured"], reason: "it is compared with another file; give --compare OLD.json") }
            if let part = wanted.named.first {
                throw .conflict(command: "bench", flags: ["measured"], reason: "nothing is measured then, found the part \(part)")
            }
        }
        settings = wanted
    }

    func run() async throws {
        // Before the work: a bad file must not cost minutes.
        let earlier = try old.map { path throws(BenchFileError) in try BenchReport(file: path) }
        var report: BenchReport
        if let measured { report = try BenchReport(file: measured) } else { report = try measure() }
        if let earlier {
            let comparison = Comparison(old: earlier, new: report)
            report.extra["comparison"] = comparison.json
            if !isJSON { for line in comparison.lines { try Output.line(line) } }
        }
        if isJSON { try Output.line(report.json.text(pretty: true)) }
    }

    private func measure() throws -> BenchReport {
        let compute = try choice.compute()
        let precision = choice.precision(on: compute)
        let checkpoint = parts.contains { $0.needsModel } ? try choice.open() : nil
        let config = try checkpoint?.config ?? GrowthModel.base.config()
        let setting = JSONObject([
            ("version", .string(Align.version)), ("processor", .string(Machine.processor)), ("threads", .integer(compute.threads)),
            ("kernels", .string(compute.identity(precision))), ("precision", .string(precision.rawValue)),
            ("openblas", .string(OpenBLAS.core)), ("parameters", .integer(config.parameterCount)),
        ])
        let context = BenchContext(
            settings: settings, compute: compute, precision: precision, config: config, checkpoint: checkpoint,
            say: { if !isJSON { try Output.line($0) } }, tell: { if !isJSON { try Output.line($0.line) } })
        let shape = "\(checkpoint == nil ? "random model" : "model") of \(grouped(config.parameterCount)) parameters"
        try context.say("\(Machine.processor); \(compute.threads) threads, \(compute.identity(precision)) kernels, \(precision.rawValue); \(shape)")
        try context.say("machine")
        try Ceilings.measure(context)
        for part in parts {
            context.part = part.name
            try context.say(part.name)
            try part.init().run(context)
        }
        try Ceilings.measureDrift(context)
        return BenchReport(setting: setting, figures: context.figures, extra: context.extra)
    }
}
