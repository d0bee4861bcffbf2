import Checkpoints
import Foundation
import Models

/// The memory of a completion's keys and values.
enum CacheMemory {
    /// Bytes for one prompt and its completion.
    static func bytes(_ config: ModelConfig, prompt: Int, sampling: Sampling) -> Int {
        let rows = prompt + min(sampling.maxNewTokens, max(0, config.maxPositions - prompt))
        return 2 * MemoryLayout<Float>.stride * config.layers * config.keyValueHeads * config.headDimension * rows
    }

    /// Refuses what this machine cannot hold, before the process asks the system for it.
    /// - Parameter limit: Bytes.
    static func check(
        _ config: ModelConfig, prompt: Int, sampling: Sampling, command: String, limit: Int = Int(clamping: ProcessInfo.processInfo.physicalMemory)
    ) throws(UsageError) {
        let needed = bytes(config, prompt: prompt, sampling: sampling)
        guard needed > limit else { return }
        throw .badValue(
            command: command, flag: "max-new-tokens", found: "\(sampling.maxNewTokens)",
            expected: "fewer: keys and values of a prompt of \(prompt) tokens and its completion take \(byteCount(needed)), "
                + "this machine has \(byteCount(limit))")
    }
}
