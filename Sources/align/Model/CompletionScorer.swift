import Models
import Serialization
import Tensors

/// Log-probs of many completions, several rows at a time.
struct CompletionScorer {
    /// What a model says of one completion.
    struct Score: Sendable, Equatable {
        /// The scored tokens, and log π of each in nats. A text's first token has no log-prob, and is not among them.
        var tokens: [Int32]
        var logProbs: [Double]
        /// log π of the completion, in nats.
        var logProb: Double { logProbs.reduce(0, +) }

        var members: [(String, JSON)] {
            [
                ("logprob", .number(logProb)), ("tokens", .array(tokens.map { .integer(Int($0)) })),
                ("token_logprobs", .array(logProbs.map { .number($0) })),
            ]
        }
    }

    /// A row to be scored: a prompt and the completions that share it.
    struct Row: Sendable {
        var prompt: [Int32]
        /// `mask` says which tokens are scored; nil: all.
        var completions: [(tokens: [Int32], mask: [Bool]?)]

        var tokenCount: Int { prompt.count + completions.reduce(0) { $0 + $1.tokens.count } }
    }

    let policy: any Policy
    /// Tokens of one pack; a longer row is a pack of its own.
    var packTokens = 2048

    /// Scores rows pack by pack, in order; results do not depend on how rows are packed.
    /// - Parameter body: Is handed each row's index and the scores of its completions; false ends the work.
    func score(_ rows: [Row], _ body: (Int, [Score]) throws -> Bool) throws {
        for pack in TokenPacks.ranges(rows.map(\.tokenCount), limit: packTokens) {
            var batch = SegmentTree()
            for row in rows[pack] {
                let prompt = batch.append(row.prompt)
                for completion in row.completions { batch.addRow(segment: batch.append(completion.tokens, parent: prompt), mask: completion.mask) }
            }
            let scores = try policy.scores(of: batch).logProbs
            var row = 0
            for index in pack {
                let found = rows[index].completions.indices.map { offset in
                    Score(tokens: Array(batch.targets[scores.range(row + offset)]), logProbs: Array(scores[row + offset]))
                }
                row += found.count
                guard try body(index, found) else { return }
            }
        }
    }
}
