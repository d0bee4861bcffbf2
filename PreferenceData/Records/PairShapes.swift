import Serialization

/// Reads a row as a preference pair.
enum PairShapes {
    static func read(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> PreferencePair {
        var pair: PreferencePair
        if row.has("prompt_ids", "chosen_ids", "rejected_ids") {
            pair = try PreferencePair(
                prompt: .tokens(row.tokens("prompt_ids")), chosen: .tokens(row.tokens("chosen_ids")), rejected: .tokens(row.tokens("rejected_ids")),
                margin: nil, origin: origin, shape: .tokenPair)
        } else if row.has("chosen", "rejected") {
            pair = try named(row, origin)
        } else if row.has("question", "response_j", "response_k") {
            pair = try explicit(
                row, prompt: row.content("question"), chosen: row.content("response_j"), rejected: row.content("response_k"), .questionResponses, origin)
        } else {
            throw row.unknownShape(of: RecordShape.pairs)
        }
        pair.margin = try row.margin()
        pair.tools = row["tools"]
        try check(pair)
        return pair
    }

    /// With `chosen` and `rejected`; the prompt is elsewhere in the row, or the beginning of both.
    private static func named(_ row: RowView, _ origin: RowOrigin) throws(RowFault) -> PreferencePair {
        let chosen = try row.content("chosen")
        let rejected = try row.content("rejected")
        if row.has("prompt") {
            return try explicit(row, prompt: row.content("prompt"), chosen: chosen, rejected: rejected, .promptChosenRejected, origin)
        }
        if row.has("conversations") {
            let prompt = try Content.messages(row.messages("conversations"))
            return try explicit(row, prompt: prompt, chosen: chosen, rejected: rejected, .conversationsChosenRejected, origin)
        }
        if row.has("instruction") {
            return try explicit(row, prompt: .text(row.instruction()), chosen: chosen, rejected: rejected, .instructionChosenRejected, origin)
        }
        if row.has("question") {
            return try explicit(row, prompt: row.content("question"), chosen: chosen, rejected: rejected, .questionChosenRejected, origin)
        }
        switch (chosen, rejected) {
        case let (.messages(chosen), .messages(rejected)):
            return try implicit(row, chosen, rejected, .chosenRejectedMessages, origin)
        case let (.text(chosen), .text(rejected)):
            if let first = Transcript(chosen), let second = Transcript(rejected) { return try transcripts(row, first, second, origin) }
            return try texts(row, chosen, rejected, origin)
        default:
            throw RowFault(
                reason: "without a prompt, found \"\(row.name("chosen"))\" and \"\(row.name("rejected"))\" of different kinds, expected two strings or two lists of messages.",
                remedy: "Write both the same way, or give the prompt its own field.")
        }
    }

    // MARK: Shapes

    private static func explicit(
        _ row: RowView, prompt: Content, chosen: Content, rejected: Content, _ shape: RecordShape, _ origin: RowOrigin
    ) throws(RowFault) -> PreferencePair {
        let whole = try row.withSystem(prompt)
        if case .text = whole, case .text = chosen, case .text = rejected {
            return PreferencePair(prompt: whole, chosen: chosen, rejected: rejected, margin: nil, origin: origin, shape: shape)
        }
        let promptMessages = whole.messages(role: "user")
        return PreferencePair(
            prompt: .messages(promptMessages), chosen: .messages(try completion(chosen, after: promptMessages, "chosen")),
            rejected: .messages(try completion(rejected, after: promptMessages, "rejected")), margin: nil, origin: origin, shape: shape)
    }

    /// The messages after the prompt's, where the completion repeats them; a system message may be missing from the repetition.
    static func completion(_ completion: Content, after prompt: [Message], _ field: String) throws(RowFault) -> [Message] {
        let messages = completion.messages(role: "assistant")
        for repeated in [prompt[...], prompt.drop { $0.role == "system" }] where !repeated.isEmpty && messages.count > repeated.count {
            if zip(messages, repeated).allSatisfy({ $0.isSame(as: $1) }) { return Array(messages.dropFirst(repeated.count)) }
        }
        if let first = messages.first, first.role == "user" || first.role == "system" {
            throw RowFault(
                reason: "\"\(field)\" begins with a \(first.role) message and not with the prompt's messages, expected an assistant message.",
                remedy: "Give the completion alone, or the dialogue with exactly the prompt's messages.")
        }
        return messages
    }

    private static func implicit(
        _ row: RowView, _ chosen: [Message], _ rejected: [Message], _ shape: RecordShape, _ origin: RowOrigin
    ) throws(RowFault) -> PreferencePair {
        let shared = CommonPrefix.count(chosen, rejected)
        guard shared > 0 else {
            throw RowFault(
                reason: "\"chosen\" and \"rejected\" part at the first message, expected a shared beginning: the prompt.",
                remedy: "Give the prompt its own field, or leave the row out.")
        }
        return PreferencePair(
            prompt: try row.withSystem(.messages(Array(chosen[..<shared]))), chosen: .messages(Array(chosen[shared...])),
            rejected: .messages(Array(rejected[shared...])), margin: nil, origin: origin, shape: shape)
    }

    private static func transcripts(
        _ row: RowView, _ chosen: Transcript, _ rejected: Transcript, _ origin: RowOrigin
    ) throws(RowFault) -> PreferencePair {
        var pair = try implicit(row, chosen.turns.map(\.message), rejected.turns.map(\.message), .chosenRejectedTranscripts, origin)
        let shared = CommonPrefix.count(chosen.turns.map(\.message), rejected.turns.map(\.message))
        let limit = min(chosen.turns[shared].start, rejected.turns[shared].start)
        let cut = CommonPrefix.bytes(chosen.text, rejected.text, limit: limit)
        let (prompt, first) = split(chosen.text, at: cut)
        pair.raw = RawPair(prompt: prompt, chosen: first, rejected: split(rejected.text, at: cut).1)
        return pair
    }

    private static func texts(_ row: RowView, _ chosen: String, _ rejected: String, _ origin: RowOrigin) throws(RowFault) -> PreferencePair {
        let prompt = CommonPrefix.text(chosen, rejected)
        let pair = PreferencePair(
            prompt: .text(prompt), chosen: .text(split(chosen, at: prompt.utf8.count).1), rejected: .text(split(rejected, at: prompt.utf8.count).1),
            margin: nil, origin: origin, shape: .chosenRejectedTexts)
        guard row.has("system"), try !row.text("system").isEmpty else { return pair }
        throw RowFault(
            reason: "found \"\(row.name("system"))\" beside texts without a prompt, expected a prompt to put it before.", remedy: "Give the prompt its own field.")
    }

    // MARK: Checks

    private static func check(_ pair: PreferencePair) throws(RowFault) {
        for (field, completion) in [("chosen", pair.chosen), ("rejected", pair.rejected)] {
            // In a transcript an empty last turn is an answer like any other: it says nothing, and ends.
            if completion.isEmpty, pair.shape != .chosenRejectedTranscripts {
                throw RowFault(reason: "the \(field) completion is empty, expected something to train on.", remedy: "Leave the row out.")
            }
            if case let .messages(messages) = completion, let last = messages.last, last.role != "assistant" {
                throw RowFault(
                    reason: "the \(field) completion ends with a \(last.role.prefix(40)) message, expected one of the assistant.",
                    remedy: "Cut the dialogue after the assistant's answer.")
            }
        }
        let isSame: Bool =
            if case let .messages(chosen) = pair.chosen, case let .messages(rejected) = pair.rejected {
                chosen.count == rejected.count && zip(chosen, rejected).allSatisfy { $0.isSame(as: $1) }
            } else {
                pair.chosen == pair.rejected
            }
        if isSame {
            throw RowFault(reason: "chosen and rejected are the same, expected two different completions.", remedy: "Leave the row out: it prefers nothing.")
        }
    }
}
