import Synchronization

/// Of each token, whether the merges rebuild it from its own bytes, so that a word equal to it is one token.
/// Found out once per token; racing threads find out the same.
final class WholeWords: @unchecked Sendable {  // the pointer never changes, its elements are atomic
    enum State: UInt8 { case unknown = 0, yes, no }
    private let states: UnsafeMutablePointer<Atomic<UInt8>>
    private let count: Int

    init(count: Int) {
        self.count = count
        states = .allocate(capacity: count)
        for i in 0..<count { (states + i).initialize(to: Atomic(0)) }
    }

    deinit {
        states.deinitialize(count: count)
        states.deallocate()
    }

    subscript(id: Int32) -> State {
        get {
            precondition(id >= 0 && Int(id) < count, "token \(id) of \(count)")
            return State(rawValue: states[Int(id)].load(ordering: .relaxed)) ?? .unknown
        }
        set {
            precondition(id >= 0 && Int(id) < count, "token \(id) of \(count)")
            states[Int(id)].store(newValue.rawValue, ordering: .relaxed)
        }
    }
}

/// Tokens of short words met before: a fixed number of places, the newest word wins its place. It never changes a result.
final class WordCache: Sendable {
    private struct Place: Sendable {
        var word: [UInt8] = []
        var ids: [Int32] = []
        var lengths: [UInt8] = []  // bytes before the end of each token
    }
    private static let shardBits: UInt64 = 4, placeBits: UInt64 = 10
    private let shards: [Shard]

    private final class Shard: Sendable {
        let places = Mutex([Place](repeating: Place(), count: 1 << Int(WordCache.placeBits)))
    }

    init() { shards = (0..<(1 << Int(WordCache.shardBits))).map { _ in Shard() } }

    private func place(_ hash: UInt64) -> (shard: Int, index: Int) {
        (Int(hash >> (64 - WordCache.shardBits)), Int(hash >> 32 & (1 << WordCache.placeBits - 1)))
    }

    /// Appends the tokens of `word` if they are known.
    func append(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, into out: inout TokenSink) -> Bool {
        let (shard, index) = place(hash)
        return shards[shard].places.withLock { places in
            guard places[index].word.count == word.count, places[index].word.elementsEqual(word) else { return false }
            let start = out.position
            for i in 0..<places[index].ids.count {
                out.ids.append(places[index].ids[i])
                if out.wantsRanges {
                    let begin = start + Int(places[index].lengths[2 * i])
                    let end = start + Int(places[index].lengths[2 * i + 1])
                    out.ranges.append((begin, end))
                    out.position = end
                }
            }
            return true
        }
    }

    /// Remembers the tokens that `sink` holds from `start` on. Words are cached only with ranges known or all bytes covered.
    func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, from sink: TokenSink, start: Int) {
        let (shard, index) = place(hash)
        var lengths: [UInt8] = []
        var end = 0
        for symbol in sink.symbols {
            let begin = end + Int(symbol.skipped)
            end = begin + Int(symbol.bytes)
            lengths.append(UInt8(truncatingIfNeeded: begin))
            lengths.append(UInt8(truncatingIfNeeded: end))
        }
        let new = Place(word: Array(word), ids: Array(sink.ids[start...]), lengths: lengths)
        shards[shard].places.withLock { $0[index] = new }
    }
}
