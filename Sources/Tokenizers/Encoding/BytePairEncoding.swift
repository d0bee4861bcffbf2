/// Byte-pair encoding of one word: its symbols, merged in the order of their ranks, leftmost first among equals.
///
/// Source: Sennrich et al. 2016, algorithm 1, with the tie rule and the unknown-symbol rules of Hugging Face `tokenizers`.
final class BytePairEncoding: Sendable {
    /// What a word is cut into before the first merge.
    enum Symbols: Sendable {
        /// Bytes, each with its own token (GPT-2).
        case bytes
        /// Unicode scalars; one without a token becomes its bytes' tokens (if there are all), else the unknown token.
        case scalars(byteFallback: Bool, unknown: Int32?, fusesUnknown: Bool)
    }

    let symbols: Symbols
    /// Tokens by the bytes of text they stand for.
    let table: TokenTable
    let merges: MergeTable
    let ignoresMerges: Bool
    /// The token of each single byte, or of `<0xNN>` for byte fallback; -1 where there is none.
    let byteIDs: FixedArray<Int32>
    /// Whether a token stands for the bytes that the table has for it, wherever it is used: then ranges follow from ids.
    private let hasFixedLengths: Bool
    /// Whether no merge joins a "▁" to another scalar before it. Then a long text of SentencePiece, which is one word, can be cut
    /// before each "▁" that follows something else: its parts merge as they would together, and the cache knows most of them.
    let cutsAtSpaces: Bool
    private let whole: WholeWords
    private static let space = Array("▁".utf8)

    init(symbols: Symbols, table: TokenTable, merges: MergeTable, ignoresMerges: Bool, byteIDs: [Int32], count: Int) {
        precondition(byteIDs.count == 256, "\(byteIDs.count) byte tokens, 256 are needed")
        self.symbols = symbols
        self.table = table
        self.merges = merges
        self.ignoresMerges = ignoresMerges
        self.byteIDs = FixedArray(byteIDs)
        whole = WholeWords(count: count)
        if case .bytes = symbols {
            hasFixedLengths = (0...255).allSatisfy { table.find([UInt8($0)]) == byteIDs[$0] }
        } else {
            hasFixedLengths = false
        }
        // Unknown scalars may fuse, so "▁" has to be a known one; and a word that is looked up whole must stay whole.
        if case .scalars = symbols, !ignoresMerges, table.find(BytePairEncoding.space) != nil {
            cutsAtSpaces = merges.results.allSatisfy { id in
                var end = 0
                BytePairEncoding.forEachPart(table.bytes(id), 0, table.length(id)) { end = $1 - $0 }
                return end == table.length(id)  // one part
            }
        } else {
            cutsAtSpaces = false
        }
    }

    /// Gives the start and end of each part of a text that is cut before each "▁" that follows something else.
    @inline(__always)
    static func forEachPart(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int, _ body: (_ start: Int, _ end: Int) -> Void) {
        var (first, i, isAfterSpace) = (start, start, true)
        while i < end {
            let isSpace = text[i] == 0xE2 && i &+ 3 <= end && text[i &+ 1] == 0x96 && text[i &+ 2] == 0x81
            if isSpace && !isAfterSpace {
                body(first, i)
                first = i
            }
            isAfterSpace = isSpace
            i &+= isSpace ? 3 : 1
        }
        if first < end { body(first, end) }
    }

    /// Appends the tokens of the word from `start` up to `end`, which is not empty.
    @inline(__always)
    func encode(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int, into out: inout TokenSink) {
        guard end &- start <= WordCache.longest, let base = text.baseAddress, !out.wantsRanges || hasFixedLengths else {
            return encodeUncached(UnsafeBufferPointer(rebasing: text[start..<end]), into: &out)
        }
        let key = WordCache.Key(base, start, count: end &- start, limit: text.count)
        let place = out.cache.place(key)
        guard place.pointee.key == key else {
            return encodeNew(UnsafeBufferPointer(rebasing: text[start..<end]), key, into: &out)
        }
        let ids = place.pointee.ids
        appendKnown(ids[0], into: &out)
        var i = 1
        while i < WordCache.mostTokens, ids[i] >= 0 {
            appendKnown(ids[i], into: &out)
            i &+= 1
        }
    }

    @inline(__always)
    private func appendKnown(_ id: Int32, into out: inout TokenSink) {
        out.append(id, bytes: out.wantsRanges ? table.length(id) : 0)
    }

    /// Encodes a word that the cache does not hold, and puts it there.
    @inline(never)
    private func encodeNew(_ word: UnsafeBufferPointer<UInt8>, _ key: WordCache.Key, into out: inout TokenSink) {
        let start = out.ids.count
        encodeUncached(word, into: &out)
        let count = out.ids.count - start
        guard count > 0 && count <= WordCache.mostTokens else { return }
        var ids = SIMD4<Int32>(repeating: -1)
        for i in 0..<count { ids[i] = out.ids[start + i] }
        out.cache.place(key).pointee = WordCache.Place(key: key, ids: ids)
    }

    /// Appends the tokens of `word`: its own token if it has one that the merges reach, else what the merges make of it.
    @inline(never)
    func encodeUncached(_ word: UnsafeBufferPointer<UInt8>, into out: inout TokenSink) {
        guard word.count > 0 else { return }
        guard let id = table.find(word, hash: TokenTable.hash(word)) else { return merge(word, into: &out) }
        if ignoresMerges || whole[id] == .yes { return out.append(id, bytes: word.count) }
        let start = out.ids.count
        merge(word, into: &out)
        if whole[id] == .unknown { whole[id] = out.ids.count == start + 1 && out.ids[start] == id ? .yes : .no }
    }

    private func merge(_ word: UnsafeBufferPointer<UInt8>, into out: inout TokenSink) {
        out.merging.symbols.removeAll()
        split(word, into: &out.merging.symbols)
        out.merging.merge(by: merges)
        for i in 0..<out.merging.symbols.count {
            let symbol = out.merging.symbols[i]
            out.append(symbol.id, bytes: Int(symbol.bytes), skipping: Int(symbol.skipped))
        }
    }

    private func split(_ word: UnsafeBufferPointer<UInt8>, into result: inout GrowingBuffer<Symbol>) {
        var skipped: UInt32 = 0  // bytes that no token stands for
        switch symbols {
        case .bytes:
            for byte in word {
                let id = byteIDs[Int(byte)]
                if id >= 0 { result.append(Symbol(id: id, bytes: 1, skipped: skipped)); skipped = 0 } else { skipped += 1 }
            }
        case let .scalars(byteFallback, unknown, fusesUnknown):
            var previousIsUnknown = false
            var i = 0
            while i < word.count {
                let length = UTF8Scan.length(word[i])
                let scalar = UnsafeBufferPointer(rebasing: word[i..<(i + length)])
                i += length
                if let id = table.find(scalar, hash: TokenTable.hash(scalar)) {
                    result.append(Symbol(id: id, bytes: UInt32(length), skipped: skipped))
                    (skipped, previousIsUnknown) = (0, false)
                } else if byteFallback && scalar.allSatisfy({ byteIDs[Int($0)] >= 0 }) {
                    for byte in scalar { result.append(Symbol(id: byteIDs[Int(byte)], bytes: 1, skipped: skipped)); skipped = 0 }
                    previousIsUnknown = false
                } else if let unknown {
                    if previousIsUnknown && fusesUnknown {
                        result[result.count - 1].bytes += UInt32(length)
                    } else {
                        result.append(Symbol(id: unknown, bytes: UInt32(length), skipped: skipped))
                        skipped = 0
                    }
                    previousIsUnknown = true
                } else {
                    skipped += UInt32(length)
                }
            }
        }
    }
}
