import Checkpoints
import Foundation
import Models

/// What the flags say about how tokens are drawn, and when a completion ends.
struct SamplingFlags {
    private let given: Sampling
    /// The model's own end tokens end nothing.
    private let ignoresEnd: Bool

    /// - Parameter preset: Holds where a flag is not given.
    static func flags(_ preset: Sampling, takesSamples: Bool = false) -> [Flag] {
        let samples = [
            Flag.optional(
                "n", "N", "completions of each prompt", default: "\(preset.samplesPerPrompt)",
                aliases: ["num_generations", "num_return_sequences", "samples"]),
        ]
        return [
            .optional("max-new-tokens", "N", "longest completion", default: "\(preset.maxNewTokens)", aliases: ["max_tokens", "max_completion_length"]),
            .optional("min-new-tokens", "N", "no completion ends before it has N tokens", default: "\(preset.minNewTokens)", aliases: ["min_tokens"]),
            .optional("temperature", "T", "divides the logits; 0 takes the most probable token", default: "\(preset.temperature)"),
            .optional("top-p", "P", "draw from the fewest tokens that have this mass; 1: all", default: "\(preset.topP)"),
            .optional("top-k", "K", "draw from the K most probable tokens; 0 or -1: all", default: "\(preset.topK)"),
            .optional("min-p", "P", "draw from tokens at least P times as probable as the first; 0: all", default: "\(preset.minP)"),
            .optional("typical-p", "P", "draw from the tokens of the most typical surprise that have this mass; 1: all", default: "\(preset.typicalP)", aliases: ["typical"]),
            .optional("epsilon-cutoff", "P", "draw from tokens of at least this probability; 0: all", default: "\(preset.epsilonCutoff)"),
            .optional("eta-cutoff", "P", "the same, with a bound that falls with the entropy; 0: all", default: "\(preset.etaCutoff)"),
            .optional("repetition-penalty", "R", "divides positive logits of tokens seen, multiplies negative ones; 1: none", default: "\(preset.repetitionPenalty)"),
            .optional("presence-penalty", "X", "taken off the logits of tokens that the completion has", default: "\(preset.presencePenalty)"),
            .optional("frequency-penalty", "X", "taken off once for each time that it has them", default: "\(preset.frequencyPenalty)"),
            .optional("no-repeat-ngram", "N", "no run of N tokens appears twice; 0: no such rule", default: "\(preset.noRepeatNgram)", aliases: ["no_repeat_ngram_size"]),
            .list("stop", "TEXT", "end a completion before this text; may be given several times", aliases: ["stop_strings"]),
            .list("stop-token", "ID", "end a completion with this token too; may be given several times", aliases: ["stop_token_ids"]),
            .switched("ignore-eos", "the model's own end tokens end nothing"),
        ] + (takesSamples ? samples : []) + [.optional("seed", "N", "what draws follow from", default: "\(preset.seed)")]
    }

    init(_ arguments: Arguments, preset: Sampling) throws(UsageError) {
        var sampling = preset
        let count = "a number of tokens, such as 128"
        sampling.maxNewTokens = try arguments.integer("max-new-tokens", in: 1...10_000_000, default: preset.maxNewTokens, expected: count)
        sampling.minNewTokens = try arguments.integer("min-new-tokens", in: 0...10_000_000, default: preset.minNewTokens, expected: count)
        sampling.temperature = try arguments.number("temperature", in: 0...100, default: preset.temperature, expected: "0, or 0.001 to 100")
        if sampling.temperature > 0, sampling.temperature < 1e-3 {
            throw .badValue(command: arguments.usage.name, flag: "temperature", found: "\(sampling.temperature)", expected: "0, or 0.001 to 100")
        }
        sampling.topP = try arguments.number("top-p", in: 0...1, default: preset.topP, expected: "a share from 0 to 1, such as 0.9")
        sampling.topK = max(0, try arguments.integer("top-k", in: -1...Int(Int32.max), default: preset.topK, expected: "a number of tokens, such as 50; 0 for all"))
        sampling.minP = try arguments.number("min-p", in: 0...1, default: preset.minP, expected: "a share from 0 to 1, such as 0.05")
        sampling.typicalP = try arguments.number("typical-p", in: 0...1, default: preset.typicalP, expected: "a share from 0 to 1, such as 0.9")
        sampling.epsilonCutoff = try arguments.number("epsilon-cutoff", in: 0...1, default: preset.epsilonCutoff, expected: "a probability, such as 0.0003")
        sampling.etaCutoff = try arguments.number("eta-cutoff", in: 0...1, default: preset.etaCutoff, expected: "a probability, such as 0.0003")
        sampling.repetitionPenalty = try arguments.number("repetition-penalty", in: 0.01...100, default: preset.repetitionPenalty, expected: "0.01 to 100, such as 1.1")
        sampling.presencePenalty = try arguments.number("presence-penalty", in: -100...100, default: preset.presencePenalty, expected: "-100 to 100, such as 0.5")
        sampling.frequencyPenalty = try arguments.number("frequency-penalty", in: -100...100, default: preset.frequencyPenalty, expected: "-100 to 100, such as 0.5")
        sampling.noRepeatNgram = try arguments.integer("no-repeat-ngram", in: 0...1_000_000, default: preset.noRepeatNgram, expected: "a number of tokens, such as 3")
        let seed = try arguments.integer("seed", in: 0...Int.max, default: Int(truncatingIfNeeded: preset.seed), expected: "a whole number from 0")
        sampling.seed = UInt64(seed)
        if arguments.usage.flag(named: "n") != nil {
            sampling.samplesPerPrompt = try arguments.integer("n", in: 1...1 << 20, default: preset.samplesPerPrompt, expected: "a number of completions, such as 4")
        }
        sampling.stopStrings = arguments.list("stop")
        if sampling.stopStrings.contains("") {
            throw .badValue(command: arguments.usage.name, flag: "stop", found: "\"\"", expected: "text that is not empty")
        }
        for text in arguments.list("stop-token") {
            guard let id = Int32(text), id >= 0 else {
                throw .badValue(command: arguments.usage.name, flag: "stop-token", found: text, expected: "a token's id, such as 2")
            }
            sampling.stopIDs.append(id)
        }
        guard sampling.minNewTokens <= sampling.maxNewTokens else {
            throw .badValue(
                command: arguments.usage.name, flag: "min-new-tokens", found: "\(sampling.minNewTokens)", expected: "at most --max-new-tokens \(sampling.maxNewTokens)")
        }
        (given, ignoresEnd) = (sampling, arguments.isOn("ignore-eos"))
    }

    /// As given, for checks before a model is there.
    var seed: UInt64 { given.seed }

    /// As given, for an engine that knows its model's end tokens itself.
    var asGiven: Sampling { given }

    /// With the tokens that end a completion of this model.
    func sampling(for checkpoint: Checkpoint) -> Sampling {
        var sampling = given
        if !ignoresEnd { sampling.stopIDs = Array(Set(sampling.stopIDs + checkpoint.stopIDs)).sorted() }
        return sampling
    }
}
