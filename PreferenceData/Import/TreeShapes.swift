import Serialization

/// Reads rows that hold several: trees of messages, threads over several rows, tasks with instances.
enum TreeShapes {
    /// Self-instruct: each of `instances` is an example of the task.
    @Sendable static func instances(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        guard let list = row["instances"]?.array, !list.isEmpty else { throw row.wrongType("instances", row["instances"] ?? .null, expected: "a list of {input, output}") }
        var rows: [StoredRow] = []
        for (index, instance) in list.enumerated() {
            guard let output = instance["output"]?.string, !output.allSatisfy(\.isWhitespace) else {
                throw RowFault(reason: "instance \(index + 1) of \"instances\" has no \"output\", expected an answer.", remedy: "Leave the instance out.")
            }
            let input = instance["input"]?.string ?? ""
            let prompt = try row.text("instruction") + (input.isEmpty ? "" : "\n\n" + input)
            rows.append(.example(prompt: StoredPrompt(.init(kind: .text, text: prompt)), completion: .init(kind: .text, text: output), lossMask: nil))
        }
        return rows
    }

    /// Open Assistant's export: at every turn of the prompter the ranked replies are a ranking, a lone reply is an example.
    @Sendable static func tree(_ row: RowView, _ origin: RowOrigin, _ context: ImportContext) throws(RowFault) -> [StoredRow] {
        guard let root = row["prompt"] else { throw row.wrongType("prompt", .null, expected: "a message with replies") }
        var rows: [StoredRow] = []
        try visit(root, after: [], &rows, context)
        return rows
    }

    /// - Parameter path: The messages before `node`. Nesting is bounded by the JSON parser.
    private static func visit(_ node: JSON, after path: [Message], _ rows: inout [StoredRow], _ context: ImportContext) throws(RowFault) {
        let path = path + [try message(node)]
        let replies = (node["replies"]?.array ?? []).filter { $0["deleted"]?.bool != true }
        if path.last?.role == "user" { try answers(to: path, replies, &rows, context) }
        for reply in replies { try visit(reply, after: path, &rows, context) }
    }

    private static func answers(to path: [Message], _ replies: [JSON], _ rows: inout [StoredRow], _ context: ImportContext) throws(RowFault) {
        let prompt = StoredPrompt(StoredContent(.messages(path)))
        var candidates = Candidates(prompt: prompt, completions: [])
        var ranks: [Double] = []
        for reply in replies {
            let answer = StoredContent(.messages([try message(reply)]))
            if replies.count == 1 { rows.append(.example(prompt: prompt, completion: answer, lossMask: nil)) }
            // Two people may have written the same; the better rank counts.
            guard let rank = reply["rank"]?.double, rank.isFinite else { continue }
            if let index = candidates.completions.firstIndex(of: answer) {
                ranks[index] = min(ranks[index], rank)
            } else {
                candidates.completions.append(answer)
                ranks.append(rank)
            }
        }
        if ranks.count > 1 { rows.append(CandidateShapes.ranking(candidates, ranks, annotator: context.annotator)) }
        if replies.isEmpty, path.count == 1 { rows.append(.task(prompt: prompt, answer: nil)) }
    }

    static func message(_ node: JSON) throws(RowFault) -> Message {
        guard let text = node["text"]?.string, let role = node["role"]?.string else {
            throw RowFault(reason: "a message of the tree has no \"text\" and \"role\", expected both.", remedy: "Leave the tree out.")
        }
        return Message(role: role == "prompter" ? "user" : RowView.role(role), content: text)
    }
}

/// Messages that stand in rows of their own and name the one they answer: Open Assistant's flat threads.
struct ThreadCollector {
    private struct Node {
        var message: Message, parent: String?, line: Int
    }
    private var nodes: [(id: String, node: Node)] = []
    private var index: [String: Int] = [:]

    var isEmpty: Bool { nodes.isEmpty }

    /// Whether a row is a message of a thread.
    static func matches(_ row: RowView) -> Bool {
        row.has("text", "role") && id(row) != nil && (row.object["parent_message_id"] ?? row.object["parent_id"]) != nil
    }

    private static func id(_ row: RowView) -> String? { row.object["user_message_id"]?.string ?? row.object["message_id"]?.string }

    mutating func add(_ row: RowView, line: Int) throws(RowFault) {
        guard let id = Self.id(row) else { return }
        if let other = index[id] {
            throw RowFault(reason: "the message id \"\(id.prefix(60))\" stands on line \(nodes[other].node.line) too.", remedy: "Give every message its own id.")
        }
        index[id] = nodes.count
        let parent = row.object["parent_message_id"]?.string ?? row.object["parent_id"]?.string
        nodes.append((id, Node(message: try TreeShapes.message(.object(row.object)), parent: parent, line: line)))
    }

    /// Every path from a first message to a last answer, as a dialogue; and the messages that cannot be reached.
    func dialogues() -> (rows: [(row: StoredRow, line: Int)], faults: [(line: Int, fault: RowFault)]) {
        var rows: [(row: StoredRow, line: Int)] = []
        var faults: [(line: Int, fault: RowFault)] = []
        var answered: Set<String> = []
        // A turn that only the user follows ends a dialogue too.
        for (_, node) in nodes where node.message.role == "assistant" {
            var parent = node.parent
            for _ in 0...nodes.count {
                guard let id = parent, let next = index[id] else { break }
                if nodes[next].node.message.role == "assistant" { answered.insert(id) }
                parent = nodes[next].node.parent
            }
        }
        for (id, node) in nodes {
            if let parent = node.parent, index[parent] == nil {
                faults.append((node.line, RowFault(reason: "the message answers \"\(parent.prefix(60))\", which is not in the file.", remedy: "Add the message it answers.")))
                continue
            }
            guard node.message.role == "assistant" else { continue }
            guard let path = path(to: id) else {
                faults.append((node.line, RowFault(reason: "the message's parents lead in a circle.", remedy: "Correct the parents' ids.")))
                continue
            }
            guard !answered.contains(id) else { continue }
            guard path.first?.role == "user", !path[path.count - 1].isEmpty else {
                faults.append((node.line, RowFault(reason: "the thread does not go from a user's message to an answer.", remedy: "Add the first message.")))
                continue
            }
            let dialogue = StoredContent(.messages(path))
            rows.append((.example(prompt: StoredPrompt(.none(before: dialogue)), completion: dialogue, lossMask: nil), node.line))
        }
        return (rows, faults)
    }

    private func path(to id: String) -> [Message]? {
        var path: [Message] = []
        var next: String? = id
        while let id = next, let place = index[id] {
            path.append(nodes[place].node.message)
            if path.count > nodes.count { return nil }
            next = nodes[place].node.parent
        }
        return path.reversed()
    }
}
