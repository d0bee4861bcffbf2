import Checkpoints
import Foundation
import Models
import Tensors

/// The memory of completions' keys and values.
enum CacheMemory {
    /// Bytes that a call of the generator takes at most.
    /// - Parameter prompts: Their lengths in tokens.
    static func bytes(_ config: ModelConfig, prompts: [Int], sampling: Sampling, precision: Precision) -> Int {
        Generator.blocks(prompts: prompts, samples: sampling.samplesPerPrompt, sampling: sampling, maxPositions: config.maxPositions)
            * DecodingCache.blockBytes(layers: config.layers, keyValueHeads: config.keyValueHeads, headSize: config.headDimension, precision: precision)
    }

    /// Refuses what this machine cannot hold, before the process asks the system for it.
    /// - Parameter limit: Bytes.
    static func check(
        _ config: ModelConfig, prompts: [Int], sampling: Sampling, precision: Precision, command: String,
        limit: Int = Int(clamping: ProcessInfo.processInfo.physicalMemory)
    ) throws(UsageError) {
        let needed = bytes(config, prompts: prompts, sampling: sampling, precision: precision)
        guard needed > limit else { return }
        throw .badValue(
            command: command, flag: "max-new-tokens", found: "\(sampling.maxNewTokens)",
            expected: "fewer: keys and values of a prompt of \(prompts.max() ?? 0) tokens and its completion take \(byteCount(needed)), "
                + "this machine has \(byteCount(limit))")
    }
}
