import Foundation

/// What must hold of a world before anything is claimed in it.
public struct WorldGates: Sendable {
    public struct Gate: Sendable, Equatable {
        public var name: String
        public var value: Double
        public var isAtLeast: Bool
        public var bound: Double
        public var holds: Bool { isAtLeast ? value >= bound : value <= bound }
        public var text: String { String(format: "%@ %@  %.3f, %@ %.2f", holds ? "holds" : "FAILS", name, value, isAtLeast ? "at least" : "at most", bound) }
    }
    public var gates: [Gate]

    /// - Parameters:
    ///   - crossEntropy: Nats a token of held-out documents' completions, of the start model and of the writers themselves.
    ///   - ends: Share of samples that end by themselves.
    ///   - accuracy: Of a reward model on 3,000 clean pairs, on fresh ones.
    ///   - room: Best of 512 by gold above the mean sample, in standard deviations of the samples.
    ///   - exploited: Gold gain of the best of 512 by a proxy from 3,000 pairs at 25 % noise, as a share of gold's own choice.
    public init(crossEntropy: (start: Double, writers: Double), ends: Double, accuracy: Double, room: Double, exploited: Double) {
        gates = [
            Gate(name: "cross-entropy above the writers'", value: crossEntropy.start - crossEntropy.writers, isAtLeast: false, bound: 0.1),
            Gate(name: "samples that end", value: ends, isAtLeast: true, bound: 0.95),
            Gate(name: "learnable: fresh pairs ordered", value: accuracy, isAtLeast: true, bound: 0.78),
            Gate(name: "room: best of 512, deviations", value: room, isAtLeast: true, bound: 2.5),
            Gate(name: "exploitable: share of gold's gain", value: exploited, isAtLeast: false, bound: 0.9),
        ]
    }

    public var failed: [Gate] { gates.filter { !$0.holds } }
}
