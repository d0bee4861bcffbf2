/// Turns ids into text as they come, never cutting a character: bytes of an unfinished one wait for the next token.
///
/// The pieces joined are what `Tokenizer.decode` gives, except that SentencePiece tokenizers write a run of byte tokens that is
/// not valid UTF-8 as one U+FFFD for each byte, and this decoder as one for each maximal invalid part.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecialTokens: Bool
    private var pending: [UInt8] = []
    private var isFirst = true
    /// Copies of a leading text that are still to be dropped (the space that SentencePiece puts before a text).
    private var leading: (text: [UInt8], count: Int)

    /// - Parameter skipSpecialTokens: Special tokens give no text.
    public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool = true) {
        self.tokenizer = tokenizer
        skipsSpecialTokens = skipSpecialTokens
        leading = ([], 0)
        for case let .strip(text, start, _) in tokenizer.definition.decoder { leading = (text, start) }
    }

    /// The text that `id` completes; empty while a character is unfinished.
    public mutating func append(_ id: Int32) -> String {
        guard tokenizer.token(id) != nil, !(skipsSpecialTokens && tokenizer.isSpecial(id)) else { return "" }
        pending += bytes(of: id)
        isFirst = false
        while leading.count > 0 && !pending.isEmpty {
            if pending.starts(with: leading.text) {
                pending.removeFirst(leading.text.count)
                leading.count -= 1
            } else if leading.text.starts(with: pending) {
                return ""
            } else {
                leading.count = 0
            }
        }
        let complete = pending.count - StreamingDecoder.unfinished(pending)
        defer { pending.removeFirst(complete) }
        return String(decoding: pending[..<complete], as: UTF8.self)
    }

    /// What is left when no more ids come: U+FFFD for a character that stays unfinished, otherwise nothing.
    public mutating func finish() -> String {
        defer { pending = [] }
        return String(decoding: pending, as: UTF8.self)
    }

    private func bytes(of id: Int32) -> [UInt8] {
        var piece = Array(tokenizer.pieces.bytes(id))
        let steps = tokenizer.definition.decoder
        if steps.isEmpty { return isFirst ? piece : [0x20] + piece }
        for step in steps {
            switch step {
            case let .replace(pattern, content): piece = TokenDecoder.replaced(piece, pattern, content)
            case let .metaspace(content, prepends): piece = TokenDecoder.replaced(piece, content, isFirst && prepends ? [] : [0x20])
            case .byteFallback: if let byte = TokenDecoder.byte(of: piece) { return [byte] }
            case .byteLevel, .fuse, .strip: break
            }
        }
        return piece
    }

    /// How many bytes at the end begin a character that more bytes may complete (Unicode, table 3-7).
    static func unfinished(_ bytes: [UInt8]) -> Int {
        for length in 1...3 where length <= bytes.count {
            let lead = bytes[bytes.count - length]
            if lead & 0xC0 == 0x80 { continue }
            let needed = (0xC2...0xDF).contains(lead) ? 2 : (0xE0...0xEF).contains(lead) ? 3 : (0xF0...0xF4).contains(lead) ? 4 : 1
            guard length < needed else { return 0 }
            if length == 1 { return 1 }
            let second = bytes[bytes.count - length + 1]
            let allowed: ClosedRange<UInt8> =
                switch lead {
                case 0xE0: 0xA0...0xBF
                case 0xED: 0x80...0x9F
                case 0xF0: 0x90...0xBF
                case 0xF4: 0x80...0x8F
                default: 0x80...0xBF
                }
            return allowed.contains(second) ? length : 0
        }
        return 0
    }
}
