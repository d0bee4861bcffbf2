/// Tokens of short words met before: a fixed number of places, the newest word wins its place. It never changes a result.
///
/// A word is its own key: up to 15 bytes and their count fill two machine words, so that looking one up touches one place and
/// follows no pointer. 15 bytes hold 99 of 100 words of English text.
final class WordCache {
    struct Key: Equatable {
        var low: UInt64, high: UInt64

        /// Of `count` bytes (1 to 15) at `start`; bytes before `limit` may be read.
        @inline(__always)
        init(_ text: UnsafePointer<UInt8>, _ start: Int, count: Int, limit: Int) {
            (low, high) = (0, 0)
            if start + 16 <= limit {
                let word = UnsafeRawPointer(text + start)
                low = UInt64(littleEndian: word.loadUnaligned(as: UInt64.self))
                high = UInt64(littleEndian: word.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                let unused = UInt64(8 &* (16 &- count))  // bits of both words together
                if count > 8 { high &= UInt64.max &>> unused } else { (low, high) = (low & (UInt64.max &>> (unused &- 64)), 0) }
            } else {
                for k in 0..<min(count, 8) { low |= UInt64(text[start + k]) &<< UInt64(8 * k) }
                for k in 8..<max(count, 8) { high |= UInt64(text[start + k]) &<< UInt64(8 * (k - 8)) }
            }
            high |= UInt64(count) &<< 56
        }

        @inline(__always)
        var hash: UInt64 {
            var mixed = low ^ (high &* 0x8EBC_6AF0_9C88_C6E3)
            mixed ^= mixed &>> 32
            return mixed &* 0xE703_7ED1_A0B4_28DB
        }
    }

    /// The tokens of a word, -1 after the last.
    struct Place {
        var key: Key
        var ids: SIMD4<Int32>
    }

    /// Longest word, in bytes, and most tokens that a place can hold.
    static let longest = 15, mostTokens = 4
    private static let bits: UInt64 = 15
    let places: UnsafeMutablePointer<Place>

    init() {
        let count = 1 << Int(WordCache.bits)
        places = .allocate(capacity: count)
        // No word has a key of zeros: its count is at least 1.
        UnsafeMutableRawPointer(places).initializeMemory(as: UInt8.self, repeating: 0, count: count * MemoryLayout<Place>.stride)
    }

    deinit { places.deallocate() }

    @inline(__always)
    func place(_ key: Key) -> UnsafeMutablePointer<Place> { places + Int(key.hash &>> (64 - WordCache.bits)) }
}
