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
    private var children: [UInt64: Int32] = [:]  // (node, byte) -> node
    private var roots = [Int32](repeating: -1, count: 256)
    private var ends: [Int32] = [-1]  // token that ends at a node
    let isEmpty: Bool

    /// - Parameter contents: What to look for, one for each token (its normalized content, if it is a normalized one).
    init(_ tokens: [AddedToken], contents: [[UInt8]]) {
        precondition(tokens.count == contents.count, "\(tokens.count) tokens, \(contents.count) contents")
        self.tokens = tokens
        isEmpty = contents.allSatisfy(\.isEmpty)
        for (index, content) in contents.enumerated() where !content.isEmpty {
            var node: Int32 = 0
            for byte in content { node = child(of: node, byte) ?? grow(node, byte) }
            if ends[Int(node)] < 0 { ends[Int(node)] = Int32(index) }
        }
    }

    private mutating func grow(_ node: Int32, _ byte: UInt8) -> Int32 {
        let new = Int32(ends.count)
        ends.append(-1)
        if node == 0 { roots[Int(byte)] = new } else { children[UInt64(node) << 8 | UInt64(byte)] = new }
        return new
    }

    @inline(__always)
    private func child(of node: Int32, _ byte: UInt8) -> Int32? {
        if node == 0 { return roots[Int(byte)] < 0 ? nil : roots[Int(byte)] }
        return children[UInt64(node) << 8 | UInt64(byte)]
    }

    /// Cuts `range` into added tokens and what lies between them.
    func split(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ part: (Range<Int>, AddedToken?) -> Void) {
        var last = range.lowerBound
        var i = range.lowerBound
        while i < range.upperBound {
            guard roots[Int(text[i])] >= 0, let (token, end) = longest(text, i, range.upperBound) else { i += 1; continue }
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

    private func longest(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> (AddedToken, Int)? {
        var node: Int32 = 0
        var best: (AddedToken, Int)?
        var i = start
        while i < end, let next = child(of: node, text[i]) {
            node = next
            i += 1
            if ends[Int(node)] >= 0 { best = (tokens[Int(ends[Int(node)])], i) }
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
