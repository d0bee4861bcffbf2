/// One step of cutting text into words.
enum PreTokenizer: Sendable, Equatable {
    /// What becomes of the matches of a pattern.
    enum Behaviour: String, Sendable, CaseIterable {
        case isolated = "Isolated", removed = "Removed", mergedWithPrevious = "MergedWithPrevious", mergedWithNext = "MergedWithNext",
            contiguous = "Contiguous"
    }

    enum Pattern: Sendable, Equatable {
        case words(SplitPattern)
        case literal([UInt8])
        /// Runs of scalars of a class, each at most this long.
        case scalars(ScalarClass, limit: Int)
        case asciiDigits
    }

    case split(Pattern, Behaviour, inverted: Bool)
    /// A space before each piece that has none.
    case prefixSpace
    /// Spaces become `replacement`, which is also put before the first piece, each piece, or none.
    case metaspace(replacement: [UInt8], prepends: Prepending, splits: Bool)

    enum Prepending: String, Sendable, CaseIterable { case first, always, never }

    /// Cuts `range` by the pattern; `pieces` receives the parts in order.
    static func split(
        _ pattern: Pattern, _ behaviour: Behaviour, inverted: Bool, _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>,
        into pieces: inout [Range<Int>]
    ) {
        if case let .words(words) = pattern, behaviour == .isolated || (behaviour == .removed && inverted) {
            return words.forEachWord(text, range) { pieces.append($0..<$1) }  // the matches cover everything
        }
        if case .scalars(_, 1) = pattern, behaviour == .isolated {
            return isolate(pattern, text, range, into: &pieces)
        }
        var parts: [(range: Range<Int>, isMatch: Bool)] = []
        var last = range.lowerBound
        matches(of: pattern, text, range) { match in
            if match.lowerBound > last { parts.append((last..<match.lowerBound, inverted)) }
            parts.append((match, !inverted))
            last = match.upperBound
        }
        if last < range.upperBound { parts.append((last..<range.upperBound, inverted)) }
        switch behaviour {
        case .isolated: pieces += parts.map(\.range)
        case .removed: pieces += parts.filter { !$0.isMatch }.map(\.range)
        case .contiguous:
            var previous: Bool?
            for part in parts {
                if part.isMatch == previous { extend(&pieces, to: part.range.upperBound) } else { pieces.append(part.range) }
                previous = part.isMatch
            }
        case .mergedWithPrevious:
            var previousIsMatch = true
            for part in parts {
                if part.isMatch && !previousIsMatch { extend(&pieces, to: part.range.upperBound) } else { pieces.append(part.range) }
                previousIsMatch = part.isMatch
            }
        case .mergedWithNext:
            var pending: Int?
            for (index, part) in parts.enumerated() {
                let joins = part.isMatch && index + 1 < parts.count && !parts[index + 1].isMatch
                if joins { pending = part.range.lowerBound; continue }
                pieces.append((pending ?? part.range.lowerBound)..<part.range.upperBound)
                pending = nil
            }
        }
    }

    private static func extend(_ pieces: inout [Range<Int>], to end: Int) {
        pieces[pieces.count - 1] = pieces[pieces.count - 1].lowerBound..<end
    }

    private static func isolate(_ pattern: Pattern, _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into pieces: inout [Range<Int>]) {
        var last = range.lowerBound
        matches(of: pattern, text, range) { match in
            if match.lowerBound > last { pieces.append(last..<match.lowerBound) }
            pieces.append(match)
            last = match.upperBound
        }
        if last < range.upperBound { pieces.append(last..<range.upperBound) }
    }

    private static func matches(
        of pattern: Pattern, _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ found: (Range<Int>) -> Void
    ) {
        var i = range.lowerBound
        switch pattern {
        case let .words(words):
            words.forEachWord(text, range) { found($0..<$1) }
        case let .literal(literal):
            while i + literal.count <= range.upperBound {
                if text[i] == literal[0], text[i..<(i + literal.count)].elementsEqual(literal) {
                    found(i..<(i + literal.count))
                    i += literal.count
                } else {
                    i += 1
                }
            }
        case .asciiDigits:
            while i < range.upperBound {
                if text[i] >= 0x30 && text[i] <= 0x39 { found(i..<(i + 1)) }
                i += 1
            }
        case let .scalars(set, limit):
            let classes = ScalarClass.ascii.base
            func isMember(_ i: Int) -> (Bool, Int) {
                let byte = text[i]
                if byte < 0x80 { return (!ScalarClass(rawValue: classes[Int(byte)]).isDisjoint(with: set), i + 1) }
                let (value, next) = UTF8Scan.scalar(text, i)
                return (!ScalarClass.beyondASCII(value).isDisjoint(with: set), next)
            }
            while i < range.upperBound {
                var (isIn, next) = isMember(i)
                if isIn {
                    let start = i
                    var count = 1
                    while count < limit, next < range.upperBound {
                        let (more, after) = isMember(next)
                        if !more { break }
                        (next, count) = (after, count + 1)
                    }
                    found(start..<next)
                }
                i = next
            }
        }
    }
}
