/// Random numbers that follow from a seed alone (Steele et al. 2014): resampling gives the same bits in every process.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        defer { state &+= 0x9E37_79B9_7F4A_7C15 }
        return SplitMix64.mix(state)
    }

    /// In [0, 1), 53 bits.
    public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// One step and the finalizer: nearby inputs give unrelated outputs.
    static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number that follows from texts and a seed: what is shown to whom depends on them alone.
    static func hash(_ texts: [String], seed: UInt64) -> UInt64 {
        var state = mix(seed)
        for text in texts {
            for byte in text.utf8 { state = mix(state ^ UInt64(byte)) }
            state = mix(state ^ 0x100)
        }
        return state
    }
}
