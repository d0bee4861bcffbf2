extension PreferenceStore {
    /// What was found to say the same twice, or the opposite.
    public struct DuplicateReport: Sendable, Equatable {
        public var comparisons = 0
        /// The same as another but for case, white space and punctuation.
        public var nearDuplicates = 0
        /// Comparisons of which another, near the same, prefers the other side.
        public var contradictions = 0
        public var removed = 0
        /// Found, and kept because a run trained on them.
        public var kept = 0
        public init() {}
    }

    /// Finds imported and built comparisons that say what another says, and removes the later ones; votes are never touched.
    /// - Parameters:
    ///   - contradictions: Removes both sides of a contradiction too.
    ///   - isDryRun: Only counts.
    public func removeDuplicates(contradictions: Bool, isDryRun: Bool) throws -> DuplicateReport {
        var report = DuplicateReport()
        // Two hashes a comparison, and no texts, are held at a time.
        var first: [String: (id: String, added: Int)] = [:]
        var doomed: Set<String> = []
        var opposed: Set<String> = []
        try scan("c.origin <> 'votes'", nil) { rows in
            for row in rows {
                report.comparisons += 1
                let c = row.comparison
                let prompt = Self.bare(c.prompt.content.text) + "\u{0}" + (c.prompt.tools ?? "")
                let (chosen, rejected) = (Self.bare(c.chosen.text), Self.bare(c.rejected.text))
                let key = ContentHash.of([prompt, chosen, rejected]), opposite = ContentHash.of([prompt, rejected, chosen])
                if first[key] != nil {
                    report.nearDuplicates += 1
                    doomed.insert(row.id)
                } else {
                    first[key] = (row.id, report.comparisons)
                }
                if let other = first[opposite] { opposed.formUnion([row.id, other.id]) }
            }
        }
        report.contradictions = opposed.count
        if contradictions { doomed.formUnion(opposed) }
        let used = try usedByRuns(doomed.sorted())
        report.kept = used.count
        guard !isDryRun else { return report }
        report.removed = try inPieces(doomed.subtracting(used).sorted()) { (database, id) throws(StoreError) in
            try database.run("DELETE FROM comparison WHERE id = ?1", .text(id)) > 0
        }
        return report
    }

    private func usedByRuns(_ ids: [String]) throws(StoreError) -> Set<String> {
        try withDatabase { database throws(StoreError) in
            var used: Set<String> = []
            for id in ids where try database.has("SELECT 1 FROM run_comparison WHERE comparison = ?1 LIMIT 1", .text(id)) { used.insert(id) }
            return used
        }
    }

    /// Letters and digits in small letters, with one blank between words; a text that has none is itself.
    static func bare(_ text: String) -> String {
        let words = text.lowercased().split { !$0.isLetter && !$0.isNumber }
        return words.isEmpty ? text : words.joined(separator: " ")
    }
}
