import Foundation
import PreferenceData
import Serialization

/// The side of a sitting that touches the disk and the clock; screens and lines both work on it.
final class LabelSitting {
    let store: PreferenceStore
    private let overlap: Int
    private let began = Date()
    /// Cast in this sitting, by outcome; what was taken back is subtracted.
    private(set) var counts: [Vote.Outcome: Int] = [:]
    /// Seconds that the slowest vote took to be on the disk, others' writing included.
    private(set) var longestWrite = 0.0

    init(store: PreferenceStore, overlap: Int) { (self.store, self.overlap) = (store, overlap) }

    /// Prompt and completions of the item on the screen, which is then kept for this sitting; nil when all are done. Items that others have
    /// finished meanwhile, or have on their screens, are passed over.
    func candidates(_ interface: inout LabelInterface) throws -> Candidates? {
        let settings = interface.session.settings
        while let entry = interface.session.entry {
            let isOpen = entry.gold == nil && interface.session.own[entry.item.id] == nil
            if isOpen, try !store.reserve(entry.item, by: settings.annotator, session: settings.session, votesWanted: overlap) {
                interface.overtake()
                continue
            }
            return try store.candidates(of: entry.item)
        }
        return nil
    }

    /// On return the vote is on the disk, and the interface has gone on.
    func cast(_ vote: Vote, _ interface: inout LabelInterface) throws {
        let start = Date()
        try store.append(vote)
        longestWrite = max(longestWrite, Date().timeIntervalSince(start))
        if let target = vote.withdraws {
            if let undone = interface.session.votes.first(where: { $0.id == target }), undone.session == vote.session { counts[undone.outcome, default: 0] -= 1 }
        } else {
            counts[vote.outcome, default: 0] += 1
        }
        interface.didCast(vote)
    }

    /// Keeps an annotator's version of a completion, with who wrote it.
    /// - Returns: Its id; nil if it is the same, or empty.
    func keep(_ text: String, insteadOf completion: Int, _ interface: LabelInterface, _ candidates: Candidates) throws -> String? {
        guard let original = content(completion, interface, candidates), !text.allSatisfy(\.isWhitespace) else { return nil }
        let trimmed = text.hasSuffix("\n") && !Self.text(original).hasSuffix("\n") ? String(text.dropLast()) : text
        guard trimmed != Self.text(original), let edited = Self.replacing(original, trimmed) else { return nil }
        let id = try store.add(completion: edited, of: candidates.prompt)
        var generation = Generation(completion: id, model: "human:" + interface.session.settings.annotator, time: PreferenceStore.now())
        generation.run = interface.session.settings.session
        try store.add([generation])
        return id
    }

    func content(_ completion: Int, _ interface: LabelInterface, _ candidates: Candidates) -> StoredContent? {
        guard interface.session.shown.indices.contains(completion) else { return nil }
        return candidates.item.completions.firstIndex(of: interface.session.shown[completion]).map { candidates.completions[$0] }
    }

    /// What is edited: the text, or the last message's; nil of token ids.
    static func editable(_ content: StoredContent) -> String? { content.kind == .tokens ? nil : text(content) }

    private static func text(_ content: StoredContent) -> String {
        if case let .messages(messages)? = content.content { return messages.last?.content ?? "" }
        return content.text
    }

    private static func replacing(_ content: StoredContent, _ text: String) -> StoredContent? {
        switch content.content {
        case .tokens?, nil: return nil
        case .text?: return StoredContent(kind: content.kind, text: text)
        case let .messages(messages)?:
            guard var last = messages.last, var raw = last.raw.object else { return nil }
            raw["content"] = .string(text)
            last = Message(role: last.role, content: text, raw: .object(raw))
            return StoredContent(.messages(messages.dropLast() + [last]))
        }
    }

    func progress(_ session: LabelSession) -> LabelProgress {
        LabelProgress(done: session.done, wanted: session.wanted, votes: max(0, counts.values.reduce(0, +)), seconds: Date().timeIntervalSince(began))
    }
}

/// What a sitting came to.
struct LabelSummary {
    let session: LabelSession
    let sitting: LabelSitting

    init(_ session: LabelSession, _ sitting: LabelSitting) { (self.session, self.sitting) = (session, sitting) }

    private var votes: Int { sitting.counts.values.reduce(0, +) }

    var text: String {
        let words: [(Vote.Outcome, String)] = [(.first, "first"), (.second, "second"), (.tie, "tie"), (.bothBad, "both bad"), (.ranking, "ranking"), (.skip, "skipped")]
        let parts = words.compactMap { outcome, word in sitting.counts[outcome].flatMap { $0 > 0 ? "\(word) \($0)" : nil } }
        var text = "\(session.settings.annotator): \(votes) votes in this sitting" + (parts.isEmpty ? "" : " (\(parts.joined(separator: ", ")))")
        text += "; \(session.done) of \(session.wanted) items done\n"
        let gold = session.goldAccuracy
        if gold.of > 0 { text += "gold: \(gold.right) of \(gold.of) as known (\(100 * gold.right / gold.of) %)\n" }
        if votes > 0 { text += "train on the votes: align dpo --store \(sitting.store.path)\n" }
        return text
    }

    var json: JSON {
        let gold = session.goldAccuracy
        let outcomes = Vote.Outcome.allCases.compactMap { outcome in sitting.counts[outcome].map { (outcome.rawValue, JSON.integer($0)) } }
        return [
            "annotator": .string(session.settings.annotator), "session": .string(session.settings.session), "votes": .integer(votes),
            "outcomes": .object(JSONObject(outcomes)), "done": .integer(session.done), "wanted": .integer(session.wanted),
            "gold": ["right": .integer(gold.right), "of": .integer(gold.of)], "longest_write_seconds": .number(sitting.longestWrite),
        ]
    }
}
