import Models

extension Experience {
    /// What the objectives of sampled completions take, for some of the samples.
    func inputs(_ logProbs: Ragged, of samples: [Int], _ weighing: Weighing, usesReference: Bool = false) -> PolicyLogProbs {
        func rows(_ ragged: Ragged) -> Ragged { Ragged(values: samples.flatMap { ragged[$0] }, offsets: logProbs.offsets) }
        return PolicyLogProbs(
            logProbs: logProbs, old: rows(old), reference: usesReference ? reference.map(rows) : nil, advantages: rows(weighing.advantages))
    }

    /// Scores less β times the divergence from the reference: R of a completion that is one action.
    var penalisedRewards: [Double] { samples.indices.map { samples[$0].score - beta * divergence($0) } }

    /// The same number of samples for every prompt.
    var groupSize: Int { samples.count / max(1, prompts.count) }
}
