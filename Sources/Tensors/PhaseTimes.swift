import Synchronization

/// What a stretch of a model's work is spent on.
public enum Phase: String, CaseIterable, Sendable {
    case products = "products, forward"
    case inputGradients = "products, input gradients"
    case weightGradients = "products, weight gradients"
    case head = "head and cross-entropy"
    case attention = "attention, forward"
    case attentionBackward = "attention, backward"
    case norms = "norms"
    case elementwise = "activations and residuals"
    case embedding = "embedding"
    case optimizer = "optimizer"
    case packing = "packing weights"
    case clearing = "clearing gradients"
}

/// Time by phase, measured while it is switched on: the work of one thread that drives a model, its team's included.
///
/// A phase inside another counts as the outer one, so that the phases of a step never count a moment twice.
public final class PhaseTimes: Sendable {
    private struct State {
        var isOn = false
        var inside = false
        var seconds: [Phase: Double] = [:]
    }
    private let state = Mutex(State())

    /// Forgets what was measured and starts anew.
    public func start() { state.withLock { $0 = State(isOn: true) } }

    /// Ends measuring; seconds by phase since `start`.
    public func stop() -> [Phase: Double] {
        state.withLock { state in
            defer { state = State() }
            return state.seconds
        }
    }

    func measure<R>(_ phase: Phase, _ body: () throws -> R) rethrows -> R {
        let counts = state.withLock { state in
            guard state.isOn, !state.inside else { return false }
            state.inside = true
            return true
        }
        guard counts else { return try body() }
        let start = ContinuousClock.now
        defer {
            let elapsed = (ContinuousClock.now - start).components
            state.withLock {
                $0.inside = false
                $0.seconds[phase, default: 0] += Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
            }
        }
        return try body()
    }
}

extension Compute {
    /// Runs `body` and counts its time as `phase`, where somebody measures phases.
    public func phase<R>(_ phase: Phase, _ body: () throws -> R) rethrows -> R { try phaseTimes.measure(phase, body) }
}
