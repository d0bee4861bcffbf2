/// A completion that a run sampled: where it came from, and what rewards say of it.
public struct SampledCompletion: Sendable, Equatable {
    public var prompt: StoredPrompt
    public var completion: StoredContent
    public var generation: Generation
    public var scores: [Score]

    public init(prompt: StoredPrompt, completion: StoredContent, generation: Generation, scores: [Score] = []) {
        (self.prompt, self.completion, self.generation, self.scores) = (prompt, completion, generation, scores)
    }
}

extension PreferenceStore {
    /// Keeps what a run sampled, and the pairs it made of it, in transactions of some 20 ms each; keeping a draw twice changes nothing.
    /// - Parameters:
    ///   - pairs: Their completions need not be among `samples`.
    ///   - run: Its id; pairs are noted as trained on by it, if the store knows it.
    ///   - time: ISO 8601.
    public func keep(_ samples: [SampledCompletion], pairs: [StoredComparison] = [], run: String, at time: String) throws(StoreError) {
        for score in samples.flatMap(\.scores) where !score.value.isFinite { throw .badValue(column: "value", found: "\(score.value)") }
        _ = try inPieces(samples) { (database, sample) throws(StoreError) in
            let prompt = sample.prompt.id
            try database.add(sample.prompt, id: prompt)
            try database.add(completion: sample.completion, id: sample.generation.completion, of: prompt)
            for score in sample.scores { _ = try database.add(score, replaces: true) }
            return try database.add(sample.generation)
        }
        guard !pairs.isEmpty else { return }
        let ids = try add(pairs, added: time).ids
        _ = try inPieces(ids) { (database, id) throws(StoreError) in
            try database.run("INSERT OR IGNORE INTO run_comparison (run, comparison) SELECT id, ?2 FROM run WHERE id = ?1", .text(run), .text(id)) > 0
        }
    }
}
