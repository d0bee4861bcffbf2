/// The merges of a byte-pair encoding: (left id, right id) → (rank, merged id). Lower ranks merge first.
struct MergeTable: Sendable {
    /// A merge as one number: the rank above the merged id, so that the smallest is the one to apply first.
    typealias Ordered = UInt64
    /// No merge; greater than any.
    static let none = Ordered.max

    @inline(__always)
    static func id(_ merge: Ordered) -> Int32 { Int32(truncatingIfNeeded: merge) }
    @inline(__always)
    static func rank(_ merge: Ordered) -> UInt32 { UInt32(truncatingIfNeeded: merge &>> 32) }

    private struct Entry: BitwiseCopyable, Sendable {
        var key: UInt64
        var merge: Ordered
    }

    private static let empty = UInt64.max  // ids are not negative
    private let slots: FixedArray<Entry>
    private let shift: UInt64

    /// - Parameters:
    ///   - pairs: By rank. Of a repeated pair the last rank counts.
    ///   - ids: What each becomes.
    init(_ pairs: [(left: Int32, right: Int32)], ids: [Int32]) {
        precondition(pairs.count == ids.count, "\(pairs.count) pairs, \(ids.count) results")
        var bits: UInt64 = 4
        while (1 << bits) < pairs.count + pairs.count / 2 { bits += 1 }  // at most two thirds full
        let shift = 64 - bits
        self.shift = shift
        slots = FixedArray(count: 1 << Int(bits)) { slots in
            slots.initialize(repeating: Entry(key: MergeTable.empty, merge: MergeTable.none))
            for (rank, pair) in pairs.enumerated() {
                let key = MergeTable.key(pair.left, pair.right)
                var slot = MergeTable.place(key, shift)
                while slots[slot].key != MergeTable.empty && slots[slot].key != key { slot = (slot + 1) & (slots.count - 1) }
                slots[slot] = Entry(key: key, merge: UInt64(rank) << 32 | UInt64(UInt32(bitPattern: ids[rank])))
            }
        }
    }

    /// The merge of two neighbours, or `none`.
    @inline(__always)
    func find(_ left: Int32, _ right: Int32) -> Ordered {
        let key = MergeTable.key(left, right)
        var slot = MergeTable.place(key, shift)
        while true {
            let entry = slots[slot]
            if entry.key == key || entry.key == MergeTable.empty { return entry.merge }  // an empty slot holds `none`
            slot = (slot &+ 1) & (slots.count &- 1)
        }
    }

    /// The tokens that merges make, in no order.
    var results: [Int32] { (0..<slots.count).compactMap { slots[$0].key == MergeTable.empty ? nil : MergeTable.id(slots[$0].merge) } }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private static func place(_ key: UInt64, _ shift: UInt64) -> Int {
        Int(truncatingIfNeeded: ((key ^ key &>> 29) &* 0x9E37_79B9_7F4A_7C15) &>> shift)
    }
}
