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
