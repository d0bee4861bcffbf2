import Tensors

/// A small world whose reward is known exactly: what studies train in, so that a claim about rewards can be held against the truth.
///
///     0 padding · 1 begin · 2 separator · 3 end · 4–7 modes · 8–31 four classes of six · 32–63 filler
///     prompt: begin, mode, three fillers, separator          completion: at most 24 ids, the end included
///
/// Everything drawn follows from (seed, what it is for, index).
public struct PlantedWorld: Sendable, Equatable {
    public enum Variant: String, CaseIterable, Sendable, Codable {
        case base
        /// Gold without what bends it: no turn past five of class 0, no repeats, no length.
        case flat
        /// What is wanted depends on the prompt: class m for mode m, and class m + 1 is unwanted.
        case bound
        /// Labels prefer the longer completion with probability 0.2.
        case noisyLength = "noisy-length"
    }

    public static let vocabulary = 64, promptLength = 6, longestCompletion = 24
    public static let padding: Int32 = 0, begin: Int32 = 1, separator: Int32 = 2, end: Int32 = 3
    static let modes: Int32 = 4, classes: Int32 = 8, classSize: Int32 = 6, filler: Int32 = 32, fillers: Int32 = 32

    public var variant: Variant
    public var seed: UInt64
    public init(_ variant: Variant = .base, seed: UInt64) { (self.variant, self.seed) = (variant, seed) }

    /// What prompts are for: each purpose has its own, so that nothing is trained on what it is measured on.
    public enum Purpose: UInt64, Sendable, CaseIterable {
        case documents = 1, heldOutDocuments, pool, pairs, freshPairs, training, evaluation
    }

    public func prompt(_ index: Int, for purpose: Purpose) -> [Int32] {
        var stream = stream(.prompts, purpose, index)
        let mode = Self.modes + Int32(stream.next() % 4)
        return [Self.begin, mode] + (0..<3).map { _ in Self.filler + Int32(stream.next() % UInt64(Self.fillers)) } + [Self.separator]
    }

    public func prompts(_ count: Int, for purpose: Purpose) -> [[Int32]] { (0..<count).map { prompt($0, for: purpose) } }

    enum Draw: UInt64 { case prompts = 0x57A1, documents, labels }

    func stream(_ draw: Draw, _ purpose: Purpose, _ index: Int) -> RandomStream {
        RandomStream(seed: seed, stream: draw.rawValue << 8 | purpose.rawValue, index: UInt64(index))
    }

    // MARK: Classes

    /// Class of an id, 0…3; nil for ids of none.
    static func classOf(_ id: Int32) -> Int? { id >= classes && id < filler ? Int((id - classes) / classSize) : nil }

    /// The classes that a prompt's mode makes wanted and unwanted, and those it makes its own and foreign where there are such.
    struct Roles: Equatable {
        var wanted: Int, unwanted: Int
        var own: Int?, other: Int?
    }

    func roles(of prompt: [Int32]) -> Roles {
        precondition(prompt.count == Self.promptLength, "a prompt of \(prompt.count) ids, expected \(Self.promptLength)")
        let mode = Int(prompt[1] - Self.modes)
        if variant == .bound { return Roles(wanted: mode % 4, unwanted: (mode + 1) % 4) }
        return Roles(wanted: 0, unwanted: 1, own: 2 + mode % 2, other: 3 - mode % 2)
    }
}
