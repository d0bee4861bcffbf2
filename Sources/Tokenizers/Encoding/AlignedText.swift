/// Text that a normalizer has rewritten, with the bytes of the source from which each of its bytes came.
struct AlignedText: Sendable {
    var bytes: [UInt8]
    /// First source byte of each byte, and the source byte after the last of the part it came from; empty if not wanted.
    var starts: [Int]
    var ends: [Int]
    let isAligned: Bool

    /// - Parameter base: Where `source` starts in the whole text.
    init(_ source: some Collection<UInt8>, base: Int, aligned: Bool) {
        bytes = Array(source)
        isAligned = aligned
        starts = []
        ends = []
        guard aligned else { return }
        var i = 0
        while i < bytes.count {
            let length = UTF8Scan.length(bytes[i])
            for _ in 0..<length {
                starts.append(base + i)
                ends.append(base + i + length)
            }
            i += length
        }
    }

    /// Replaces parts (in order, not overlapping) by other bytes, which are then aligned to the whole part.
    mutating func replace(_ edits: [(range: Range<Int>, with: [UInt8])]) {
        guard !edits.isEmpty else { return }
        var result = bytes
        var (newStarts, newEnds): ([Int], [Int]) = ([], [])
        result.removeAll(keepingCapacity: true)
        var last = 0
        for edit in edits {
            result += bytes[last..<edit.range.lowerBound]
            result += edit.with
            if isAligned {
                newStarts += starts[last..<edit.range.lowerBound]
                newEnds += ends[last..<edit.range.lowerBound]
                let start = edit.range.lowerBound < starts.count ? starts[edit.range.lowerBound] : ends.last ?? 0
                let end = edit.range.isEmpty ? start : ends[edit.range.upperBound - 1]
                newStarts += repeatElement(start, count: edit.with.count)
                newEnds += repeatElement(end, count: edit.with.count)
            }
            last = edit.range.upperBound
        }
        result += bytes[last...]
        if isAligned {
            newStarts += starts[last...]
            newEnds += ends[last...]
        }
        (bytes, starts, ends) = (result, newStarts, newEnds)
    }
}

/// What is done to text before it is cut into words.
enum Normalizer: Sendable, Equatable {
    case nfc
    case prepend([UInt8])
    case replace([UInt8], with: [UInt8])

    func apply(to text: inout AlignedText) {
        switch self {
        case .nfc: Normalizer.compose(&text)
        case let .prepend(prefix):
            if !text.bytes.isEmpty { text.replace([(0..<0, prefix)]) }
        case let .replace(pattern, content):
            guard text.isAligned else { text.bytes = TokenDecoder.replaced(text.bytes, pattern, content); return }
            var edits: [(Range<Int>, [UInt8])] = []
            var i = 0
            while i + pattern.count <= text.bytes.count {
                if text.bytes[i] == pattern[0], text.bytes[i..<(i + pattern.count)].elementsEqual(pattern) {
                    edits.append((i..<(i + pattern.count), content))
                    i += pattern.count
                } else {
                    i += 1
                }
            }
            text.replace(edits)
        }
    }

    private static func compose(_ text: inout AlignedText) {
        let aligned = text.isAligned
        text.replace(text.bytes.withUnsafeBufferPointer { CanonicalComposition.edits($0, byClusters: aligned) })
    }
}
