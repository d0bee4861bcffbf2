import Checkpoints
import Foundation
import Models
import Serialization
import Tensors
import Tokenizers

/// The model a command works with, and how it computes.
struct ModelChoice {
    enum Arithmetic: String, CaseIterable { case auto, fp32, bf16 }

    static let modelFlag = Flag.optional(
        "model", "PATH", "checkpoint: a Hugging Face folder, a .safetensors or a .gguf file", default: "the cached SmolLM2-135M-Instruct",
        aliases: ["model_name_or_path"])
    static let threadsFlag = threads(Flag.optional("threads", "N", "threads to compute with", default: "one a processor"))
    static let flags: [Flag] = [
        modelFlag, .optional("precision", "auto|fp32|bf16", "arithmetic of matrix products", default: "auto: bf16 where the processor has it"),
        threadsFlag,
    ]

    private static func threads(_ flag: Flag) -> Flag {
        var flag = flag
        flag.expected = "a number of threads, such as 2"
        return flag
    }

    /// The flags of commands that only decode.
    static let decodingFlags: [Flag] = [
        modelFlag,
        .optional(
            "precision", "auto|fp32|bf16", "arithmetic of matrix products",
            default: "auto: as stored where a GGUF file is quantized (fp32 products straight from its blocks), else bf16 where the processor has it"),
        .optional(
            "rollout-weights", "policy|q8_0", "what steps multiply with: the model's own weights, or rounded to Q8_0 for speed where few completions run", default: "policy"),
        threadsFlag,
    ]

    let path: String?
    let arithmetic: Arithmetic
    let threads: Int?
    let rolloutWeights: RolloutWeights

    init(_ arguments: Arguments) throws(UsageError) {
        path = arguments.optionalText("model")
        arithmetic = arguments.usage.flag(named: "precision") == nil ? .auto : try arguments.choice("precision", default: .auto)
        rolloutWeights = arguments.usage.flag(named: "rollout-weights") == nil ? .policy : try arguments.choice("rollout-weights", default: .policy)
        let takesThreads = arguments.usage.flag(named: "threads") != nil
        threads = takesThreads ? try arguments.optionalInteger("threads", in: 1...1024, expected: Self.threadsFlag.expected) : nil
    }

    /// The path of `--model`, a cached model of that name, or the default model's; those two are named, as nobody asked for that very file.
    func resolve() throws(CommandError) -> String { try Self.resolve(path) }

    static func resolve(_ path: String?) throws(CommandError) -> String {
        if let path {
            if fileExists(path) { return path }
            if let cached = Checkpoint.cachedModel(named: path) {
                Output.noteOnce("model: \(cached)")
                return cached
            }
            throw .missingFile(path: path, what: "a checkpoint (a Hugging Face folder, a .safetensors or a .gguf file, or the name of a cached model)")
        }
        guard let path = Checkpoint.defaultModel() else {
            throw .noModel(searched: (Checkpoint.cacheFolder ?? "~/.cache/align") + "/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        }
        Output.noteOnce("model: \(path) (the default; --model PATH takes another)")
        return path
    }

    func compute() throws(ComputeError) -> Compute { try Compute(threads: threads) }

    func precision(on compute: Compute) -> Precision {
        switch arithmetic {
        case .auto: compute.defaultPrecision
        case .fp32: .fp32
        case .bf16: .bf16
        }
    }

    /// Opens the checkpoint of a language model; its weights are read by `load`.
    /// - Throws: `CommandError.badData` for a reward model.
    func open() throws -> Checkpoint { try Self.languageModel(Checkpoint.open(try resolve())) }

    static func languageModel(_ checkpoint: Checkpoint) throws -> Checkpoint {
        guard !checkpoint.config.scoresSequences else {
            throw CommandError.badData(
                path: checkpoint.path,
                reason: "found a reward model (\(checkpoint.config.architecture)), expected one that predicts tokens; name that with --model")
        }
        return checkpoint
    }

    /// Reads the weights for decoding: a quantized file's as they are stored, unless a precision or rounding is asked for.
    func decoder(_ checkpoint: Checkpoint) throws -> Decoder {
        if arithmetic == .auto, rolloutWeights == .policy, checkpoint.isQuantized { return try Decoder(stored: checkpoint, compute: try compute()) }
        return try Decoder(try load(checkpoint).transformer, steps: rolloutWeights)
    }

    /// Reads the weights.
    func load(_ checkpoint: Checkpoint) throws -> LoadedModel {
        let compute = try compute()
        let transformer = try checkpoint.transformer(compute: compute, precision: precision(on: compute))
        return LoadedModel(checkpoint: checkpoint, transformer: transformer)
    }
}

/// A model in memory.
struct LoadedModel {
    let checkpoint: Checkpoint
    let transformer: Transformer

    var compute: Compute { transformer.compute }

    /// Tokens that end a completion.
    var stopIDs: [Int32] { checkpoint.stopIDs }
}

extension Checkpoint {
    /// `bos_token`, `eos_token`, … as templates name them.
    var templateVariables: [String: JSON] { tokenizer?.templateVariables ?? [:] }

    /// Tokens that end a completion, by config, generation config and tokenizer.
    var stopIDs: [Int32] {
        var ids = Set(config.eosIDs.map { Int32($0) })
        if let stated = generationConfig?["eos_token_id"] {
            for id in stated.array ?? [stated] { if let id = id.int.flatMap({ Int32(exactly: $0) }) { ids.insert(id) } }
        }
        if let id = tokenizer?.eosID { ids.insert(id) }
        return ids.sorted()
    }
}
