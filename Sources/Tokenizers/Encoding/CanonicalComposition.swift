import Foundation

/// Canonical composition (Unicode Standard Annex 15, form C), which asks Foundation only about the few places where text may change.
enum CanonicalComposition {
    /// Whether a scalar is its own composed form, has combining class 0 and composes with nothing before it. Text of such scalars
    /// is composed, and before each of them text can be cut and composed in parts. Not all of them are listed: those that
    /// text is mostly made of.
    @inline(__always)
    static func isInert(_ value: UInt32) -> Bool {
        if value < 0x300 { return true }
        switch value {
        case 0x2002...0x20CF, 0x2100...0x2125, 0x212C...0x2328, 0x232B...0x2ADB, 0x2ADD...0x2BFF,  // punctuation, symbols
            0x3000...0x3029, 0x3030...0x3098, 0x309B...0xA66E, 0xAC00...0xD7A3, 0xE000...0xF8FF,  // Kana, Han, Hangul
            0x0375...0x037D, 0x0388...0x0482, 0x048A...0x052F, 0x05D0...0x05EA, 0x0620...0x064A, 0x0660...0x066F,
            0x0904...0x0939, 0x0E01...0x0E30, 0x1100...0x1112, 0x1E00...0x1EFF, 0xFB50...0xFE1F, 0xFF01...0xFFFD,
            0x1F000...0x1FBFF, 0x20000...0x2F7FF:
            return true
        default: return false
        }
    }

    /// The first scalar at or after `start` that is not inert, or the end. Bytes are valid UTF-8.
    private static func firstRestless(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        guard let base = UnsafeRawPointer(bytes.baseAddress) else { return 0 }
        var i = start
        while i < bytes.count {
            if bytes[i] < 0xCC {  // a scalar below U+0300, or a later byte of one
                i += 1
                while i + 8 <= bytes.count, base.loadUnaligned(fromByteOffset: i, as: UInt64.self) & 0x8080_8080_8080_8080 == 0 { i += 8 }
            } else {
                let (value, next) = UTF8Scan.scalar(bytes, i)
                if !isInert(value) { return i }
                i = next
            }
        }
        return i
    }

    /// Whether composing surely changes nothing.
    static func isSurelyComposed(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool { firstRestless(bytes, from: 0) == bytes.count }

    /// What to replace in valid UTF-8 to compose it: parts that change, in order.
    /// - Parameter byClusters: Cut parts as small as grapheme clusters, within which scalars compose.
    static func edits(_ bytes: UnsafeBufferPointer<UInt8>, byClusters: Bool) -> [(range: Range<Int>, with: [UInt8])] {
        var edits: [(range: Range<Int>, with: [UInt8])] = []
        var i = 0
        while true {
            let restless = firstRestless(bytes, from: i)
            if restless == bytes.count { return edits }
            let start = restless > i ? UTF8Scan.before(bytes, restless) : restless
            var end = restless
            var count = 1
            while end < bytes.count {
                let (value, next) = UTF8Scan.scalar(bytes, end)
                if isInert(value) { break }
                (end, count) = (next, count + 1)
            }
            let part = UnsafeBufferPointer(rebasing: bytes[start..<end])
            let composed = count <= longRun ? Array(foundation(part)) : composeLongRun(part)
            if !composed.elementsEqual(part) {
                let local = byClusters && count <= longRun ? clusterEdits(part, composed) : [(0..<part.count, composed)]
                edits += local.map { ((start + $0.range.lowerBound)..<(start + $0.range.upperBound), $0.with) }
            }
            i = end
        }
    }

    private static func foundation(_ bytes: UnsafeBufferPointer<UInt8>) -> String.UTF8View {
        String(decoding: bytes, as: UTF8.self).precomposedStringWithCanonicalMapping.utf8
    }

    private static func clusterEdits(_ part: UnsafeBufferPointer<UInt8>, _ composed: [UInt8]) -> [(range: Range<Int>, with: [UInt8])] {
        var edits: [(range: Range<Int>, with: [UInt8])] = []
        var joined: [UInt8] = []
        var i = 0
        for cluster in String(decoding: part, as: UTF8.self) {
            let length = cluster.utf8.count
            let new = Array(String(cluster).precomposedStringWithCanonicalMapping.utf8)
            if !new.elementsEqual(cluster.utf8) { edits.append((i..<(i + length), new)) }
            joined += new
            i += length
        }
        return joined == composed ? edits : [(0..<part.count, composed)]
    }

    /// Runs of more scalars than this are composed here: Foundation's time grows with the square of a run of marks.
    static let longRun = 64

    /// Composes in O(n log n), by the algorithm of the standard, with Foundation's word on single scalars and on pairs.
    static func composeLongRun(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var decompositions: [Unicode.Scalar: [Unicode.Scalar]] = [:]
        var scalars: [(value: Unicode.Scalar, order: UInt8)] = []
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            let parts = decompositions[scalar] ?? Array(String(scalar).decomposedStringWithCanonicalMapping.unicodeScalars)
            decompositions[scalar] = parts
            for part in parts { scalars.append((part, part.properties.canonicalCombiningClass.rawValue)) }
        }
        var i = 0
        while i < scalars.count {  // marks between two starters in the order of their classes, equals as they came
            var end = i
            while end < scalars.count, scalars[end].order != 0 { end += 1 }
            if end - i > 1 {
                let sorted = scalars[i..<end].enumerated().sorted { ($0.element.order, $0.offset) < ($1.element.order, $1.offset) }
                for (k, mark) in sorted.enumerated() { scalars[i + k] = mark.element }
            }
            i = end + 1
        }
        var pairs: [[Unicode.Scalar]: Unicode.Scalar?] = [:]
        func pair(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
            if let known = pairs[[first, second]] { return known }
            var text = String.UnicodeScalarView()
            text.append(contentsOf: [first, second])
            let composed = String(text).precomposedStringWithCanonicalMapping.unicodeScalars
            let result = composed.count == 1 ? composed.first : nil
            pairs[[first, second]] = .some(result)
            return result
        }
        var result = String.UnicodeScalarView()
        var starter: Unicode.Scalar?
        var marks: [Unicode.Scalar] = []  // after the starter
        var last: UInt8 = 0  // class of the last of them
        func flush() {
            if let starter { result.append(starter) }
            result.append(contentsOf: marks)
            marks.removeAll(keepingCapacity: true)
        }
        for (scalar, order) in scalars {
            if let first = starter, marks.isEmpty || last < order, let composed = pair(first, scalar) {
                starter = composed
            } else if order == 0 {
                flush()
                starter = scalar
            } else {
                marks.append(scalar)
                last = order
            }
        }
        flush()
        return Array(String(result).utf8)
    }
}
