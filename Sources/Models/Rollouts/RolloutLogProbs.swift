import Tensors

/// Log-probs of rollouts as the training kernels give them: what ratios and KL are computed from, so that a policy's first ratio is exactly 1.
///
/// A prompt's samples are children of one segment, read once; batches are cut by tokens and change no bit.
public struct RolloutLogProbs: Sendable {
    /// log π of each completion token in nats, at the rollouts' sampling temperature (1 when greedy); rows in the rollouts' order.
    public var logProbs: Ragged
    /// Entropies of the distributions that the tokens come from, in nats, in the same layout.
    public var entropies: [Double]
    /// |what sampling said − what the kernels say|, over all tokens that sampling gave a log-prob: mean and largest, in nats. About
    /// 1e-6 under fp32, 1e-2 under bf16; far more means that sampling ran other weights, another template or another temperature.
    public var meanDifference: Double
    public var largestDifference: Double

    /// - Parameters:
    ///   - rollouts: Of one sampling temperature.
    ///   - tokensPerBatch: Rows of the policy's batches, one group of samples at least.
    /// - Throws: `RolloutError.noTokens` for rollouts without ids; what the policy throws.
    public init(_ rollouts: [Rollout], under policy: any Policy, tokensPerBatch: Int = 8192) throws {
        var rows = [[Double]](repeating: [], count: rollouts.count), entropies = rows
        for group in try Self.batches(rollouts, tokensPerBatch: tokensPerBatch) {
            let scores = try policy.scores(of: group.batch)
            for (row, index) in group.rollouts.enumerated() {
                rows[index] = Array(scores.logProbs[row])
                entropies[index] = Array(scores.entropies[scores.logProbs.range(row)])
            }
        }
        var (sum, largest, count) = (0.0, 0.0, 0)
        for (rollout, row) in zip(rollouts, rows) {
            for (sampled, computed) in zip(rollout.logProbs ?? [], row) {
                sum += abs(sampled - computed)
                largest = max(largest, abs(sampled - computed))
                count += 1
            }
        }
        (logProbs, self.entropies) = (Ragged(rows: rows), entropies.flatMap { $0 })
        (meanDifference, largestDifference) = (count > 0 ? sum / Double(count) : 0, largest)
    }

    /// A batch, and which rollout each of its rows is.
    public struct Batch: Sendable {
        public var batch: SegmentTree
        public var rollouts: [Int]
    }

    /// Rollouts as batches: each prompt once, its samples as children, as many prompts as `tokensPerBatch` holds.
    /// - Throws: `RolloutError.noTokens`.
    public static func batches(_ rollouts: [Rollout], tokensPerBatch: Int = 8192) throws(RolloutError) -> [Batch] {
        let temperature = rollouts.first.map { $0.sampling.temperature > 0 ? $0.sampling.temperature : 1 } ?? 1
        var groups: [(prompt: [Int32], samples: [Int])] = []
        var places: [[Int32]: Int] = [:]
        for (index, rollout) in rollouts.enumerated() {
            guard let prompt = rollout.promptTokens, rollout.tokens != nil else { throw .noTokens(engine: rollout.model.name) }
            precondition((rollout.sampling.temperature > 0 ? rollout.sampling.temperature : 1) == temperature, "rollouts at \(rollout.sampling.temperature) and \(temperature)")
            if let place = places[prompt] {
                groups[place].samples.append(index)
            } else {
                places[prompt] = groups.count
                groups.append((prompt, [index]))
            }
        }
        var batches: [Batch] = []
        var current = Batch(batch: SegmentTree(temperature: temperature), rollouts: [])
        for group in groups {
            let size = group.samples.reduce(group.prompt.count) { $0 + (rollouts[$1].tokens?.count ?? 0) }
            if !current.rollouts.isEmpty, current.batch.tokenCount + size > tokensPerBatch {
                batches.append(current)
                current = Batch(batch: SegmentTree(temperature: temperature), rollouts: [])
            }
            let prompt = current.batch.append(group.prompt)
            for index in group.samples {
                current.batch.addRow(segment: current.batch.append(rollouts[index].tokens ?? [], parent: prompt))
                current.rollouts.append(index)
            }
        }
        if !current.rollouts.isEmpty { batches.append(current) }
        return batches
    }
}
