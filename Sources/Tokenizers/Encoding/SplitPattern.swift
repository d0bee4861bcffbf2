/// The regular expressions by which byte-level tokenizers cut text into words, written as scanners.
///
/// Each covers its text completely: every scalar belongs to exactly one match. They are recognised by their exact text;
/// alternatives, classes and greedy runs follow the pattern in its order.
enum SplitPattern: Sendable, Equatable {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    case gpt2
    /// Llama 3, Qwen 2, cl100k: contractions of any case, a letter run with one leading sign, numbers of up to `digits` digits.
    case llama3(digits: Int, marksAreLetters: Bool)
    /// o200k, Tekken: letter runs cut where lower case turns to upper case.
    case o200k(digits: Int, contractions: Bool)

    static let gpt2Text = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    static let llama3Text =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    static let qwen2Text =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    static let qwen35Text =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    static let cl100kText =
        #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#
    static let o200kText =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    static let tekkenText =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// The scanner that is equal to a pattern, if the pattern is a known one.
    init?(regex: String) {
        let known: [(String, SplitPattern)] = [
            (SplitPattern.gpt2Text, .gpt2),
            (SplitPattern.llama3Text, .llama3(digits: 3, marksAreLetters: false)),
            (SplitPattern.cl100kText, .llama3(digits: 3, marksAreLetters: false)),
            (SplitPattern.qwen2Text, .llama3(digits: 1, marksAreLetters: false)),
            (SplitPattern.qwen35Text, .llama3(digits: 1, marksAreLetters: true)),
            (SplitPattern.o200kText, .o200k(digits: 3, contractions: true)),
            (SplitPattern.tekkenText, .o200k(digits: 1, contractions: false)),
        ]
        guard let match = known.first(where: { $0.0 == regex }) else { return nil }
        self = match.1
    }

    /// The pattern's text, as `tokenizer.json` has it.
    var regex: String {
        switch self {
        case .gpt2: SplitPattern.gpt2Text
        case let .llama3(digits, marks): marks ? SplitPattern.qwen35Text : digits == 3 ? SplitPattern.llama3Text : SplitPattern.qwen2Text
        case let .o200k(_, contractions): contractions ? SplitPattern.o200kText : SplitPattern.tekkenText
        }
    }

    /// Gives the start and end of each match in `range` of valid UTF-8, whose bounds are scalar boundaries.
    @inline(__always)
    func forEachWord(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ body: (_ start: Int, _ end: Int) -> Void) {
        let scanner = WordScanner(text: text, end: range.upperBound)
        var i = range.lowerBound
        while i < range.upperBound {
            let next: Int
            switch self {
            case .gpt2: next = scanner.gpt2(i)
            case let .llama3(digits, marks): next = scanner.llama3(i, digits: digits, letters: marks ? [.letter, .mark] : .letter)
            case let .o200k(digits, contractions): next = scanner.o200k(i, digits: digits, contractions: contractions)
            }
            body(i, next)
            i = next
        }
    }
}

/// One match of a known pattern at a time.
private struct WordScanner {
    let text: UnsafeBufferPointer<UInt8>
    let end: Int
    let classes = ScalarClass.ascii.base

    /// Class of the scalar at `i` and the place after it; no class at the end.
    @inline(__always)
    func read(_ i: Int) -> (ScalarClass, Int) {
        guard i < end else { return ([], i) }
        let byte = text[i]
        if byte < 0x80 { return (ScalarClass(rawValue: classes[Int(byte)]), i &+ 1) }
        let (value, next) = UTF8Scan.scalar(text, i)
        return (ScalarClass.beyondASCII(value), next)
    }

    /// The end of the run of scalars from `i` that have a class of `set`.
    @inline(__always)
    func run(_ i: Int, of set: ScalarClass) -> Int {
        var i = i
        while i < end {
            let (kind, next) = read(i)
            if kind.isDisjoint(with: set) { break }
            i = next
        }
        return i
    }

    /// As `run(_:of:)`, and at most `limit` scalars.
    @inline(__always)
    func run(_ i: Int, of set: ScalarClass, limit: Int) -> Int {
        var i = i
        var left = limit
        while i < end && left > 0 {
            let (kind, next) = read(i)
            if kind.isDisjoint(with: set) { break }
            i = next
            left -= 1
        }
        return i
    }

    /// The end of the run of scalars from `i` that have no class of `set`.
    @inline(__always)
    func run(_ i: Int, outside set: ScalarClass) -> Int {
        var i = i
        while i < end {
            let (kind, next) = read(i)
            if !kind.isDisjoint(with: set) { break }
            i = next
        }
        return i
    }

    func gpt2(_ i: Int) -> Int {
        if text[i] == UInt8(ascii: "'"), let next = contraction(i, foldsCase: false) { return next }
        let (kind, next) = read(i)
        var (start, first) = (i, kind)
        if text[i] == 0x20 {  // " ?": the space belongs to what follows, unless that is white space
            let (second, _) = read(next)
            guard next < end, !second.contains(.space) else { return space(i) }
            (start, first) = (next, second)
        } else if kind.contains(.space) {
            return space(i)
        }
        if first.contains(.letter) { return run(start, of: .letter) }
        if first.contains(.number) { return run(start, of: .number) }
        return run(start, outside: [.space, .letter, .number])
    }

    func llama3(_ i: Int, digits: Int, letters: ScalarClass) -> Int {
        if text[i] == UInt8(ascii: "'"), let next = contraction(i, foldsCase: true) { return next }
        let (kind, next) = read(i)
        // [^\r\n\p{L}\p{N}]?\p{L}+ ; a mark that counts as a letter may be the optional sign as well, with the same end
        if !kind.isDisjoint(with: letters) { return run(next, of: letters) }
        if kind.isDisjoint(with: [.newline, .number]) {
            let (second, after) = read(next)
            if !second.isDisjoint(with: letters) { return run(after, of: letters) }
        }
        if kind.contains(.number) { return run(next, of: .number, limit: digits - 1) }
        return signsOrSpace(i, kind, next, other: letters.union([.space, .number]), slash: false)
    }

    func o200k(_ i: Int, digits: Int, contractions: Bool) -> Int {
        let (kind, next) = read(i)
        if kind.isDisjoint(with: [.newline, .number]) {
            // [^\r\n\p{L}\p{N}]? takes a sign or a mark; the first alternative is tried with and without before the second.
            let signed = kind.contains(.letter) ? nil : next
            let match = signed.flatMap(lowerEnding) ?? lowerEnding(i) ?? signed.flatMap(upperRun) ?? upperRun(i)
            if let match { return contractions ? contraction(match, foldsCase: true) ?? match : match }
        }
        if kind.contains(.number) { return run(next, of: .number, limit: digits - 1) }
        return signsOrSpace(i, kind, next, other: [.letter, .space, .number], slash: true)
    }

    /// `upper*lower+` at `i`. Both classes hold the caseless letters and marks.
    private func lowerEnding(_ i: Int) -> Int? {
        let uppers = run(i, of: .upper)
        let lowers = run(uppers, of: .lower)
        if lowers > uppers { return lowers }
        // Nothing is left for lower+: the upper run gives back scalars up to its last caseless one.
        var j = uppers
        while j > i {
            let before = UTF8Scan.before(text, j)
            if read(before).0.contains(.lower) { return j }
            j = before
        }
        return nil
    }

    /// `upper+lower*` at `i`, where `upper*lower+` does not match.
    private func upperRun(_ i: Int) -> Int? {
        let uppers = run(i, of: .upper)
        return uppers > i ? run(uppers, of: .lower) : nil
    }

    /// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, then the white-space alternatives.
    @inline(__always)
    private func signsOrSpace(_ i: Int, _ kind: ScalarClass, _ next: Int, other: ScalarClass, slash: Bool) -> Int {
        var start = i
        var first = kind
        if text[i] == 0x20 && next < end { (start, first) = (next, read(next).0) }
        if start < end, first.isDisjoint(with: other) {
            var j = run(start, outside: other)
            while j < end, text[j] == 0x0D || text[j] == 0x0A || (slash && text[j] == UInt8(ascii: "/")) { j += 1 }
            return j
        }
        let all = run(i, of: .space)
        var j = all  // \s*[\r\n]+ ends after the last line end of the run
        while j > i, text[j - 1] != 0x0D, text[j - 1] != 0x0A { j -= 1 }
        return j > i ? j : space(i)
    }

    /// `\s+(?!\S)|\s+`: a run of white space leaves its last scalar to the word that follows, if it has more than one.
    private func space(_ i: Int) -> Int {
        let all = run(i, of: .space)
        if all == end { return all }
        let last = UTF8Scan.before(text, all)
        return last > i ? last : all
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d` at `i`.
    @inline(__always)
    private func contraction(_ i: Int, foldsCase: Bool) -> Int? {
        guard i + 1 < end, text[i] == UInt8(ascii: "'") else { return nil }
        let fold: UInt8 = foldsCase ? 0x20 : 0
        let first = text[i + 1] | fold
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return i + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"):
            return i + 2 < end && text[i + 2] | fold == UInt8(ascii: "e") ? i + 3 : nil
        case UInt8(ascii: "l"): return i + 2 < end && text[i + 2] | fold == UInt8(ascii: "l") ? i + 3 : nil
        // ſ (U+017F) folds to s.
        case 0xC5 | fold where foldsCase && text[i + 1] == 0xC5 && i + 2 < end && text[i + 2] == 0xBF: return i + 3
        default: return nil
        }
    }
}
