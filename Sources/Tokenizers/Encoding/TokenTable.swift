/// Finds ids by the exact bytes of a token: open addressing over one arena, no hashing of `String` (whose equality is
/// canonical equivalence, so that two different tokens may compare equal).
struct TokenTable: Sendable {
    private var arena: [UInt8] = []
    private var offsets: [UInt32] = [0]
    private var slots: [Int32]
    private var mask: Int

    /// - Parameter append: Appends the bytes of the token with an id; `false` if there is none or it cannot be found by bytes.
    ///   Of equal tokens the first is found.
    init(count: Int, append: (Int, inout [UInt8]) -> Bool) {
        var capacity = 16
        while capacity < count * 2 { capacity *= 2 }
        slots = [Int32](repeating: -1, count: capacity)
        mask = capacity - 1
        arena.reserveCapacity(count * 7)
        offsets.reserveCapacity(count + 1)
        for id in 0..<count {
            let start = arena.count
            let isFindable = append(id, &arena)
            if !isFindable { arena.removeSubrange(start...) }
            offsets.append(UInt32(arena.count))
            guard isFindable else { continue }
            arena.withUnsafeBufferPointer { arena in
                let bytes = UnsafeBufferPointer(rebasing: arena[start...])
                var slot = Int(truncatingIfNeeded: TokenTable.hash(bytes)) & mask
                while slots[slot] >= 0 {
                    if equals(slots[slot], bytes) { return }
                    slot = (slot + 1) & mask
                }
                slots[slot] = Int32(id)
            }
        }
    }

    /// Tokens by the UTF-8 of their strings.
    init(strings: [String?]) {
        self.init(count: strings.count) { id, arena in
            guard let string = strings[id] else { return false }
            arena.append(contentsOf: string.utf8)
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
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let id = slots[slot]
            if id < 0 { return nil }
            if equals(id, bytes) { return id }
            slot = (slot + 1) & mask
        }
    }

    func find(_ bytes: [UInt8]) -> Int32? {
        bytes.withUnsafeBufferPointer { find($0, hash: TokenTable.hash($0)) }
    }

    func bytes(_ id: Int32) -> ArraySlice<UInt8> { arena[Int(offsets[Int(id)])..<Int(offsets[Int(id) + 1])] }

    @inline(__always)
    private func equals(_ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = Int(offsets[Int(id)])
        guard Int(offsets[Int(id) + 1]) - start == bytes.count else { return false }
        return arena.withUnsafeBufferPointer { arena in
            for i in 0..<bytes.count where arena[start + i] != bytes[i] { return false }
            return true
        }
    }

    /// Eight bytes at a time, mixed by multiplication (the constants are those of wyhash).
    @inline(__always)
    static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var state: UInt64 = 0xA076_1D64_78BD_642F ^ UInt64(truncatingIfNeeded: bytes.count)
        var i = 0
        let n = bytes.count
        while i < n {
            var word: UInt64 = 0
            if i + 8 <= n, let base = bytes.baseAddress {
                word = UnsafeRawPointer(base + i).loadUnaligned(as: UInt64.self)
            } else {
                for k in i..<n { word = word << 8 | UInt64(bytes[k]) }
            }
            let product = (state ^ word).multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
            state = product.high ^ product.low
            i += 8
        }
        let product = state.multipliedFullWidth(by: 0x8EBC_6AF0_9C88_C6E3)
        return product.high ^ product.low
    }
}
