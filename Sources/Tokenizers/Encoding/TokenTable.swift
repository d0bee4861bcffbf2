/// Finds ids by the exact bytes of a token: open addressing over one arena, no hashing of `String` (whose equality is
/// canonical equivalence, so that two different tokens may compare equal).
struct TokenTable: Sendable {
    private let arena: FixedArray<UInt8>
    private let offsets: FixedArray<UInt32>
    /// High half of a token's hash above its id: other words are told apart without a look at their bytes.
    private let slots: FixedArray<UInt64>

    private static let empty = UInt64.max  // ids are not negative

    /// - Parameter append: Appends the bytes of the token with an id; `false` if it cannot be found by them.
    ///   Of equal tokens the first is found.
    init(count: Int, append: (Int, inout [UInt8]) -> Bool) {
        var bytes: [UInt8] = []
        var offsets: [UInt32] = [0]
        var isFindable: [Bool] = []
        bytes.reserveCapacity(count * 7)
        offsets.reserveCapacity(count + 1)
        isFindable.reserveCapacity(count)
        for id in 0..<count {
            isFindable.append(append(id, &bytes))
            offsets.append(UInt32(bytes.count))
        }
        var capacity = 16
        while capacity < count * 2 { capacity *= 2 }
        arena = FixedArray(bytes)
        self.offsets = FixedArray(offsets)
        let (arena, table) = (self.arena, self.offsets)
        slots = FixedArray(count: capacity) { slots in
            slots.initialize(repeating: TokenTable.empty)
            for id in 0..<count where isFindable[id] {
                let token = TokenTable.token(id, arena, table)
                let hash = TokenTable.hash(token)
                var slot = Int(truncatingIfNeeded: hash) & (capacity - 1)
                var isNew = true
                while isNew && slots[slot] != TokenTable.empty {
                    let other = Int(UInt32(truncatingIfNeeded: slots[slot]))
                    isNew = slots[slot] &>> 32 != hash &>> 32 || !TokenTable.equal(TokenTable.token(other, arena, table), token)
                    slot = (slot + 1) & (capacity - 1)
                }
                if isNew { slots[slot] = hash & 0xFFFF_FFFF_0000_0000 | UInt64(id) }
            }
        }
    }

    /// Tokens by the UTF-8 of their strings.
    init(strings: [String?]) {
        self.init(count: strings.count) { id, arena in
            guard var string = strings[id] else { return false }
            string.withUTF8 { arena.append(contentsOf: $0) }
            return true
        }
    }

    func find(_ text: String) -> Int32? {
        var text = text
        return text.withUTF8 { find($0, hash: TokenTable.hash($0)) }
    }

    /// The id of the token with these bytes.
    @inline(__always)
    func find(_ bytes: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int32? {
        var slot = Int(truncatingIfNeeded: hash) & (slots.count &- 1)
        while true {
            let entry = slots[slot]
            if entry == TokenTable.empty { return nil }
            if (entry ^ hash) &>> 32 == 0 {
                let id = Int(UInt32(truncatingIfNeeded: entry))
                if TokenTable.equal(TokenTable.token(id, arena, offsets), bytes) { return Int32(truncatingIfNeeded: id) }
            }
            slot = (slot &+ 1) & (slots.count &- 1)
        }
    }

    func find(_ bytes: [UInt8]) -> Int32? {
        bytes.withUnsafeBufferPointer { find($0, hash: TokenTable.hash($0)) }
    }

    /// The bytes of a token, which live as long as the table.
    @inline(__always)
    func bytes(_ id: Int32) -> UnsafeBufferPointer<UInt8> { TokenTable.token(Int(id), arena, offsets) }

    /// How many bytes a token has.
    @inline(__always)
    func length(_ id: Int32) -> Int { Int(offsets[Int(id) &+ 1] &- offsets[Int(id)]) }

    @inline(__always)
    private static func token(_ id: Int, _ arena: FixedArray<UInt8>, _ offsets: FixedArray<UInt32>) -> UnsafeBufferPointer<UInt8> {
        let (start, end) = (Int(offsets[id]), Int(offsets[id + 1]))
        return UnsafeBufferPointer(start: arena.base + start, count: end - start)
    }

    @inline(__always)
    private static func equal(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>) -> Bool {
        guard a.count == b.count else { return false }
        for i in 0..<a.count where a[i] != b[i] { return false }
        return true
    }

    /// Eight bytes at a time, the last eight perhaps again, mixed by multiplication (the constants are those of wyhash).
    @inline(__always)
    static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64 {
        let count = bytes.count
        var state: UInt64 = 0xA076_1D64_78BD_642F ^ UInt64(truncatingIfNeeded: count)
        func mix(_ word: UInt64, _ factor: UInt64) {
            let product = (state ^ word).multipliedFullWidth(by: factor)
            state = product.high ^ product.low
        }
        guard count > 0, let base = UnsafeRawPointer(bytes.baseAddress) else { return state }
        if count >= 8 {
            var i = 0
            while i + 8 < count {
                mix(base.loadUnaligned(fromByteOffset: i, as: UInt64.self), 0xE703_7ED1_A0B4_28DB)
                i += 8
            }
            mix(base.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self), 0xE703_7ED1_A0B4_28DB)
        } else if count >= 4 {
            let (first, last) = (base.loadUnaligned(as: UInt32.self), base.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
            mix(UInt64(first) | UInt64(last) << 32, 0xE703_7ED1_A0B4_28DB)
        } else {
            mix(UInt64(bytes[0]) | UInt64(bytes[count / 2]) << 8 | UInt64(bytes[count - 1]) << 16, 0xE703_7ED1_A0B4_28DB)
        }
        mix(0, 0x8EBC_6AF0_9C88_C6E3)
        return state
    }
}
