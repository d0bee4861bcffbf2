import Models

/// The flags that say how tokens are drawn.
enum SamplingFlags {
    /// - Parameter preset: Holds where a flag is not given.
    static func flags(_ preset: Sampling) -> [Flag] {
        [
            .optional("max-new-tokens", "N", "longest completion", default: "\(preset.maxNewTokens)", aliases: ["max_tokens"]),
            .optional("temperature", "T", "divides the logits; 0 takes the most probable token", default: "\(preset.temperature)"),
            .optional("top-p", "P", "draw from the fewest tokens that have this mass; 1: all", default: "\(preset.topP)"),
            .optional("top-k", "K", "draw from the K most probable tokens; 0: all", default: "\(preset.topK)"),
            .optional("min-p", "P", "draw from tokens at least P times as probable as the first; 0: all", default: "\(preset.minP)"),
            .optional("seed", "N", "what draws follow from", default: "\(preset.seed)"),
        ]
    }

    static func sampling(_ arguments: Arguments, preset: Sampling) throws(UsageError) -> Sampling {
        var sampling = preset
        sampling.maxNewTokens = try arguments.integer(
            "max-new-tokens", in: 1...10_000_000, default: preset.maxNewTokens, expected: "a number of tokens, such as 128")
        sampling.temperature = try arguments.number("temperature", in: 0...100, default: preset.temperature, expected: "0, or 0.001 to 100")
        if sampling.temperature > 0, sampling.temperature < 1e-3 {
            throw .badValue(command: arguments.usage.name, flag: "temperature", found: "\(sampling.temperature)", expected: "0, or 0.001 to 100")
        }
        sampling.topP = try arguments.number("top-p", in: 0...1, default: preset.topP, expected: "a share from 0 to 1, such as 0.9")
        sampling.topK = try arguments.integer("top-k", in: 0...Int(Int32.max), default: preset.topK, expected: "a number of tokens, such as 50; 0 for all")
        sampling.minP = try arguments.number("min-p", in: 0...1, default: preset.minP, expected: "a share from 0 to 1, such as 0.05")
        let seed = try arguments.integer("seed", in: 0...Int.max, default: Int(truncatingIfNeeded: preset.seed), expected: "a whole number from 0")
        sampling.seed = UInt64(seed)
        return sampling
    }
}
