/// From text to tokens: added tokens, normalizers, words, merges.
struct TextPipeline: Sendable {
    let normalizers: [Normalizer]
    let preTokenizers: [PreTokenizer]
    /// Added tokens that are looked for in the text as it is, and those looked for in normalized text.
    let rawMatcher: AddedTokenMatcher
    let normalizedMatcher: AddedTokenMatcher
    let model: BytePairEncoding
    /// Whether a step inserts or replaces text after added tokens were found.
    private let rewritesWords: Bool
    private let onlyComposes: Bool
    private let sinks = TokenSinks()

    init(normalizers: [Normalizer], preTokenizers: [PreTokenizer], added: [AddedToken], model: BytePairEncoding) {
        self.normalizers = normalizers
        self.preTokenizers = preTokenizers
        self.model = model
        onlyComposes = normalizers == [.nfc]
        rewritesWords = preTokenizers.contains { if case .split = $0 { false } else { true } }
        let raw = added.filter { !$0.isNormalized }
        let normalized = added.filter(\.isNormalized)
        rawMatcher = AddedTokenMatcher(raw, contents: raw.map(\.content))
        normalizedMatcher = AddedTokenMatcher(
            normalized,
            contents: normalized.map { token in
                var text = AlignedText(token.content, base: 0, aligned: false)
                for normalizer in normalizers { normalizer.apply(to: &text) }
                return text.bytes
            })
    }

    /// The tokens of `text`.
    func ids(_ text: String) -> [Int32] {
        sinks.withSink { sink in
            encode(text, wantsRanges: false, into: &sink)
            return sink.ids.array()
        }
    }

    /// The tokens of `text`, with the bytes of the source each stands for.
    func idsWithRanges(_ text: String) -> [(id: Int32, range: Range<Int>)] {
        sinks.withSink { sink in
            encode(text, wantsRanges: true, into: &sink)
            return (0..<sink.ids.count).map { i in
                let range = sink.ranges[i]
                return (sink.ids[i], range.start..<max(range.start, range.end))
            }
        }
    }

    private func encode(_ text: String, wantsRanges: Bool, into sink: inout TokenSink) {
        sink.ids.removeAll()
        sink.ranges.removeAll()
        (sink.wantsRanges, sink.position) = (wantsRanges, 0)
        var text = text
        text.withUTF8 { bytes in
            let all = 0..<bytes.count
            if rawMatcher.isEmpty { return encodePart(bytes, all, into: &sink) }
            rawMatcher.split(bytes, all) { range, token in
                if let token {
                    sink.position = range.lowerBound
                    sink.append(token.id, bytes: range.count)
                } else {
                    encodePart(bytes, range, into: &sink)
                }
            }
        }
    }

    private func encodePart(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into sink: inout TokenSink) {
        let part = UnsafeBufferPointer(rebasing: bytes[range])
        let isUntouched = normalizers.isEmpty || (onlyComposes && CanonicalComposition.isSurelyComposed(part))
        if isUntouched && !rewritesWords { return encodeNormalized(bytes, range, into: &sink) }
        var text = AlignedText(part, base: range.lowerBound, aligned: sink.wantsRanges)
        for normalizer in normalizers { normalizer.apply(to: &text) }
        if !rewritesWords {
            let first = sink.ranges.count
            text.bytes.withUnsafeBufferPointer { encodeNormalized($0, 0..<$0.count, into: &sink) }
            align(&sink, from: first, to: text, base: range.lowerBound)
            return
        }
        let whole = text.bytes
        whole.withUnsafeBufferPointer { normalized in
            normalizedMatcher.split(normalized, 0..<normalized.count) { piece, token in
                let first = sink.ranges.count
                if let token {
                    sink.position = piece.lowerBound
                    sink.append(token.id, bytes: piece.count)
                    align(&sink, from: first, to: text, base: range.lowerBound)
                } else {
                    encodeRewritten(text, piece, isFirst: range.lowerBound + piece.lowerBound == 0, into: &sink)
                }
            }
        }
    }

    /// Words of normalized text that no pre-tokenizer rewrites.
    private func encodeNormalized(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into sink: inout TokenSink) {
        if normalizedMatcher.isEmpty { return encodeWords(bytes, range, into: &sink) }
        normalizedMatcher.split(bytes, range) { piece, token in
            if let token {
                sink.position = piece.lowerBound
                sink.append(token.id, bytes: piece.count)
            } else {
                encodeWords(bytes, piece, into: &sink)
            }
        }
    }

    /// - Precondition: All steps are splits.
    private func encodeWords(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into sink: inout TokenSink) {
        if preTokenizers.count == 1, case let .split(.words(words), .isolated, _) = preTokenizers[0] {
            return encode(words, in: range, of: bytes, into: &sink)
        }
        sink.pieces.removeAll(keepingCapacity: true)
        sink.pieces.append(range)
        for (index, step) in preTokenizers.enumerated() {
            guard case let .split(pattern, behaviour, inverted) = step else { continue }
            if index == preTokenizers.count - 1, case let .words(words) = pattern, behaviour == .isolated {
                // The last step's words are encoded as they are found.
                for i in 0..<sink.pieces.count { encode(words, in: sink.pieces[i], of: bytes, into: &sink) }
                return
            }
            sink.cut.removeAll(keepingCapacity: true)
            for piece in sink.pieces { PreTokenizer.split(pattern, behaviour, inverted: inverted, bytes, piece, into: &sink.cut) }
            swap(&sink.pieces, &sink.cut)
        }
        for i in 0..<sink.pieces.count { encode(sink.pieces[i], of: bytes, into: &sink) }
    }

    private func encode(_ words: SplitPattern, in range: Range<Int>, of bytes: UnsafeBufferPointer<UInt8>, into sink: inout TokenSink) {
        words.forEachWord(bytes, range) { start, end in
            sink.position = start
            model.encode(bytes, start, end, into: &sink)
        }
    }

    private func encode(_ word: Range<Int>, of bytes: UnsafeBufferPointer<UInt8>, into sink: inout TokenSink) {
        if word.isEmpty { return }
        func encode(_ start: Int, _ end: Int) {
            sink.position = start
            model.encode(bytes, start, end, into: &sink)
        }
        if model.cutsAtSpaces {
            BytePairEncoding.forEachPart(bytes, word.lowerBound, word.upperBound, encode)
        } else {
            encode(word.lowerBound, word.upperBound)
        }
    }

    /// Words where a step inserts or replaces text.
    private func encodeRewritten(_ whole: AlignedText, _ range: Range<Int>, isFirst: Bool, into sink: inout TokenSink) {
        var text = AlignedText(whole.bytes[range], base: 0, aligned: false)
        if whole.isAligned {
            text = AlignedText(whole.bytes[range], base: 0, aligned: true)
            text.starts = Array(whole.starts[range])
            text.ends = Array(whole.ends[range])
        }
        var words = [0..<text.bytes.count]
        for step in preTokenizers {
            switch step {
            case let .split(pattern, behaviour, inverted):
                var next: [Range<Int>] = []
                text.bytes.withUnsafeBufferPointer { bytes in
                    for word in words { PreTokenizer.split(pattern, behaviour, inverted: inverted, bytes, word, into: &next) }
                }
                words = next
            case .prefixSpace:
                words = prefix(&text, words) { _, start in start.first == 0x20 ? nil : [0x20] }
            case let .metaspace(replacement, prepends, splits):
                var separate: [Range<Int>] = []
                text.bytes.withUnsafeBufferPointer { bytes in
                    for word in words { PreTokenizer.split(.literal([0x20]), .isolated, inverted: false, bytes, word, into: &separate) }
                }
                // Replacing spaces moves every later word: the words are cut again at their own starts.
                let starts = Set(words.map(\.lowerBound))
                var (moved, edits): ([Range<Int>], [(range: Range<Int>, with: [UInt8])]) = ([], [])
                var shift = 0
                for piece in separate {
                    let isSpace = piece.count == 1 && text.bytes[piece.lowerBound] == 0x20
                    let begin = piece.lowerBound + shift
                    if isSpace {
                        edits.append((piece, replacement))
                        shift += replacement.count - 1
                    }
                    if starts.contains(piece.lowerBound) {
                        moved.append(begin..<(piece.upperBound + shift))
                    } else if let last = moved.popLast() {
                        moved.append(last.lowerBound..<(piece.upperBound + shift))
                    }
                }
                text.replace(edits)
                words = prefix(&text, moved) { index, start in
                    let wants = prepends == .always || (prepends == .first && index == 0 && isFirst)
                    return wants && !start.starts(with: replacement) ? replacement : nil
                }
                if splits {
                    var next: [Range<Int>] = []
                    text.bytes.withUnsafeBufferPointer { bytes in
                        for word in words {
                            PreTokenizer.split(.literal(replacement), .mergedWithNext, inverted: false, bytes, word, into: &next)
                        }
                    }
                    words = next
                }
            }
        }
        let first = sink.ranges.count
        text.bytes.withUnsafeBufferPointer { bytes in
            for word in words { encode(word, of: bytes, into: &sink) }
        }
        align(&sink, from: first, to: text, base: 0)
    }

    /// Puts text before words, and returns the words at their new places.
    private func prefix(
        _ text: inout AlignedText, _ words: [Range<Int>], _ prefix: (_ index: Int, _ word: ArraySlice<UInt8>) -> [UInt8]?
    ) -> [Range<Int>] {
        var (moved, edits): ([Range<Int>], [(range: Range<Int>, with: [UInt8])]) = ([], [])
        var shift = 0
        for (index, word) in words.enumerated() {
            let start = word.lowerBound + shift
            if !word.isEmpty, let added = prefix(index, text.bytes[word]) {
                edits.append((word.lowerBound..<word.lowerBound, added))
                shift += added.count
            }
            moved.append(start..<(word.upperBound + shift))
        }
        text.replace(edits)
        return moved
    }

    /// Turns ranges in rewritten text into ranges of the source.
    private func align(_ sink: inout TokenSink, from first: Int, to text: AlignedText, base: Int) {
        guard sink.wantsRanges else { return }
        for i in first..<sink.ranges.count {
            let range = sink.ranges[i]
            let start = range.start < text.starts.count ? text.starts[range.start] : text.ends.last ?? base
            let end = range.end > range.start ? text.ends[range.end - 1] : start
            sink.ranges[i] = TokenSink.ByteRange(start: start, end: end)
        }
    }
}
