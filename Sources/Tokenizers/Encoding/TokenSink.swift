import Synchronization

/// Where one text's tokens are collected, with the memory that encoding works in. Used by one call at a time.
struct TokenSink: ~Copyable {
    struct ByteRange { var start: Int, end: Int }

    var ids = GrowingBuffer<Int32>(capacity: 1024)
    /// First and last-plus-one byte of each token, if `wantsRanges`.
    var ranges = GrowingBuffer<ByteRange>()
    var wantsRanges = false
    /// Byte at which the next token starts; of no meaning without `wantsRanges`.
    var position = 0
    /// Pieces between two steps that cut text.
    var pieces: [Range<Int>] = [], cut: [Range<Int>] = []
    var merging = MergeScratch()
    let cache = WordCache()

    @inline(__always)
    mutating func append(_ id: Int32, bytes: Int, skipping: Int = 0) {
        ids.append(id)
        if wantsRanges {
            position += skipping
            ranges.append(ByteRange(start: position, end: position + bytes))
            position += bytes
        }
    }
}

/// Sinks that wait for the next text. A text takes one and gives it back, so threads share no memory while they encode; the lock
/// is held for two moments a text. What a sink remembers (`WordCache`) never changes a result, so it does not matter which is taken.
final class TokenSinks: Sendable {
    private final class Box {
        var sink = TokenSink()
    }
    /// Boxes pass from thread to thread, one owner at a time: whoever took one out is the only one to know it.
    private struct Idle: @unchecked Sendable { var boxes: [Box] = [] }
    private let idle = Mutex(Idle())

    /// More ids than this and a sink is given up after use: one huge text should not hold its memory for ever.
    private static let keptCapacity = 1 << 20

    func withSink<Result>(_ body: (inout TokenSink) -> Result) -> Result {
        let box = idle.withLock { $0.boxes.popLast() } ?? Box()
        let result = body(&box.sink)
        if box.sink.ids.capacity <= TokenSinks.keptCapacity && box.sink.merging.capacity <= TokenSinks.keptCapacity {
            idle.withLock { $0.boxes.append(box) }
        }
        return result
    }
}
