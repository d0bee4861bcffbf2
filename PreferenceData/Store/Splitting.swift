import Serialization

/// A split's name and its share of the prompts.
public struct SplitShare: Sendable, Equatable {
    public var name: String
    /// In (0, 1].
    public var share: Double
    public init(name: String, share: Double) {
        self.name = name
        self.share = share
    }
}

extension PreferenceStore {
    /// Puts every prompt into a split. Prompts that open with the same question, but for case and white space, stay together: a model that
    /// was trained on one would know the other.
    ///
    /// Groups are drawn by hash of `seed` and question, so that neither the order of imports nor the machine changes the outcome. Prompts that
    /// are in a split stay there, and later ones of their group join them; `again` begins anew.
    /// - Parameter shares: Their sum is 1.
    /// - Returns: Prompts by split.
    public func split(_ shares: [SplitShare], seed: UInt64, again: Bool = false) throws(StoreError) -> [String: Int] {
        precondition(abs(shares.reduce(0) { $0 + $1.share } - 1) < 1e-9, "shares add up to \(shares.reduce(0) { $0 + $1.share }), 1 is needed")
        struct Group { var order: String, prompts: [String] = [], split: String? }
        var groups: [String: Group] = [:]
        try scanPrompts { id, prompt, split in
            let key = Self.splitKey(prompt)
            var group = groups[key] ?? Group(order: ContentHash.of(["split", "\(seed)", key]), split: nil)
            if !again, group.split == nil { group.split = split }
            if again || split == nil { group.prompts.append(id) }
            groups[key] = group
        }
        var chosen: [String: [String]] = [:]
        let open = groups.values.filter { $0.split == nil }.sorted { $0.order < $1.order }
        let total = open.reduce(0) { $0 + $1.prompts.count }
        var done = 0
        for group in open {
            // The split in which the middle of the group lies, when all prompts stand in a row and the shares cut it.
            let place = (Double(done) + Double(group.prompts.count) / 2) / Double(max(1, total))
            var sum = 0.0
            let share = shares.first { share in
                sum += share.share
                return place < sum
            } ?? shares[shares.count - 1]
            chosen[share.name, default: []] += group.prompts
            done += group.prompts.count
        }
        for group in groups.values { if let split = group.split { chosen[split, default: []] += group.prompts } }
        for name in chosen.keys.sorted() { try assign(split: name, to: (chosen[name] ?? []).sorted()) }
        return try splits()
    }

    /// Prompts by split; those of none are not counted.
    public func splits() throws(StoreError) -> [String: Int] {
        try withDatabase { database throws(StoreError) in
            var result: [String: Int] = [:]
            try database.query("SELECT split, count(*) FROM prompt_split GROUP BY split ORDER BY split") { row throws(StoreError) in
                result[row.text(0)] = row.integer(1)
            }
            return result
        }
    }

    /// The first question of a prompt in small letters, runs of white space as one blank.
    static func splitKey(_ prompt: StoredPrompt) -> String { normalized(prompt.content.firstQuestion ?? prompt.content.text) }

    static func normalized(_ text: String) -> String { text.lowercased().split(whereSeparator: \.isWhitespace).joined(separator: " ") }

    /// All prompts with their splits, by id.
    func scanPrompts(_ each: (String, StoredPrompt, String?) throws(StoreError) -> Void) throws(StoreError) {
        var last = ""
        while true {
            let rows = try withDatabase { database throws(StoreError) in
                var rows: [(String, StoredPrompt, String?)] = []
                try database.query(
                    """
                    SELECT p.id, p.kind, p.content, p.tools, s.split FROM prompt p LEFT JOIN prompt_split s ON s.prompt = p.id
                    WHERE p.id > ?1 ORDER BY p.id LIMIT 2000
                    """, [.text(last)]
                ) { row throws(StoreError) in rows.append((row.text(0), StoredPrompt(try row.content(1), tools: row.optionalText(3)), row.optionalText(4))) }
                return rows
            }
            guard let end = rows.last else { return }
            last = end.0
            for row in rows { try each(row.0, row.1, row.2) }
        }
    }
}
