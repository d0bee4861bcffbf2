extension PreferenceStore {
    /// Puts prompts, and everything that belongs to them, into a split; a prompt is in one at a time.
    public func assign(split: String, to prompts: [String]) throws(StoreError) {
        for start in stride(from: 0, to: prompts.count, by: Self.piece) {
            try withDatabase { database throws(StoreError) in
                try database.transaction { () throws(StoreError) in
                    for prompt in prompts[start..<min(prompts.count, start + Self.piece)] {
                        try database.run("INSERT OR REPLACE INTO prompt_split (prompt, split) VALUES (?1, ?2)", .text(prompt), .text(split))
                    }
                }
            }
        }
    }
}
