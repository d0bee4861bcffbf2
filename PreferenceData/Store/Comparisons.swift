/// Two completions of one prompt, of which the first is preferred, as the store keeps them.
public struct StoredComparison: Sendable, Equatable {
    /// Where a preference came from.
    public enum Origin: String, Sendable, CaseIterable { case file, run, votes, scores }

    public var prompt: StoredPrompt
    public var chosen: StoredContent
    public var rejected: StoredContent
    public var margin: Double?
    public var origin: Origin
    public var source: StoredSource
    /// Of the file; nil elsewhere.
    public var line: Int?

    public init(
        prompt: StoredPrompt, chosen: StoredContent, rejected: StoredContent, margin: Double? = nil, origin: Origin = .file, source: StoredSource,
        line: Int? = nil
    ) {
        self.prompt = prompt
        self.chosen = chosen
        self.rejected = rejected
        self.margin = margin
        self.origin = origin
        self.source = source
        self.line = line
    }

    /// Of plain texts.
    init(prompt: StoredContent, chosen: StoredContent, rejected: StoredContent, margin: Double? = nil, source: String) {
        self.init(prompt: StoredPrompt(prompt), chosen: chosen, rejected: rejected, margin: margin, source: StoredSource(named: source))
    }

    /// The same pair has the same id wherever it comes from.
    public var id: String { Self.id(prompt: prompt.id, chosen: prompt.completionID(chosen), rejected: prompt.completionID(rejected)) }

    static func id(prompt: String, chosen: String, rejected: String) -> String { ContentHash.of([chosen, rejected], under: prompt) }
}

extension PreferenceStore {
    /// Adds what is not there yet, by content: importing twice changes nothing.
    /// - Parameter added: ISO 8601.
    /// - Returns: The ids of all comparisons, in order, and how many were new.
    public func add(_ comparisons: [StoredComparison], added: String) throws(StoreError) -> (ids: [String], new: Int) {
        try withDatabase { database throws(StoreError) in
            try database.transaction { () throws(StoreError) in
                var (ids, new) = ([String](), 0)
                for c in comparisons {
                    let prompt = c.prompt.id
                    let (chosen, rejected) = (c.prompt.completionID(c.chosen), c.prompt.completionID(c.rejected))
                    let id = StoredComparison.id(prompt: prompt, chosen: chosen, rejected: rejected)
                    try database.add(c.source, at: added)
                    try database.add(c.prompt, id: prompt)
                    try database.add(completion: c.chosen, id: chosen, of: prompt)
                    try database.add(completion: c.rejected, id: rejected, of: prompt)
                    new += try database.add(comparison: c, id: id, prompt: prompt, chosen: chosen, rejected: rejected, at: added)
                    ids.append(id)
                }
                return (ids, new)
            }
        }
    }

    /// All comparisons that the table holds, by id; what votes say is `preferences(in:)`.
    public func comparisons() throws(StoreError) -> [StoredComparison] {
        try withDatabase { database throws(StoreError) in
            var result: [StoredComparison] = []
            try database.query(StoredComparison.columns + " ORDER BY c.id") { row throws(StoreError) in result.append(try StoredComparison(row)) }
            return result
        }
    }
}

extension Database {
    func add(comparison c: StoredComparison, id: String, prompt: String, chosen: String, rejected: String, at time: String) throws(StoreError) -> Int {
        try run(
            """
            INSERT OR IGNORE INTO comparison (id, prompt, chosen, rejected, margin, origin, source, line, added)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
            """,
            .text(id), .text(prompt), .text(chosen), .text(rejected), .optional(c.margin), .text(c.origin.rawValue), .text(c.source.id),
            .optional(c.line), .text(time))
    }
}

extension StoredComparison {
    /// Everything of a comparison `c`; conditions and order follow.
    static let columns = """
        SELECT p.kind, p.content, p.tools, w.kind, w.content, l.kind, l.content, c.margin, c.origin, s.id, s.name, c.line,
            c.id, c.prompt, c.chosen, c.rejected
        FROM comparison c
        JOIN prompt p ON p.id = c.prompt JOIN completion w ON w.id = c.chosen JOIN completion l ON l.id = c.rejected
        JOIN source s ON s.id = c.source
        """

    init(_ row: SQLRow) throws(StoreError) {
        guard let origin = Origin(rawValue: row.text(8)) else { throw .badValue(column: "origin", found: row.text(8)) }
        self.init(
            prompt: StoredPrompt(try row.content(0), tools: row.optionalText(2)), chosen: try row.content(3), rejected: try row.content(5),
            margin: row.isNull(7) ? nil : row.real(7), origin: origin, source: StoredSource(id: row.text(9), name: row.text(10)),
            line: row.isNull(11) ? nil : row.integer(11))
    }
}
