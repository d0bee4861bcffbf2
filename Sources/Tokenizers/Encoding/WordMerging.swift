/// One symbol of a word while it is being merged.
struct Symbol: BitwiseCopyable {
    var id: Int32
    /// Bytes of text it stands for.
    var bytes: UInt32
    /// Bytes without a token just before it.
    var skipped: UInt32
}

/// Memory in which words are merged, used again from word to word.
struct MergeScratch: ~Copyable {
    var symbols = GrowingBuffer<Symbol>()
    /// The merge of each symbol with its right neighbour.
    fileprivate var best = GrowingBuffer<MergeTable.Ordered>()
    fileprivate var next = GrowingBuffer<Int32>(), previous = GrowingBuffer<Int32>()
    fileprivate var heap = MergeHeap()

    /// Items that heaps have given out so far: what tests count to see that time does not grow with a word's square.
    private(set) var popped = 0

    var capacity: Int { symbols.capacity }

    /// Words of at least this many symbols are merged with a heap; below it, looking at every pair again is quicker.
    static let longWord = 32

    /// Merges `symbols` to the end: always the pair of the lowest rank, the leftmost among equals.
    mutating func merge(by merges: borrowing MergeTable) {
        guard symbols.count > 1 else { return }
        if symbols.count < MergeScratch.longWord { mergeByScanning(merges) } else { mergeByHeap(merges) }
    }

    /// For short words: the best pair is looked for again after each merge; the merges of pairs are kept beside them.
    mutating func mergeByScanning(_ merges: borrowing MergeTable) {
        best.resize(uninitialized: symbols.count)
        let (symbols, best) = (self.symbols.base, self.best.base)
        var last = self.symbols.count - 1  // the last symbol has no pair
        for i in 0..<last { best[i] = merges.find(symbols[i].id, symbols[i + 1].id) }
        best[last] = MergeTable.none
        while true {
            var (place, smallest) = (0, MergeTable.none)
            for i in 0..<last where best[i] < smallest { (smallest, place) = (best[i], i) }
            if smallest == MergeTable.none { break }
            symbols[place].id = MergeTable.id(smallest)
            symbols[place].bytes += symbols[place + 1].bytes + symbols[place + 1].skipped
            var i = place + 1
            while i < last {
                symbols[i] = symbols[i + 1]
                best[i] = best[i + 1]
                i += 1
            }
            last -= 1
            best[place] = place < last ? merges.find(symbols[place].id, symbols[place + 1].id) : MergeTable.none
            if place > 0 { best[place - 1] = merges.find(symbols[place - 1].id, symbols[place].id) }
        }
        self.symbols.truncate(last + 1)
    }

    /// For long words: a heap of candidate merges over a linked list of symbols, O(n log n).
    mutating func mergeByHeap(_ merges: borrowing MergeTable) {
        let count = symbols.count
        best.resize(uninitialized: count)
        next.resize(uninitialized: count)
        previous.resize(uninitialized: count)
        let (symbols, best, next, previous) = (self.symbols.base, self.best.base, self.next.base, self.previous.base)
        heap.removeAll()
        for i in 0..<count {
            (next[i], previous[i]) = (i + 1 < count ? Int32(i + 1) : -1, Int32(i) - 1)
            best[i] = i + 1 < count ? merges.find(symbols[i].id, symbols[i + 1].id) : MergeTable.none
            if best[i] != MergeTable.none { heap.appendUnordered(MergeHeap.item(best[i], at: i)) }
        }
        heap.order()
        while let item = heap.pop() {
            popped &+= 1
            let place = MergeHeap.place(item)
            // The pair may have changed, or gone with its left symbol, since this was put on the heap.
            guard best[place] != MergeTable.none, MergeTable.rank(best[place]) == MergeHeap.rank(item) else { continue }
            let right = Int(next[place])
            symbols[place].id = MergeTable.id(best[place])
            symbols[place].bytes += symbols[right].bytes + symbols[right].skipped
            (symbols[right].bytes, best[right]) = (0, MergeTable.none)
            let after = Int(next[right])
            next[place] = Int32(after)
            best[place] = MergeTable.none
            if after >= 0 {
                previous[after] = Int32(place)
                best[place] = merges.find(symbols[place].id, symbols[after].id)
                if best[place] != MergeTable.none { heap.push(MergeHeap.item(best[place], at: place)) }
            }
            let before = Int(previous[place])
            if before >= 0 {
                best[before] = merges.find(symbols[before].id, symbols[place].id)
                if best[before] != MergeTable.none { heap.push(MergeHeap.item(best[before], at: before)) }
            }
        }
        var (kept, place) = (0, 0)
        while place >= 0 {
            symbols[kept] = symbols[place]
            kept += 1
            place = Int(next[place])
        }
        self.symbols.truncate(kept)
    }
}

/// Candidate merges, lowest rank first, then leftmost: a heap in which each item has four children, so that its levels are few
/// and the children of one share a cache line. An item is a rank above a place.
private struct MergeHeap: ~Copyable {
    private var items = GrowingBuffer<UInt64>()

    @inline(__always)
    static func item(_ merge: MergeTable.Ordered, at place: Int) -> UInt64 {
        merge & 0xFFFF_FFFF_0000_0000 | UInt64(UInt32(truncatingIfNeeded: place))
    }
    @inline(__always)
    static func place(_ item: UInt64) -> Int { Int(UInt32(truncatingIfNeeded: item)) }
    @inline(__always)
    static func rank(_ item: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: item &>> 32) }

    mutating func removeAll() { items.removeAll() }

    @inline(__always)
    mutating func appendUnordered(_ item: UInt64) { items.append(item) }

    /// Makes a heap of what was appended.
    mutating func order() {
        guard items.count > 1 else { return }
        for i in stride(from: (items.count - 2) / 4, through: 0, by: -1) { sink(items[i], from: i) }
    }

    @inline(__always)
    mutating func push(_ item: UInt64) {
        items.append(item)
        let items = self.items.base
        var child = self.items.count - 1
        while child > 0 {
            let parent = (child - 1) / 4
            if items[parent] <= item { break }
            items[child] = items[parent]
            child = parent
        }
        items[child] = item
    }

    @inline(__always)
    mutating func pop() -> UInt64? {
        guard items.count > 0 else { return nil }
        let first = items[0]
        let last = items[items.count - 1]
        items.truncate(items.count - 1)
        if items.count > 0 { sink(last, from: 0) }
        return first
    }

    /// Puts `item` at `place` or below it.
    @inline(__always)
    private mutating func sink(_ item: UInt64, from place: Int) {
        let (items, count) = (self.items.base, self.items.count)
        var place = place
        while true {
            let first = 4 * place + 1
            if first >= count { break }
            var (least, smallest) = (first, items[first])
            for child in (first + 1)..<max(min(first + 4, count), first + 1) where items[child] < smallest {
                (least, smallest) = (child, items[child])
            }
            if item <= smallest { break }
            items[place] = smallest
            place = least
        }
        items[place] = item
    }
}
