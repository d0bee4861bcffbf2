import Synchronization

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
    let byteIDs: [Int32]
    private let whole: WholeWords
    private let cache = WordCache()

    init(symbols: Symbols, table: TokenTable, merges: MergeTable, ignoresMerges: Bool, byteIDs: [Int32], count: Int) {
        precondition(byteIDs.count == 256, "\(byteIDs.count) byte tokens, 256 are needed")
        self.symbols = symbols
        self.table = table
        self.merges = merges
        self.ignoresMerges = ignoresMerges
        self.byteIDs = byteIDs
        whole = WholeWords(count: count)
    }

    /// Words at least this long are not cached, and merged with a heap instead of by scanning.
    static let longWord = 32

    /// Appends the tokens of `word`.
    func encode(_ word: UnsafeBufferPointer<UInt8>, into out: inout TokenSink) {
        guard word.count > 0 else { return }
        let hash = TokenTable.hash(word)
        if let id = table.find(word, hash: hash) {
            if ignoresMerges { return out.append(id, bytes: word.count) }
            switch whole[id] {
            case .yes: return out.append(id, bytes: word.count)
            case .no: break
            case .unknown:
                let start = out.ids.count
                merge(word, into: &out)
                whole[id] = out.ids.count == start + 1 && out.ids[start] == id ? .yes : .no
                return
            }
        }
        guard word.count < BytePairEncoding.longWord else { return merge(word, into: &out) }
        if cache.append(word, hash: hash, into: &out) { return }
        let start = out.ids.count
        merge(word, into: &out)
        cache.insert(word, hash: hash, from: out, start: start)
    }

    private func merge(_ word: UnsafeBufferPointer<UInt8>, into out: inout TokenSink) {
        out.symbols.removeAll(keepingCapacity: true)
        split(word, into: &out.symbols)
        if out.symbols.count < BytePairEncoding.longWord { mergeByScanning(&out.symbols) } else { mergeByHeap(&out.symbols) }
        for symbol in out.symbols { out.append(symbol.id, bytes: Int(symbol.bytes), skipping: Int(symbol.skipped)) }
    }

    private func split(_ word: UnsafeBufferPointer<UInt8>, into result: inout [Symbol]) {
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

    /// For short words: the best pair is looked for again after each merge; ranks of pairs are kept beside them.
    private func mergeByScanning(_ symbols: inout [Symbol]) {
        guard symbols.count > 1 else { return }
        let none = UInt64.max
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: symbols.count) { best in
            // rank in the high half, merged id in the low half: the smallest is the next merge
            func pair(_ left: Int32, _ right: Int32) -> UInt64 {
                guard let merge = merges.find(left, right) else { return none }
                return UInt64(merge.rank) << 32 | UInt64(UInt32(bitPattern: merge.id))
            }
            symbols.withUnsafeMutableBufferPointer { symbols in
                var count = symbols.count
                for i in 0..<(count - 1) { best.initializeElement(at: i, to: pair(symbols[i].id, symbols[i + 1].id)) }
                best.initializeElement(at: count - 1, to: none)
                while true {
                    var place = 0
                    var smallest = none
                    for i in 0..<(count - 1) where best[i] < smallest { (smallest, place) = (best[i], i) }
                    if smallest == none { break }
                    symbols[place].id = Int32(truncatingIfNeeded: smallest)
                    symbols[place].bytes += symbols[place + 1].bytes + symbols[place + 1].skipped
                    count -= 1
                    for i in (place + 1)..<max(count, place + 1) {
                        symbols[i] = symbols[i + 1]
                        best[i] = best[i + 1]
                    }
                    best[place] = place + 1 < count ? pair(symbols[place].id, symbols[place + 1].id) : none
                    if place > 0 { best[place - 1] = pair(symbols[place - 1].id, symbols[place].id) }
                }
                for i in count..<symbols.count { symbols[i].bytes = 0 }
            }
        }
        while let last = symbols.last, last.bytes == 0 { symbols.removeLast() }
    }

    /// For long words: a heap of candidate merges over a linked list of symbols, O(n log n).
    private func mergeByHeap(_ symbols: inout [Symbol]) {
        var next = (0..<symbols.count).map { $0 + 1 < symbols.count ? Int32($0 + 1) : -1 }
        var previous = (0..<symbols.count).map { Int32($0) - 1 }
        var heap = MergeHeap()
        func candidate(_ place: Int) -> MergeHeap.Item? {
            guard next[place] >= 0, let merge = merges.find(symbols[place].id, symbols[Int(next[place])].id) else { return nil }
            return MergeHeap.Item(order: UInt64(merge.rank) << 32 | UInt64(UInt32(place)), id: merge.id)
        }
        heap.fill((0..<symbols.count).compactMap(candidate))
        while let item = heap.pop() {
            let place = Int(UInt32(truncatingIfNeeded: item.order))
            // A symbol of no bytes was merged into its left neighbour; another id means that the pair has changed.
            guard symbols[place].bytes > 0, let now = candidate(place), now.id == item.id else { continue }
            let right = Int(next[place])
            symbols[place].id = item.id
            symbols[place].bytes += symbols[right].bytes + symbols[right].skipped
            symbols[right].bytes = 0
            next[place] = next[right]
            if next[right] >= 0 { previous[Int(next[right])] = Int32(place) }
            if let new = candidate(place) { heap.push(new) }
            if previous[place] >= 0, let new = candidate(Int(previous[place])) { heap.push(new) }
        }
        symbols.removeAll { $0.bytes == 0 }
    }
}

/// One symbol of a word while it is being merged.
struct Symbol {
    var id: Int32
    /// Bytes of text it stands for.
    var bytes: UInt32
    /// Bytes without a token just before it.
    var skipped: UInt32
}

/// Where tokens are collected, with scratch space that is reused from word to word.
struct TokenSink {
    var ids: [Int32] = []
    /// First and last-plus-one byte of each token, if `wantsRanges`.
    var ranges: [(start: Int, end: Int)] = []
    let wantsRanges: Bool
    /// Byte at which the next token starts.
    var position = 0
    var symbols: [Symbol] = []

    init(wantsRanges: Bool) { self.wantsRanges = wantsRanges }

    @inline(__always)
    mutating func append(_ id: Int32, bytes: Int, skipping: Int = 0) {
        ids.append(id)
        if wantsRanges {
            position += skipping
            ranges.append((position, position + bytes))
            position += bytes
        }
    }
}

/// A binary heap of candidate merges, lowest rank first, then leftmost.
private struct MergeHeap {
    struct Item {
        var order: UInt64
        var id: Int32
    }
    private var items: [Item] = []

    mutating func fill(_ all: [Item]) {
        items = all.sorted { $0.order < $1.order }  // a sorted array is a heap
    }

    mutating func push(_ item: Item) {
        items.append(item)
        var child = items.count - 1
        while child > 0, items[child].order < items[(child - 1) / 2].order {
            items.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> Item? {
        guard let first = items.first, let last = items.popLast() else { return nil }
        guard !items.isEmpty else { return first }
        items[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            if child >= items.count { break }
            if child + 1 < items.count, items[child + 1].order < items[child].order { child += 1 }
            if items[parent].order <= items[child].order { break }
            items.swapAt(parent, child)
            parent = child
        }
        return first
    }
}
