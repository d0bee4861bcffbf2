import Serialization

/// Places in a text as the goldens count them: in Unicode scalars, where tokens cover whole ones.
struct ScalarOffsets {
    /// Scalars that begin before each byte, and at the end.
    private let before: [Int]
    private let utf8: [UInt8]

    init(_ text: String) {
        utf8 = Array(text.utf8)
        var before = [0]
        for byte in utf8 { before.append(before[before.count - 1] + (byte & 0xC0 == 0x80 ? 0 : 1)) }
        self.before = before
    }

    private func isInside(_ place: Int) -> Bool { place > 0 && place < utf8.count && utf8[place] & 0xC0 == 0x80 }

    /// Start and end of byte ranges, widened to whole scalars. What a normalizer puts before a text covers nothing of it; the
    /// reference counts it to the scalar that follows.
    func widened(_ ranges: [Range<Int>]) -> [[Int]] {
        ranges.map { range in
            var (start, end) = (range.lowerBound, range.upperBound)
            while isInside(start) { start -= 1 }
            while isInside(end) { end += 1 }
            if range.isEmpty, end < utf8.count { repeat { end += 1 } while isInside(end) }
            return [before[start], before[end]]
        }
    }
}

/// What a byte-level post-processor with `trim_offsets` does to offsets: white space at a token's ends is left out.
struct OffsetTrimming {
    /// Whether the first token's own space was put before the text rather than found in it.
    let addsPrefixSpace: Bool

    /// - Parameter json: `post_processor` of a tokenizer.json.
    init?(_ json: JSON?) {
        let steps = json?["processors"]?.array ?? [json ?? .null]
        let trims = steps.first { step in
            ["ByteLevel", "RobertaProcessing"].contains(step["type"]?.string ?? "") && step["trim_offsets"]?.bool ?? true
        }
        guard let trims else { return nil }
        addsPrefixSpace = trims["add_prefix_space"]?.bool ?? true
    }

    func apply(to offsets: inout [[Int]], tokens: [String]) {
        // U+0120 stands for the space in the printable alphabet; other stand-ins are no white space, added tokens are as written.
        func isSpace(_ scalar: UnicodeScalar) -> Bool { scalar == "\u{120}" || scalar.properties.isWhitespace }
        for i in offsets.indices {
            var (start, end) = (offsets[i][0], offsets[i][1])
            var leading = tokens[i].unicodeScalars.prefix(while: isSpace).count
            let trailing = tokens[i].unicodeScalars.reversed().prefix(while: isSpace).count
            if leading == 1, addsPrefixSpace, i == 0 || start == 0 { leading = 0 }
            start = min(start + leading, end)
            if trailing > 0, end >= trailing { end = max(end - trailing, start) }
            offsets[i] = [start, end]
        }
    }
}
