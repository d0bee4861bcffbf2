import Foundation

@testable import Tokenizers

/// Draws that follow from a seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: Int) { state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

/// Encoding by its definition: slow, short, and sharing nothing with the encoder but the data.
enum ReferenceEncoding {
    /// The matches of a pattern, by Foundation's regular expressions.
    static func words(_ pattern: SplitPattern, _ text: String) throws -> [String] {
        let source = text as NSString
        let matches = try NSRegularExpression(pattern: pattern.regex).matches(in: text, range: NSRange(location: 0, length: source.length))
        return matches.map { source.substring(with: $0.range) }
    }

    /// Joins the pair of the lowest rank, the leftmost among equals, until no pair is left that merges.
    static func merge(_ symbols: [Int32], _ merges: [[Int32]: (rank: Int, id: Int32)]) -> [Int32] {
        var symbols = symbols
        while true {
            var best: (place: Int, rank: Int, id: Int32)?
            for place in 0..<max(symbols.count - 1, 0) {
                guard let found = merges[[symbols[place], symbols[place + 1]]], found.rank < best?.rank ?? .max else { continue }
                best = (place, found.rank, found.id)
            }
            guard let best else { return symbols }
            symbols[best.place] = best.id
            symbols.remove(at: best.place + 1)
        }
    }

    /// A byte-level tokenizer whose only pre-tokenizer is `pattern`, without added tokens in the text.
    static func encode(_ text: String, _ tokenizer: Tokenizer, _ pattern: SplitPattern) throws -> [Int32] {
        let merges = self.merges(of: tokenizer)
        let bytes = ByteAlphabet.scalars.map { tokenizer.id(of: String(Unicode.Scalar($0)!))! }
        return try words(pattern, text).flatMap { merge($0.utf8.map { bytes[Int($0)] }, merges) }
    }

    static func merges(of tokenizer: Tokenizer) -> [[Int32]: (rank: Int, id: Int32)] {
        var result: [[Int32]: (rank: Int, id: Int32)] = [:]
        for (rank, pair) in tokenizer.definition.merges.enumerated() {
            let joined = tokenizer.token(pair.left)! + tokenizer.token(pair.right)!
            result[[pair.left, pair.right]] = (rank, tokenizer.id(of: joined)!)
        }
        return result
    }
}

/// Texts that put every rule of the patterns to work.
enum RandomText {
    /// Letters, digits and signs of several scripts, marks, spaces, line ends, quotes and what contractions are made of. All are
    /// so old that every version of Unicode classes them alike; U+000B and U+0085 are left out, which ICU's `\s` leaves out too.
    private static let palette: [String] =
        ["a", "b", "h", "e", "l", "o", "w", "x", "Z", "Q", "é", "ß", "ǅ", "Я", "ж", "中", "文", "の", "ʰ", "ª", "א"]
        + ["0", "1", "7", "²", "½", "٣", "Ⅷ"] + ["\u{301}", "\u{327}", "\u{93F}"] + ["!", ".", "/", "-", "_", "—", "€", "🙂", "\u{200D}", "\u{FFFD}"]
        + [" ", " ", " ", "  ", "\t", "\n", "\r", "\r\n", "\u{A0}", "\u{3000}", "\u{2028}"]
        + ["'", "'s", "'S", "'ll", "'LL", "'Re", "'ve", "'d", "'m", "'t", "'ſ", "’s"]

    /// From the palette, with runs, or from random bytes, whose faults become U+FFFD.
    static func make(_ length: Int, _ generator: inout SeededGenerator) -> String {
        if Int.random(in: 0..<8, using: &generator) == 0 {
            return String(decoding: (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }.filter { $0 != 0x0B && $0 != 0x85 }, as: UTF8.self)
                .replacingOccurrences(of: "[\u{1C}-\u{1F}\u{80}-\u{9F}\u{200}-\u{10FFFF}]", with: "\u{FFFD}", options: .regularExpression)
        }
        var text = ""
        while text.utf8.count < length {
            let part = palette.randomElement(using: &generator)!
            text.unicodeScalars.append(contentsOf: String(repeating: part, count: Int.random(in: 0..<6, using: &generator) == 0 ? Int.random(in: 1..<40, using: &generator) : 1).unicodeScalars)
        }
        return text
    }
}
