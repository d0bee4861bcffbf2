/// The merges of a byte-pair encoding: (left id, right id) → (rank, merged id). Lower ranks merge first.
struct MergeTable: Sendable {
    struct Merge: Sendable {
        var rank: UInt32
        var id: Int32
    }

    private struct Entry: Sendable {
        var key: UInt64
        var merge: Merge
    }

    private static let empty = UInt64.max
    private var slots: [Entry]
    private var shift: UInt64
    private(set) var count = 0

    init(capacity: Int) {
        var bits: UInt64 = 4
        while (1 << bits) < capacity * 2 { bits += 1 }
        slots = [Entry](repeating: Entry(key: MergeTable.empty, merge: Merge(rank: 0, id: 0)), count: 1 << bits)
        shift = 64 - bits
    }

    /// Of a repeated pair the last rank counts.
    mutating func insert(left: Int32, right: Int32, merge: Merge) {
        let key = MergeTable.key(left, right)
        var slot = place(key)
        while slots[slot].key != MergeTable.empty && slots[slot].key != key { slot = (slot + 1) & (slots.count - 1) }
        if slots[slot].key == MergeTable.empty { count += 1 }
        slots[slot] = Entry(key: key, merge: merge)
    }

    @inline(__always)
    func find(_ left: Int32, _ right: Int32) -> Merge? {
        let key = MergeTable.key(left, right)
        return slots.withUnsafeBufferPointer { slots in
            var slot = place(key)
            while true {
                let entry = slots[slot]
                if entry.key == key { return entry.merge }
                if entry.key == MergeTable.empty { return nil }
                slot = (slot + 1) & (slots.count - 1)
            }
        }
    }

    /// The merges as pairs of ids, by rank.
    var pairs: [(left: Int32, right: Int32)] {
        slots.filter { $0.key != MergeTable.empty }.sorted { $0.merge.rank < $1.merge.rank }
            .map { (Int32(truncatingIfNeeded: $0.key >> 32), Int32(truncatingIfNeeded: $0.key)) }
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func place(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: ((key ^ key >> 29) &* 0x9E37_79B9_7F4A_7C15) >> shift)
    }
}
