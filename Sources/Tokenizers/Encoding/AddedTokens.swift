/// A token that is found in the text as it stands, before any word is cut.
struct AddedToken: Sendable, Equatable {
    var id: Int32
    var content: [UInt8]
    var isSpecial = false
    /// Takes the white space before or after it.
    var stripsLeft = false, stripsRight = false
    /// Only where no word character touches it.
    var isSingleWord = false
    /// Looked for in the normalized text.
    var isNormalized = false
}

/// Finds added tokens in text: leftmost, and of those that start at one place the longest.
struct AddedTokenMatcher: Sendable {
    private let tokens: [AddedToken]
    /// A trie. Node 0 is the root; its children are in `roots`, all others in `children`.
    private let roots: FixedArray<Int32>
    private let children: FixedArray<Edge>
    private let ends: FixedArray<Int32>  // token that ends at a node
    let isEmpty: Bool

    /// A place of an open-addressing table: a node and a byte, and the node that they lead to.
    private struct Edge: BitwiseCopyable, Sendable {
        var key: UInt64
        var node: Int32
    }
    private static let empty = UInt64.max

    /// - Parameter contents: What to look for, one for each token (its normalized content, if it is a normalized one).
    init(_ tokens: [AddedToken], contents: [[UInt8]]) {
        precondition(tokens.count == contents.count, "\(tokens.count) tokens, \(contents.count) contents")
        self.tokens = tokens
        isEmpty = contents.allSatisfy(\.isEmpty)
        var edges: [UInt64: Int32] = [:]
        var roots = [Int32](repeating: -1, count: 256)
        var ends: [Int32] = [-1]
        for (index, content) in contents.enumerated() where !content.isEmpty {
            var node: Int32 = 0
            for (depth, byte) in content.enumerated() {
                let key = UInt64(node) << 8 | UInt64(byte)
                if let next = depth == 0 ? (roots[Int(byte)] < 0 ? nil : roots[Int(byte)]) : edges[key] {
                    node = next
                } else {
                    node = Int32(ends.count)
                    ends.append(-1)
                    if depth == 0 { roots[Int(byte)] = node } else { edges[key] = node }
                }
            }
            if ends[Int(node)] < 0 { ends[Int(node)] = Int32(index) }
        }
        var capacity = 4
        while capacity < edges.count * 2 { capacity *= 2 }
        self.roots = FixedArray(roots)
        self.ends = FixedArray(ends)
        children = FixedArray(count: capacity) { places in
            places.initialize(repeating: Edge(key: AddedTokenMatcher.empty, node: -1))
            for (key, node) in edges {
                var place = AddedTokenMatcher.place(key, capacity)
                while places[place].key != AddedTokenMatcher.empty { place = (place + 1) & (capacity - 1) }
                places[place] = Edge(key: key, node: node)
            }
        }
    }

    @inline(__always)
    private static func place(_ key: UInt64, _ capacity: Int) -> Int {
        Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 32) & (capacity &- 1)
    }

    /// The child of a node that is not the root, or -1.
    @inline(__always)
    private func child(of node: Int32, _ byte: UInt8) -> Int32 {
        let key = UInt64(UInt32(bitPattern: node)) << 8 | UInt64(byte)
        var place = AddedTokenMatcher.place(key, children.count)
        while true {
            let edge = children[place]
            if edge.key == key || edge.key == AddedTokenMatcher.empty { return edge.node }
            place = (place &+ 1) & (children.count &- 1)
        }
    }

    /// Cuts `range` into added tokens and what lies between them.
    func split(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ part: (Range<Int>, AddedToken?) -> Void) {
        var last = range.lowerBound
        var i = range.lowerBound
        while i < range.upperBound {
            guard roots[Int(text[i])] >= 0, let (index, end) = longest(text, i, range.upperBound) else { i += 1; continue }
            let token = tokens[index]
            var (start, stop) = (i, end)
            i = end
            if token.isSingleWord, isWord(text, before: start, range) || isWord(text, at: stop, range) { continue }
            if token.stripsLeft { while start > last, let before = space(text, before: start, last) { start = before } }
            if token.stripsRight { while let after = space(text, at: stop, range) { stop = after } }
            if start > last { part(last..<start, nil) }
            part(start..<stop, token)
            last = stop
            i = max(i, stop)
        }
        if last < range.upperBound { part(last..<range.upperBound, nil) }
    }

    /// The longest token at `start`, and its end.
    private func longest(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> (token: Int, end: Int)? {
        var node = roots[Int(text[start])]
        var best: (Int, Int)?
        var i = start + 1
        while node >= 0 {
            if ends[Int(node)] >= 0 { best = (Int(ends[Int(node)]), i) }
            if i == end { break }
            node = child(of: node, text[i])
            i += 1
        }
        return best
    }

    private func kind(_ text: UnsafeBufferPointer<UInt8>, _ i: Int) -> (ScalarClass, Int) {
        let (value, next) = UTF8Scan.scalar(text, i)
        return (value < 0x80 ? ScalarClass(rawValue: ScalarClass.ascii[Int(value)]) : ScalarClass.beyondASCII(value), next)
    }
    private func isWord(_ text: UnsafeBufferPointer<UInt8>, before i: Int, _ range: Range<Int>) -> Bool {
        i > range.lowerBound && kind(text, UTF8Scan.before(text, i)).0.contains(.word)
    }
    private func isWord(_ text: UnsafeBufferPointer<UInt8>, at i: Int, _ range: Range<Int>) -> Bool {
        i < range.upperBound && kind(text, i).0.contains(.word)
    }
    private func space(_ text: UnsafeBufferPointer<UInt8>, before i: Int, _ lower: Int) -> Int? {
        guard i > lower else { return nil }
        let start = UTF8Scan.before(text, i)
        return start >= lower && kind(text, start).0.contains(.space) ? start : nil
    }
    private func space(_ text: UnsafeBufferPointer<UInt8>, at i: Int, _ range: Range<Int>) -> Int? {
        guard i < range.upperBound else { return nil }
        let (kind, next) = kind(text, i)
        return kind.contains(.space) ? next : nil
    }
}
