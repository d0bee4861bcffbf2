/// What rows came from: a file, a run, or a person at a terminal.
public struct StoredSource: Sendable, Hashable {
    /// SHA-256 of the file's bytes, or the run's id; anything else that is unique.
    public var id: String
    /// Its path, or what a person calls it.
    public var name: String
    public init(id: String, name: String) {
        self.id = id
        self.name = name
    }
    /// A source that is known by its name alone.
    public init(named name: String) { self.init(id: ContentHash.of(["source", name]), name: name) }
}

extension Database {
    func add(_ source: StoredSource, at time: String) throws(StoreError) {
        try run("INSERT OR IGNORE INTO source (id, name, added) VALUES (?1, ?2, ?3)", .text(source.id), .text(source.name), .text(time))
    }

    func add(_ prompt: StoredPrompt, id: String) throws(StoreError) {
        try run(
            "INSERT OR IGNORE INTO prompt (id, kind, content, tools) VALUES (?1, ?2, ?3, ?4)", .text(id), .text(prompt.content.kind.rawValue),
            .text(prompt.content.text), .optional(prompt.tools))
    }

    func add(completion: StoredContent, id: String, of prompt: String) throws(StoreError) {
        try run(
            "INSERT OR IGNORE INTO completion (id, prompt, kind, content) VALUES (?1, ?2, ?3, ?4)", .text(id), .text(prompt),
            .text(completion.kind.rawValue), .text(completion.text))
    }
}

extension SQLRow {
    /// A content whose kind and text stand in two columns, one after the other.
    func content(_ column: Int32) throws(StoreError) -> StoredContent {
        guard let kind = StoredContent.Kind(rawValue: text(column)) else { throw .badValue(column: "kind", found: text(column)) }
        return StoredContent(kind: kind, text: text(column + 1))
    }
}
