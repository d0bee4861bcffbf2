import Foundation

/// Random numbers that follow from (seed, stream, index) alone: drawn first or last, alone or resumed, they are the same.
///
/// Philox4x32-10 (Salmon et al. 2011): the key is the seed, the counter holds stream and index, the draw's number is
/// mixed into the key's path through the counter's lowest word.
public struct RandomStream: RandomNumberGenerator, Sendable {
    private let key: (UInt32, UInt32)
    private let stream: UInt64
    private let index: UInt64
    private var draws: UInt64 = 0
    private var spare: UInt64?

    public init(seed: UInt64, stream: UInt64, index: UInt64) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        self.stream = stream
        self.index = index
    }

    public mutating func next() -> UInt64 {
        if let spare {
            self.spare = nil
            return spare
        }
        // 128 bits of counter: stream and index are folded with the draw's number, which no stream exhausts.
        let low = index &* 0x9E37_79B9_7F4A_7C15 &+ draws
        let high = stream ^ (index >> 32 &* 0xD1B5_4A32_D192_ED03)
        draws &+= 1
        var c = (UInt32(truncatingIfNeeded: low), UInt32(truncatingIfNeeded: low >> 32), UInt32(truncatingIfNeeded: high), UInt32(truncatingIfNeeded: high >> 32))
        var k = key
        for _ in 0..<10 {
            let a = UInt64(c.0) &* 0xD251_1F53
            let b = UInt64(c.2) &* 0xCD9E_8D57
            c = (UInt32(truncatingIfNeeded: b >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: b), UInt32(truncatingIfNeeded: a >> 32) ^ c.3 ^ k.1, UInt32(truncatingIfNeeded: a))
            k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
        }
        spare = UInt64(c.2) | UInt64(c.3) << 32
        return UInt64(c.0) | UInt64(c.1) << 32
    }

    /// In [0, 1), 53 bits.
    public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Standard normal, by Box and Muller.
    public mutating func normal() -> Double {
        let radius = (-2 * log(1 - uniform())).squareRoot()
        return radius * cos(2 * Double.pi * uniform())
    }

    /// `0..<count` in random order (Fisher and Yates).
    public mutating func permutation(_ count: Int) -> [Int] { Array(0..<count).shuffled(using: &self) }
}
