/// Scores of completions under a model with a score head, several rows at a time.
///
/// The head is read at each completion's last token. A score depends on its own tokens alone: not on what it is packed with.
public struct RewardScorer {
    /// A prompt and the completions that share it.
    public struct Row: Sendable, Equatable {
        public var prompt: [Int32], completions: [[Int32]]
        public init(prompt: [Int32], completions: [[Int32]]) { (self.prompt, self.completions) = (prompt, completions) }
        var tokenCount: Int { prompt.count + completions.reduce(0) { $0 + $1.count } }
    }

    public let policy: any Policy
    /// Outputs of the head.
    public let outputs: Int
    /// Tokens of one pack; a longer row is a pack of its own.
    public var packTokens = 2048

    public init(policy: any Policy, outputs: Int) { (self.policy, self.outputs) = (policy, outputs) }

    /// Scores rows pack by pack, in order.
    /// - Parameter body: Is handed each row's index and its completions' outputs, `[completions][outputs]`; false ends the work.
    public func score(_ rows: [Row], _ body: (Int, [[Double]]) throws -> Bool) throws {
        for pack in TokenPacks.ranges(rows.map(\.tokenCount), limit: packTokens) {
            var batch = SegmentTree()
            for row in rows[pack] {
                let prompt = batch.append(row.prompt)
                for completion in row.completions { batch.addReadout(segment: batch.append(completion, parent: prompt)) }
            }
            let readouts = try policy.scores(of: batch).readouts
            var point = 0
            for index in pack {
                let found = rows[index].completions.indices.map { Array(readouts[(point + $0) * outputs..<(point + $0 + 1) * outputs]) }
                point += found.count
                guard try body(index, found) else { return }
            }
        }
    }
}

/// Rows cut into packs.
public enum TokenPacks {
    /// Neighbouring rows whose tokens together are at most `limit`; a longer row alone.
    public static func ranges(_ tokens: [Int], limit: Int) -> [Range<Int>] {
        var packs: [Range<Int>] = []
        var first = 0
        while first < tokens.count {
            var (end, sum) = (first, 0)
            while end < tokens.count, end == first || sum + tokens[end] <= limit {
                sum += tokens[end]
                end += 1
            }
            packs.append(first..<end)
            first = end
        }
        return packs
    }
}
