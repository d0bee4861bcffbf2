extension PreferenceStore {
    /// Who wrote the completions that are in items: the model's name or hash, the earliest where several said the same.
    public func authors() throws(StoreError) -> [String: String] {
        try withDatabase { database throws(StoreError) in
            var result: [String: String] = [:]
            try database.query("SELECT completion, model FROM generation ORDER BY time, id") { row throws(StoreError) in
                let completion = row.text(0)
                if result[completion] == nil { result[completion] = row.text(1) }
            }
            return result
        }
    }

    /// By reward, the newest value of each completion that it scored.
    public func scoresByReward() throws(StoreError) -> [String: [String: Double]] {
        try withDatabase { database throws(StoreError) in
            var result: [String: [String: Double]] = [:]
            try database.query("SELECT reward, completion, value FROM score ORDER BY time, reward_hash, run") { row throws(StoreError) in
                result[row.text(0), default: [:]][row.text(1)] = row.real(2)
            }
            return result
        }
    }
}
