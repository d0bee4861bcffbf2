import Serialization

/// A row's fields under their canonical names.
struct RowView {
    let object: JSONObject
    /// Canonical name to the file's.
    let columns: [String: String]
    private let renamed: Set<String>

    init(_ value: JSON, columns: [String: String]) throws(RowFault) {
        guard let object = value.object else {
            throw RowFault(reason: "found \(value.kind), expected an object.", remedy: "Write each row as an object with named fields.")
        }
        self.object = object
        self.columns = columns
        renamed = Set(columns.values)
    }

    /// A field's value; nil where it is missing or null. A field that stands for another name has not its own any more.
    subscript(name: String) -> JSON? {
        let value: JSON?
        if let column = columns[name] { value = object[column] } else { value = renamed.contains(name) ? nil : object[name] }
        return value?.isNull == false ? value : nil
    }

    func has(_ names: String...) -> Bool { names.allSatisfy { self[$0] != nil } }

    /// The field's name in the file.
    func name(_ field: String) -> String { columns[field] ?? field }

    /// For a row of no known shape.
    func unknownShape(of shapes: [RecordShape]) -> RowFault {
        let keys = object.keys.prefix(12).map { "\"\($0.prefix(40))\"" + (object[$0]?.isNull == true ? " (null)" : "") }.joined(separator: ", ")
        let more = object.count > 12 ? " and \(object.count - 12) more" : ""
        return RowFault(
            reason: "found the fields \(keys.isEmpty ? "none" : keys)\(more), expected one of \(shapes.map(\.rawValue).joined(separator: ", ")).",
            remedy: "Rename the fields, or say which is which: --columns prompt=question.")
    }

    func wrongType(_ field: String, _ value: JSON, expected: String) -> RowFault {
        RowFault(reason: "\"\(name(field))\" is \(value.kind), expected \(expected).", remedy: "Write it as \(expected).")
    }

    func text(_ field: String) throws(RowFault) -> String {
        guard let value = self[field] else {
            throw RowFault(reason: "\"\(name(field))\" is missing, expected a string.", remedy: "Give the field a value.")
        }
        guard let text = value.string else { throw wrongType(field, value, expected: "a string") }
        return text
    }

    /// A string, a message, or a list of messages.
    func content(_ field: String) throws(RowFault) -> Content {
        switch self[field] {
        case let .string(text)?: return .text(text)
        case let value?:
            if value.object != nil { return .messages([try message(value, field, 0)]) }
            return .messages(try messages(field))
        case nil: return .text(try text(field))
        }
    }

    /// A list of messages, with `role`/`content` or with ShareGPT's `from`/`value`.
    func messages(_ field: String) throws(RowFault) -> [Message] {
        guard let value = self[field], let list = value.array else {
            throw wrongType(field, self[field] ?? .null, expected: "a string or a list of messages")
        }
        guard !list.isEmpty else { throw RowFault(reason: "\"\(name(field))\" has no messages, expected at least one.", remedy: "Leave the row out.") }
        var messages: [Message] = []
        for (i, item) in list.enumerated() { messages.append(try message(item, field, i)) }
        return messages
    }

    private func message(_ value: JSON, _ field: String, _ index: Int) throws(RowFault) -> Message {
        let place = "message \(index + 1) of \"\(name(field))\""
        guard let object = value.object else {
            throw RowFault(reason: "\(place) is \(value.kind), expected an object with role and content.", remedy: "Write {\"role\": \"user\", \"content\": \"…\"}.")
        }
        if let from = object["from"]?.string, let text = object["value"]?.string {
            return Message(role: Self.role(from), content: text, raw: value)
        }
        guard let role = object["role"]?.string, !role.isEmpty else {
            throw RowFault(reason: "\(place) has no string \"role\".", remedy: "Write {\"role\": \"user\", \"content\": \"…\"}.")
        }
        return Message(role: Self.role(role), content: try content(of: object, place), raw: value)
    }

    private func content(of object: JSONObject, _ place: String) throws(RowFault) -> String {
        switch object["content"] {
        case let .string(text)?: return text
        case .null?, nil:
            if object["tool_calls"]?.array?.isEmpty == false { return "" }
        case let .array(parts)?:
            let texts = parts.compactMap { $0.string ?? ($0["type"]?.string == "text" ? $0["text"]?.string : nil) }
            if texts.count == parts.count { return texts.joined() }
            throw RowFault(reason: "\(place) has parts that are not text.", remedy: "Only text is trained on: leave the row out.")
        default: break
        }
        throw RowFault(
            reason: "\(place): \"content\" is \(object["content"].map(\.kind) ?? "missing"), expected a string.", remedy: "Write {\"role\": \"user\", \"content\": \"…\"}.")
    }

    /// ShareGPT's names for roles. A function call is the assistant's turn, its text kept as written; an observation is the tool's.
    static func role(_ name: String) -> String {
        switch name {
        case "human": "user"
        case "gpt", "chatgpt", "model", "function_call": "assistant"
        case "observation", "function_response": "tool"
        default: name
        }
    }

    func tokens(_ field: String) throws(RowFault) -> [Int32] {
        guard let value = self[field], let list = value.array else {
            throw wrongType(field, self[field] ?? .null, expected: "a list of token ids")
        }
        var ids: [Int32] = []
        ids.reserveCapacity(list.count)
        for (i, item) in list.enumerated() {
            guard case let .integer(id) = item, id >= 0, let id = Int32(exactly: id) else {
                throw RowFault(
                    reason: "token \(i + 1) of \"\(name(field))\" is \(String(item.text().prefix(40))), expected an integer from 0 to \(Int32.max).",
                    remedy: "Write the ids as the tokenizer gave them.")
            }
            ids.append(id)
        }
        return ids
    }

    func margin() throws(RowFault) -> Double? {
        guard let value = self["margin"] else { return nil }
        guard let margin = value.double, margin.isFinite else { throw wrongType("margin", value, expected: "a finite number") }
        return margin
    }

    /// Alpaca's prompt: the instruction, and the input after an empty line.
    func instruction() throws(RowFault) -> String {
        let input = has("input") ? try text("input") : ""
        return try text("instruction") + (input.isEmpty ? "" : "\n\n" + input)
    }

    /// `prompt` with the row's `system` before it; as messages then.
    func withSystem(_ prompt: Content) throws(RowFault) -> Content {
        guard has("system") else { return prompt }
        let system = try text("system")
        guard !system.isEmpty else { return prompt }
        let messages = prompt.messages(role: "user")
        if let first = messages.first, first.role == "system" {
            guard first.content == system else {
                throw RowFault(reason: "the row's \"\(name("system"))\" and the first message differ.", remedy: "Keep one system text.")
            }
            return .messages(messages)
        }
        return .messages([Message(role: "system", content: system)] + messages)
    }
}
