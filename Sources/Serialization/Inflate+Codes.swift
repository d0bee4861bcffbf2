/// Bits from the lowest up, as deflate packs them.
struct BitReader {
    private let input: UnsafeBufferPointer<UInt8>
    private var next = 0
    private var hold: UInt64 = 0
    /// How many of the lowest bits of `hold` count. Below zero once more was taken than there is.
    private var held = 0

    init(_ input: UnsafeBufferPointer<UInt8>) { self.input = input }

    /// The first byte of which nothing has been taken.
    var byte: Int { next - max(held, 0) / 8 }
    /// Whether `take` has gone past the end; what it gave there were zeros.
    var isOverdrawn: Bool { held < 0 }

    /// Holds 56 bits or more, or all that are left.
    @inline(__always)
    mutating func fill() {
        if next + 8 <= input.count, held >= 0 {
            // The bits above `held` are the input's next ones already, so this writes them onto themselves.
            hold |= UInt64(littleEndian: UnsafeRawPointer(input.baseAddress.unsafelyUnwrapped).loadUnaligned(fromByteOffset: next, as: UInt64.self)) &<< UInt64(held)
            next += (63 - held) / 8
            held |= 56
        } else {
            fillFromTail()
        }
    }

    private mutating func fillFromTail() {
        while held >= 0, held < 56, next < input.count {
            hold |= UInt64(input[next]) &<< UInt64(held)
            next += 1
            held += 8
        }
    }

    /// The lowest bits, without taking them.
    @inline(__always)
    var low: UInt64 { hold }

    /// Takes bits that are known to be held, or finds out later (`isOverdrawn`).
    @inline(__always)
    mutating func take(_ count: Int) -> Int {
        let value = Int(truncatingIfNeeded: hold & ((1 &<< UInt64(count)) - 1))
        hold = hold &>> UInt64(count)
        held -= count
        return value
    }

    mutating func bits(_ count: Int) throws(InflateError) -> UInt32 {
        if held < count { fill() }
        guard held >= count else { throw .truncated(byte: input.count) }
        return UInt32(truncatingIfNeeded: take(count))
    }

    mutating func alignToByte() { _ = take(max(held, 0) % 8) }

    /// Whole bytes, where the reader stands on a byte's edge.
    mutating func bytes(_ count: Int) throws(InflateError) -> UnsafeBufferPointer<UInt8> {
        let start = byte
        guard count <= input.count - start else { throw .truncated(byte: input.count) }
        (next, hold, held) = (start + count, 0, 0)
        return UnsafeBufferPointer(rebasing: input[start..<start + count])
    }
}

/// A prefix code: short words are looked up at once, long ones (rare by design) counted out.
struct PrefixCode: ~Copyable {
    private static let lookupBits = 10
    /// By the next bits: symbol << 4 | length; 0 where the word is longer, or none.
    private let lookup = UnsafeMutablePointer<UInt16>.allocate(capacity: 1 << lookupBits)
    /// Symbols by word; at most 288.
    private let sorted = UnsafeMutablePointer<UInt16>.allocate(capacity: 320)
    private let counts = UnsafeMutablePointer<Int>.allocate(capacity: 16)

    init() { clear() }

    deinit {
        lookup.deallocate()
        sorted.deallocate()
        counts.deallocate()
    }

    private func clear() {
        lookup.initialize(repeating: 0, count: 1 << Self.lookupBits)
        sorted.initialize(repeating: 0, count: 320)
        counts.initialize(repeating: 0, count: 16)
    }

    /// Takes over a code, given as its words' lengths (0…15; 0: no word).
    /// - Returns: False if the lengths leave too little room: words would overwrite each other.
    mutating func build(_ lengths: some RandomAccessCollection<UInt8>) -> Bool {
        precondition(lengths.count <= 320, "\(lengths.count) symbols, at most 320")
        clear()
        for length in lengths { counts[Int(length & 15)] += 1 }
        counts[0] = 0
        var first = InlineArray<16, Int>(repeating: 0)  // the first word of each length
        var place = InlineArray<16, Int>(repeating: 0)  // and where its symbol stands
        var room = 1
        for length in 1...15 {
            room = 2 * room - counts[length]
            guard room >= 0 else { return false }
            first[length] = (first[length - 1] + counts[length - 1]) << 1
            place[length] = place[length - 1] + counts[length - 1]
        }
        for (symbol, length) in lengths.enumerated() where length > 0 {
            let length = Int(length)
            let word = first[length]
            first[length] += 1
            sorted[place[length]] = UInt16(symbol)
            place[length] += 1
            guard length <= Self.lookupBits else { continue }
            // Words are stored from the highest bit, the stream is read from the lowest.
            let reversed = Int(UInt16(word).bitReversed >> UInt16(16 - length))
            for i in stride(from: reversed, to: 1 << Self.lookupBits, by: 1 << length) { lookup[i] = UInt16(symbol << 4 | length) }
        }
        return true
    }

    /// The next symbol, or -1 if no word fits.
    @inline(__always)
    func symbol(_ reader: inout BitReader) -> Int {
        let entry = lookup[Int(truncatingIfNeeded: reader.low & UInt64(1 << Self.lookupBits - 1))]
        if entry == 0 { return longSymbol(&reader) }
        _ = reader.take(Int(entry & 15))
        return Int(entry >> 4)
    }

    private func longSymbol(_ reader: inout BitReader) -> Int {
        var (word, first, place) = (0, 0, 0)
        for length in 1...15 {
            word = word << 1 | Int(truncatingIfNeeded: reader.low >> UInt64(length - 1) & 1)
            let count = counts[length]
            if word - first < count {
                _ = reader.take(length)
                return Int(sorted[place + word - first])
            }
            place += count
            first = (first + count) << 1
        }
        return -1
    }
}

extension UInt16 {
    fileprivate var bitReversed: UInt16 {
        var x = self
        x = (x & 0x5555) << 1 | (x >> 1) & 0x5555
        x = (x & 0x3333) << 2 | (x >> 2) & 0x3333
        x = (x & 0x0F0F) << 4 | (x >> 4) & 0x0F0F
        return x << 8 | x >> 8
    }
}
