import Foundation
import Models
import Synchronization
import Tokenizers

/// The completions of one request, passed from the thread that samples to the one that answers.
final class CompletionFeed: Sendable {
    /// Something new of one completion.
    enum Event: Sendable {
        case text(choice: Int, String)
        case finished(choice: Int, Finished)
        case failed(ServeError)
    }
    struct Finished: Sendable {
        var tokens: [Int32]
        var logProbs: [Double]
        var reason: FinishReason
    }

    private let events = Mutex<[Event]>([])
    private let arrived = DispatchSemaphore(value: 0)
    private let cancelled = Atomic<Bool>(false)

    /// Whether nobody waits for the completions any more.
    var isCancelled: Bool { cancelled.load(ordering: .relaxed) }
    func cancel() { cancelled.store(true, ordering: .relaxed) }

    func post(_ event: Event) {
        events.withLock { $0.append(event) }
        arrived.signal()
    }

    /// What has come since; waits a fraction of a second for it.
    func take() -> [Event] {
        _ = arrived.wait(timeout: .now() + .milliseconds(100))
        return events.withLock { events in
            defer { events = [] }
            return events
        }
    }
}
