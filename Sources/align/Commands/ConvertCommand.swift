import Checkpoints
import Foundation
import Models
import Serialization
import Tensors
import Training

/// Turns checkpoints and adapters into other files.
struct ConvertCommand: Command {
    static let usage = Usage(
        "convert", "Turn a checkpoint into GGUF or back, or an adapter into one that llama.cpp applies to the untouched base.",
        [
            .required("out", "PATH", "what to write: FILE.gguf, or a folder"),
            .optional("type", "TYPE", "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1; adapters and folders take the first three", default: "F16 for a model, F32 for an adapter or a folder"),
            .optional("base", "PATH", "the base of an adapter", default: "as the adapter names it"),
            .switched("merge", "of an adapter: write the merged model"),
            .switched("check", "say how much of the preference margin of --pairs is left in what was written"),
            .list("pairs", "FILE", "preference pairs for --check"),
            .optional("ref-model", "PATH", "margins are measured over this model's", default: "an adapter's base; else plain log-probs"),
            .optional("max-length", "N", "tokens of prompt and completion", default: "1024"), ModelChoice.threadsFlag,
        ],
        positionals: [Positional(placeholder: "MODEL", help: "a Hugging Face folder, a .gguf file, or a PEFT adapter", count: .one)],
        example: "align convert runs/dpo-1/model --out polite.gguf --check --pairs held-out.jsonl",
        notes: """
            A checkpoint becomes a GGUF file with its tokenizer and template, or a GGUF file a folder. An adapter becomes a GGUF
            adapter (llama-cli --lora) unless --merge is given; a GGUF adapter becomes a PEFT folder, with --base.
            """)

    let input: String, out: String
    let base: String?, reference: String?
    let type: ElementType?
    let merges: Bool
    let pairs: [String]
    let maxLength: Int
    let threads: Int?

    init(_ arguments: Arguments) throws(UsageError) {
        let command = Self.usage.name
        input = arguments.positionals[0]
        out = try arguments.text("out")
        base = arguments.optionalText("base")
        reference = arguments.optionalText("ref-model")
        merges = arguments.isOn("merge")
        let given = arguments.optionalText("type")
        type = given.flatMap { text in Checkpoint.ggufTypes.first { $0.rawValue == text.uppercased() } }
        if let given, type == nil {
            throw .badValue(command: command, flag: "type", found: given, expected: "one of \(Checkpoint.ggufTypes.map(\.rawValue).joined(separator: ", "))")
        }
        pairs = arguments.list("pairs")
        maxLength = try arguments.integer("max-length", in: 2...16_777_216, default: 1024, expected: "a number of tokens from 2, such as 1024")
        threads = try arguments.optionalInteger("threads", in: 1...1024, expected: ModelChoice.threadsFlag.expected)
        let checks = arguments.isOn("check")
        if checks != !pairs.isEmpty { throw .conflict(command: command, flags: ["check", "pairs"], reason: "--check measures on --pairs FILE, and these are for nothing else") }
        if reference != nil, !checks { throw .conflict(command: command, flags: ["ref-model"], reason: "it is for --check") }
    }

    private var writesGGUF: Bool { out.hasSuffix(".gguf") }

    func run() async throws {
        guard fileExists(input) else { throw CommandError.missingFile(path: input, what: "a checkpoint or an adapter") }
        guard !fileExists(out) else { throw CommandError.cannotWrite(path: out, reason: "it is there already; choose another name") }
        let converted = try convert()
        try Output.write("\(out): \(converted.what)\n")
        guard !pairs.isEmpty else { return }
        try check(converted)
    }

    // MARK: Conversions

    /// What was written, and how both sides are opened again.
    private struct Converted {
        var what: String
        var before: Checkpoint
        var after: () throws -> Checkpoint
    }

    private func convert() throws -> Converted {
        if AdapterFile.exists(at: input) {
            let adapted = try AdapterChoice.open(input, base: base)
            return merges || !writesGGUF ? try convert(adapted) : try export(adapted)
        }
        if merges { throw UsageError.conflict(command: Self.usage.name, flags: ["merge"], reason: "\(input) is no adapter") }
        if input.hasSuffix(".gguf"), let file = try? GGUFFile(path: input), AdapterFile.isGGUF(file) {
            guard let base else { throw UsageError.missingFlag(command: Self.usage.name, form: "--base PATH", help: "the model that the adapter belongs to") }
            let model = try Checkpoint.open(base)
            try AdapterFile.saveFolder(file, base: model, dtype: try weightType(), to: out)
            let adapted = try Checkpoint.open(out)
            return Converted(what: "PEFT adapter, \(adapted.adapter?.modules.count ?? 0) modules", before: adapted) { adapted }
        }
        if base != nil { throw UsageError.conflict(command: Self.usage.name, flags: ["base"], reason: "\(input) is no adapter") }
        return try convert(Checkpoint.open(input))
    }

    private func convert(_ checkpoint: Checkpoint) throws -> Converted {
        if writesGGUF {
            let type = type ?? .f16
            try checkpoint.saveGGUF(type, to: out)
            return Converted(what: "GGUF, \(type.rawValue)", before: checkpoint) { [out] in try Checkpoint.open(out) }
        }
        let type = try weightType()
        try CheckpointWriter.save(CheckpointWriter.Model(checkpoint), tensors: checkpoint.tensorSources, dtype: type, to: out)
        return Converted(what: "Hugging Face folder, \(type.rawValue)", before: checkpoint) { [out] in try Checkpoint.open(out) }
    }

    private func export(_ adapted: Checkpoint) throws -> Converted {
        guard let adapter = adapted.adapter, let base = adapted.base else { preconditionFailure("\(input) is no adapter") }
        let type = try weightType()
        try adapter.saveGGUF(base: base.config, type: ElementType(rawValue: type.rawValue) ?? .f32, to: out)
        return Converted(what: "GGUF adapter, \(adapter.modules.count) modules, \(type.rawValue); for llama.cpp's --lora on \(base.path)", before: adapted) { [out] in
            // As it was written: read back into a folder that nobody keeps.
            let folder = NSTemporaryDirectory() + "align-adapter-" + UUID().uuidString
            defer { try? FileManager.default.removeItem(atPath: folder) }
            try AdapterFile.saveFolder(GGUFFile(path: out), base: base, dtype: .f32, to: folder)
            return try Checkpoint(base: base, adapter: AdapterFile(folder: folder))
        }
    }

    /// Types that folders and adapters take.
    private func weightType() throws -> WeightType {
        guard let type else { return .f32 }
        guard let weight = WeightType(rawValue: type.rawValue) else {
            throw UsageError.badValue(command: Self.usage.name, flag: "type", found: type.rawValue, expected: "F32, F16 or BF16 for an adapter or a folder")
        }
        return weight
    }

    // MARK: --check

    /// Below this share of the margin an export has lost what training gave.
    private static let leastShare = 0.9

    private func check(_ converted: Converted) throws {
        let compute = try Compute(threads: threads)
        var settings = TrainingSettings(learningRate: 0)
        settings.maxLength = maxLength
        let before = converted.before
        let source = ModelSource(before, compute: compute, precision: .fp32, recompute: false)
        let rows = try RowLoading.pairs(pairs, source: source, settings: settings).rows.map {
            CompletionScorer.Row(prompt: $0.prompt, completions: [($0.chosen, nil), ($0.rejected, nil)])
        }
        guard !rows.isEmpty else { throw CommandError.badData(path: pairs.joined(separator: ", "), reason: "no rows to measure margins on") }
        // One model in memory at a time.
        func margins(_ checkpoint: Checkpoint) throws -> [Double] {
            var margins: [Double] = []
            let model = try checkpoint.transformer(compute: compute, precision: .fp32)
            try CompletionScorer(policy: model).score(rows) { _, scores in
                margins.append(scores[0].logProb - scores[1].logProb)
                return !Interrupt.isRequested
            }
            guard margins.count == rows.count else { throw CommandError.stopped(done: margins.count, of: rows.count, what: "pairs") }
            return margins
        }
        Interrupt.install()
        let reference = try reference.map { try Checkpoint.open($0) } ?? before.base
        let floor = try reference.map { try margins($0) } ?? [Double](repeating: 0, count: rows.count)
        func mean(_ values: [Double]) -> Double { zip(values, floor).reduce(0) { $0 + $1.0 - $1.1 } / Double(rows.count) }
        let (old, new) = (mean(try margins(before)), mean(try margins(try converted.after())))
        let over = reference.map { " over \($0.path)" } ?? ""
        try Output.write("margin of \(rows.count) pairs\(over): \(formatted(old, "%.4f")) before, \(formatted(new, "%.4f")) after\n")
        guard old > 0 else { return Output.warn("the model does not prefer the chosen side of these pairs: there is no margin that could survive") }
        try Output.write("share of the margin that survives: \(formatted(100 * new / old, "%.1f")) %\n")
        if new < Self.leastShare * old { Output.warn("less than \(Int(100 * Self.leastShare)) % of the margin is left; choose a finer --type, or export the adapter") }
    }
}
