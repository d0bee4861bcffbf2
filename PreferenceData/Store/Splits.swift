extension PreferenceStore {
    /// Puts prompts, and everything that belongs to them, into a split; a prompt is in one at a time.
    public func assign(split: String, to prompts: [String]) throws(StoreError) {
        _ = try inPieces(prompts) { (database, prompt) throws(StoreError) in
            try database.run("INSERT OR REPLACE INTO prompt_split (prompt, split) VALUES (?1, ?2)", .text(prompt), .text(split)) > 0
        }
    }
}
