/// A moment after which waiting ends, by the monotonic clock.
public struct Deadline: Sendable {
    private let end: ContinuousClock.Instant
    /// What it was made with, for messages.
    public let seconds: Double
    private let isCancelled: @Sendable () -> Bool

    /// - Parameter isCancelled: Asked several times a second while waiting.
    public init(seconds: Double, isCancelled: @escaping @Sendable () -> Bool = { false }) {
        self.seconds = seconds
        self.isCancelled = isCancelled
        end = .now + .seconds(min(max(seconds, 0), 1e9))
    }

    public var isOver: Bool { ContinuousClock.now >= end }
    var wasCancelled: Bool { isCancelled() }

    /// Milliseconds for one poll(2): never more than a fraction of a second, so that a cancellation is seen.
    var pollMilliseconds: Int32 {
        let left = (end - .now).components
        let milliseconds = Double(left.seconds) * 1e3 + Double(left.attoseconds) / 1e15
        return Int32(min(max(milliseconds.rounded(.up), 0), 100))
    }
}
