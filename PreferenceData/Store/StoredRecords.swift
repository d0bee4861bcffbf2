import Serialization

extension StoredComparison {
    /// A record as the store keeps it: transcripts byte for byte, everything else as its content.
    public init(_ pair: PreferencePair, source: StoredSource) {
        let tools = pair.tools?.text()
        if let raw = pair.raw {
            self.init(
                prompt: StoredPrompt(.init(kind: .transcript, text: raw.prompt), tools: tools), chosen: .init(kind: .transcript, text: raw.chosen),
                rejected: .init(kind: .transcript, text: raw.rejected), margin: pair.margin, source: source, line: pair.origin.line)
        } else {
            self.init(
                prompt: StoredPrompt(StoredContent(pair.prompt), tools: tools), chosen: StoredContent(pair.chosen), rejected: StoredContent(pair.rejected),
                margin: pair.margin, source: source, line: pair.origin.line)
        }
    }

    /// The record that a stage trains on: the one that was imported.
    public func pair() throws(StoreError) -> PreferencePair {
        let origin = RowOrigin(file: source.name, line: line ?? 0)
        let tools = try prompt.tools.map { text throws(StoreError) in try Self.json(text, column: "tools") }
        if prompt.content.kind == .transcript, chosen.kind == .transcript, rejected.kind == .transcript {
            let row = JSONObject([
                ("chosen", .string(prompt.content.text + chosen.text)), ("rejected", .string(prompt.content.text + rejected.text)),
            ])
            do throws(RowFault) {
                var pair = try PairShapes.read(RowView(.object(row), columns: [:]), origin)
                (pair.margin, pair.tools) = (margin, tools)
                return pair
            } catch { throw .badValue(column: "content", found: error.reason) }
        }
        guard let prompt = prompt.content.content, let first = chosen.content, let second = rejected.content else {
            throw .badValue(column: "content", found: chosen.text)
        }
        let shape: RecordShape =
            switch prompt {
            case .tokens: .tokenPair
            default: .promptChosenRejected
            }
        return PreferencePair(prompt: prompt, chosen: first, rejected: second, margin: margin, origin: origin, shape: shape, tools: tools)
    }

    private static func json(_ text: String, column: String) throws(StoreError) -> JSON {
        do throws(JSONError) { return try JSON.parse(text) } catch { throw .badValue(column: column, found: text) }
    }
}
