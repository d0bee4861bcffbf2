/// A dialogue in one string, as HH-RLHF has it: "\n\nHuman: …\n\nAssistant: …".
///
/// The white space before the first turn may be missing (mirrors cut it); that around each turn's text is not part of the text.
struct Transcript {
    struct Turn {
        var message: Message
        /// Where the turn's text begins in the transcript: after the colon, in bytes.
        var start: Int
    }

    let text: String
    let turns: [Turn]

    private static let markers: [(name: [UInt8], role: String)] = [(Array("Human:".utf8), "user"), (Array("Assistant:".utf8), "assistant")]

    /// Nil if the text does not begin with a human turn.
    init?(_ text: String) {
        let bytes = Array(text.utf8)
        var starts: [(role: String, from: Int, text: Int)] = []
        var i = 0
        while i < bytes.count, bytes[i] == 0x0A || bytes[i] == 0x20 || bytes[i] == 0x0D || bytes[i] == 0x09 { i += 1 }
        while i < bytes.count {
            let isTurnStart = starts.isEmpty || (i >= 2 && bytes[i - 1] == 0x0A && bytes[i - 2] == 0x0A)
            if isTurnStart, let marker = Self.markers.first(where: { bytes[i...].starts(with: $0.name) }) {
                starts.append((marker.role, i, i + marker.name.count))
                i += marker.name.count
            } else if starts.isEmpty {
                return nil
            } else {
                i += 1
            }
        }
        guard starts.first?.role == "user" else { return nil }
        self.text = text
        turns = starts.indices.map { turn in
            let end = turn + 1 < starts.count ? starts[turn + 1].from : bytes.count
            let content = String(decoding: bytes[starts[turn].text..<end], as: UTF8.self)
            return Turn(message: Message(role: starts[turn].role, content: trimmed(content)), start: starts[turn].text)
        }
    }
}

/// Text without white space at its ends.
private func trimmed(_ text: String) -> String {
    let start = text.drop(while: \.isWhitespace)
    guard let end = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(start[...end])
}

/// What two dialogues have in common.
enum CommonPrefix {
    /// How many first messages are the same, so that each dialogue keeps at least one.
    static func count(_ a: [Message], _ b: [Message]) -> Int {
        let longest = min(a.count, b.count) - 1
        var shared = 0
        while shared < longest, a[shared].isSame(as: b[shared]) { shared += 1 }
        return shared
    }

    /// The bytes that both texts begin with, at most `limit`, cut back to the end of a character.
    static func bytes(_ a: String, _ b: String, limit: Int) -> Int {
        let (first, second) = (Array(a.utf8), Array(b.utf8))
        let longest = min(first.count, second.count, limit)
        var shared = 0
        while shared < longest, first[shared] == second[shared] { shared += 1 }
        func isInside(_ bytes: [UInt8]) -> Bool { shared < bytes.count && bytes[shared] & 0xC0 == 0x80 }
        while shared > 0, isInside(first) || isInside(second) { shared -= 1 }
        return shared
    }

    /// The text that both begin with, cut back to the last white space, which stays with the completions:
    /// tokenizers take the space before a word into the word's token.
    static func text(_ a: String, _ b: String) -> String {
        let shared = Array(a.utf8.prefix(bytes(a, b, limit: .max)))
        guard let space = shared.lastIndex(where: { $0 == 0x20 || $0 == 0x0A || $0 == 0x09 || $0 == 0x0D }) else { return "" }
        return String(decoding: shared[..<space], as: UTF8.self)
    }
}

/// `text` cut at a byte offset that is the end of a character.
func split(_ text: String, at byte: Int) -> (String, String) {
    let bytes = Array(text.utf8)
    return (String(decoding: bytes[..<byte], as: UTF8.self), String(decoding: bytes[byte...], as: UTF8.self))
}
