import Serialization

/// Reads a row as a supervised example.
enum SupervisedShapes {
    static func read(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> SupervisedExample {
        var example: SupervisedExample
        if row.has("input_ids") {
            example = try tokens(row, origin)
        } else if row.has("prompt", "completion") {
            example = try answered(row, prompt: row.content("prompt"), "completion", .promptCompletion, origin)
        } else if row.has("prompt", "response") {
            example = try answered(row, prompt: row.content("prompt"), "response", .promptResponse, origin)
        } else if row.has("instruction", "output") {
            example = try answered(row, prompt: .text(row.instruction()), "output", .instructionOutput, origin)
        } else if row.has("question", "answer") {
            example = try answered(row, prompt: row.content("question"), "answer", .questionAnswer, origin)
        } else if row.has("messages") {
            example = try dialogue(row, "messages", .messages, origin)
        } else if row.has("conversations") {
            example = try dialogue(row, "conversations", .conversations, origin)
        } else if row.has("text") {
            example = try SupervisedExample(prompt: nil, completion: .text(row.text("text")), lossMask: nil, origin: origin, shape: .text)
        } else {
            throw row.unknownShape(of: RecordShape.supervised)
        }
        if example.completion.isEmpty {
            throw RowFault(reason: "the completion is empty, expected something to train on.", remedy: "Leave the row out.")
        }
        example.tools = row["tools"]
        return example
    }

    private static func answered(
        _ row: RowView, prompt: Content, _ field: String, _ shape: RecordShape, _ origin: RowOrigin
    ) throws(RowFault) -> SupervisedExample {
        let completion = try row.content(field)
        let whole = try row.withSystem(prompt)
        if case .text = whole, case .text = completion {
            return SupervisedExample(prompt: whole, completion: completion, lossMask: nil, origin: origin, shape: shape)
        }
        let messages = whole.messages(role: "user")
        let answer = try PairShapes.completion(completion, after: messages, row.name(field))
        guard answer.last?.role == "assistant" else {
            throw RowFault(
                reason: "\"\(row.name(field))\" ends with a \((answer.last?.role ?? "missing").prefix(40)) message, expected one of the assistant.",
                remedy: "Cut the dialogue after the assistant's answer.")
        }
        return SupervisedExample(prompt: .messages(messages), completion: .messages(answer), lossMask: nil, origin: origin, shape: shape)
    }

    /// A whole dialogue: all of it is the completion, the stage trains the assistant's turns.
    private static func dialogue(_ row: RowView, _ field: String, _ shape: RecordShape, _ origin: RowOrigin) throws(RowFault) -> SupervisedExample {
        let messages = try row.withSystem(.messages(row.messages(field))).messages(role: "user")
        guard messages.contains(where: { $0.role == "assistant" && !$0.isEmpty }) else {
            throw RowFault(reason: "\"\(row.name(field))\" has no answer of the assistant, expected one to train on.", remedy: "Leave the row out.")
        }
        return SupervisedExample(prompt: nil, completion: .messages(messages), lossMask: nil, origin: origin, shape: shape)
    }

    private static func tokens(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> SupervisedExample {
        let ids = try row.tokens("input_ids")
        var mask: [Bool]?
        if let value = row["loss_mask"] {
            guard let list = value.array else { throw row.wrongType("loss_mask", value, expected: "a list of 0 and 1") }
            guard list.count == ids.count else {
                throw RowFault(
                    reason: "\"\(row.name("loss_mask"))\" has \(list.count) entries, \"\(row.name("input_ids"))\" \(ids.count), expected one for each.",
                    remedy: "Write a 0 or 1 for every token.")
            }
            var entries: [Bool] = []
            for item in list {
                guard let entry = item.bool ?? (item.int == 0 ? false : item.int == 1 ? true : nil) else {
                    throw row.wrongType("loss_mask", value, expected: "a list of 0 and 1")
                }
                entries.append(entry)
            }
            mask = entries
        }
        return SupervisedExample(prompt: nil, completion: .tokens(ids), lossMask: mask, origin: origin, shape: .tokens)
    }
}
