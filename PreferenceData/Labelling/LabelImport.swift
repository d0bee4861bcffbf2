/// Completions of one prompt that somebody is to compare.
public struct CandidateRow: Sendable, Equatable {
    public var candidates: Candidates
    /// The better one's id by the file, where it says so: what a gold item expects.
    public var preferred: String?
}

extension RowReader {
    /// What of a file can be compared: pairs, judged or not, and lists of completions. Its own preferences are kept apart, and nothing is written.
    /// - Throws: `RecordError` for files that cannot be read, for bad rows under `.stop`, and where no row has two completions or more.
    public func candidates(_ file: String, onBadRow: OnBadRow) throws -> (rows: [CandidateRow], source: StoredSource, report: ImportReport) {
        var rows: [CandidateRow] = [], seen: Set<String> = [], source = StoredSource(named: file)
        let report = try read(file) { addressed, from in
            source = from
            for row in addressed.compactMap({ CandidateRow($0.row) }) where seen.insert(row.candidates.item.id).inserted { rows.append(row) }
        }
        if report.badRowCount > 0, onBadRow == .stop || rows.isEmpty { throw RecordError.badRows(report.badRows, total: report.badRowCount) }
        if rows.isEmpty {
            let shapes = report.shapes.map(\.shape.rawValue).joined(separator: ", ")
            throw RecordError.badRows(
                [BadRow(file: file, line: 1, reason: "no row has two completions or more to compare; found \(shapes).", remedy: "Give pairs, or {prompt, completions}.")],
                total: 1)
        }
        return (rows, source, report)
    }
}

extension CandidateRow {
    /// nil for rows with nothing to compare, and for more completions than there are digits.
    init?(_ row: StoredRow) {
        switch row {
        case let .comparison(pair):
            self.init(candidates: Candidates(prompt: pair.prompt, completions: [pair.chosen, pair.rejected]), preferred: pair.prompt.completionID(pair.chosen))
        case let .item(candidates): self.init(candidates: candidates, preferred: nil)
        case let .vote(candidates, vote, _): self.init(candidates: candidates, preferred: vote.preferred)
        case .example, .label, .task, .score: return nil
        }
        guard (2...9).contains(candidates.completions.count), Set(candidates.item.completions).count == candidates.completions.count else { return nil }
    }
}

extension PreferenceStore {
    /// Puts many items in the queue, in short transactions: somebody who labels meanwhile does not wait for all of them.
    public func enqueueInPieces(_ candidates: [Candidates], source: StoredSource, added: String) throws(StoreError) -> [LabelItem] {
        var items: [LabelItem] = []
        for start in stride(from: 0, to: candidates.count, by: 200) {
            items += try enqueue(Array(candidates[start..<min(candidates.count, start + 200)]), source: source, added: added).items
        }
        return items
    }
}
