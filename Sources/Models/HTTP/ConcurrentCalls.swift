import Foundation
import Synchronization

/// Calls that wait on sockets, several at a time: each has a thread of its own, none of those that compute.
final class ConcurrentCalls: Sendable {
    private let next = Atomic<Int>(0)
    private let running = Atomic<Int>(0)
    private let stopped = Atomic<Bool>(false)
    /// Results that may come before one is taken: calls do not run ahead of whoever keeps their results.
    private let room = DispatchSemaphore(value: 0)

    /// Whether no more calls are to begin, and those under way are to end.
    var isStopped: Bool { stopped.load(ordering: .relaxed) }
    func stop() { stopped.store(true, ordering: .relaxed) }

    /// To be called for each result that was taken.
    func took() { room.signal() }

    /// Calls `body` for 0..<count, at most `limit` at a time, in order of index; results come as they are finished. Once for each object.
    func results<Value: Sendable>(count: Int, limit: Int, _ body: @escaping @Sendable (Int) -> Value) -> AsyncStream<(Int, Value)> {
        let (stream, continuation) = AsyncStream<(Int, Value)>.makeStream()
        let threads = min(max(limit, 1), count)
        guard threads > 0 else {
            continuation.finish()
            return stream
        }
        running.store(threads, ordering: .sequentiallyConsistent)
        for _ in 0..<2 * threads { room.signal() }
        for _ in 0..<threads {
            Thread.detachNewThread { [self] in
                while !isStopped {
                    guard room.wait(timeout: .now() + .milliseconds(100)) == .success else { continue }
                    let index = next.add(1, ordering: .relaxed).oldValue
                    guard index < count else { break }
                    continuation.yield((index, body(index)))
                }
                if running.subtract(1, ordering: .sequentiallyConsistent).newValue == 0 { continuation.finish() }
            }
        }
        return stream
    }
}
