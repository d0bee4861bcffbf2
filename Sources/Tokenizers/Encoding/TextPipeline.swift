/// From text to tokens: added tokens, normalizers, words, merges.
struct TextPipeline: Sendable {
    var normalizers: [Normalizer]
    var preTokenizers: [PreTokenizer]
    /// Added tokens that are looked for in the text as it is, and those looked for in normalized text.
    var rawMatcher: AddedTokenMatcher
    var normalizedMatcher: AddedTokenMatcher
    var model: BytePairEncoding

    init(normalizers: [Normalizer], preTokenizers: [PreTokenizer], added: [AddedToken], model: BytePairEncoding) {
        self.normalizers = normalizers
        self.preTokenizers = preTokenizers
        self.model = model
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

    /// The tokens of `text`, with the bytes of the source each stands for if `wantsRanges`.
    func encode(_ text: String, wantsRanges: Bool) -> TokenSink {
        var sink = TokenSink(wantsRanges: wantsRanges)
        var text = text
        text.withUTF8 { bytes in
            let all = 0..<bytes.count
            if rawMatcher.isEmpty {
                encodePart(bytes, all, into: &sink)
            } else {
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
        return sink
    }

    private var rewritesWords: Bool {
        preTokenizers.contains { if case .split = $0 { false } else { true } }
    }

    private func encodePart(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into sink: inout TokenSink) {
        let part = UnsafeBufferPointer(rebasing: bytes[range])
        let isUntouched = normalizers.isEmpty || (normalizers == [.nfc] && Normalizer.isSurelyComposed(part))
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

    private func encodeWords(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into sink: inout TokenSink) {
        var words = [range]
        var next: [Range<Int>] = []
        for step in preTokenizers {
            guard case let .split(pattern, behaviour, inverted) = step else { continue }
            next.removeAll(keepingCapacity: true)
            for word in words { PreTokenizer.split(pattern, behaviour, inverted: inverted, bytes, word, into: &next) }
            swap(&words, &next)
        }
        encode(words, of: bytes, into: &sink)
    }

    private func encode(_ words: [Range<Int>], of bytes: UnsafeBufferPointer<UInt8>, into sink: inout TokenSink) {
        for word in words {
            sink.position = word.lowerBound
            model.encode(UnsafeBufferPointer(rebasing: bytes[word]), into: &sink)
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
        text.bytes.withUnsafeBufferPointer { encode(words, of: $0, into: &sink) }
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
            sink.ranges[i] = (start, end)
        }
    }
}
