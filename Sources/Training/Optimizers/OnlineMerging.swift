import Models
import Tensors

/// The online merging optimizer: every update is merged with the step from the base to the reference, so that what the reference had
/// learned is not forgotten.
///
///     θ ← θ + (1 − α)·F_p(Δθ) + α·F_p(τ),          τ = θ_ref − θ_base
///
/// Δθ is the optimizer's own update; F_p keeps each entry with probability p, drawn anew for every step, entry and side, without scaling it.
/// At α = 0, p = 1 it is the optimizer alone. Draws follow from (seed, step, entry), whatever the threads.
/// Source: Lu et al. 2024 (arXiv 2405.17931), eq. 3 and 4, in its DARE form (OnDARE); used by Qwen 2 (§4.3).
public struct OnlineMerging: Sendable {
    /// α in [0, 1]; the paper's best are 5e-7 to 5e-6.
    public let alpha: Double
    /// p in (0, 1].
    public let keep: Double
    /// τ, in the layout of the weights.
    let task: FloatBuffer
    private let seed: UInt64

    public init(task: FloatBuffer, alpha: Double, keep: Double, seed: UInt64) {
        precondition((0...1).contains(alpha) && keep > 0 && keep <= 1, "alpha \(alpha), keep \(keep)")
        (self.task, self.alpha, self.keep, self.seed) = (task, alpha, keep, seed)
    }

    /// τ of two models of the same parameters.
    /// - Throws: `TrainingError.otherParameters` for a base whose tensors are not the reference's.
    public static func task(reference: any TrainablePolicy, base: any TrainablePolicy, path: String) throws -> FloatBuffer {
        let theirs = Dictionary(uniqueKeysWithValues: base.parameters.map { ($0.name, $0) })
        for parameter in reference.parameters where theirs[parameter.name]?.shape != parameter.shape {
            throw TrainingError.otherParameters(
                model: path, tensor: parameter.name, found: theirs[parameter.name].map { "\($0.shape)" } ?? "none", expected: "\(parameter.shape)")
        }
        let task = FloatBuffer(count: reference.weights.count)
        for parameter in reference.parameters {
            guard let start = theirs[parameter.name]?.offset else { continue }
            for i in 0..<parameter.count { task.base[parameter.offset + i] = reference.weights.base[parameter.offset + i] - base.weights.base[start + i] }
        }
        return task
    }

    /// Merges one piece of an update.
    /// - Parameters:
    ///   - step: Of the optimizer, from 1.
    ///   - update: Changes the weights of the piece by Δθ.
    func apply(to weights: FloatBuffer, piece: Range<Int>, step: Int, _ update: () -> Void) {
        precondition(weights.count == task.count, "\(weights.count) weights, \(task.count) entries of the task vector")
        let old = Array(UnsafeBufferPointer(start: weights.base + piece.lowerBound, count: piece.count))
        update()
        let bound = keep == 1 ? UInt64(1) << 32 : UInt64(keep * 0x1p32)
        let stream = Self.mixed(seed &+ Self.mixed(UInt64(step)))
        for (place, before) in zip(piece, old) {
            let draw = Self.mixed(stream &+ UInt64(place))
            let (keepsUpdate, keepsTask) = (draw & 0xFFFF_FFFF < bound, draw >> 32 < bound)
            if alpha == 0 && keepsUpdate { continue }  // the optimizer's own value, to the bit
            let change = (keepsUpdate ? (1 - alpha) * (Double(weights.base[place]) - Double(before)) : 0) + (keepsTask ? alpha * Double(task.base[place]) : 0)
            weights.base[place] = Float(Double(before) + change)
        }
    }

    /// SplitMix64's finaliser: neighbouring numbers become unrelated ones (Steele et al. 2014).
    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// `--merging-base` and what goes with it.
public struct MergingSettings: Codable, Sendable, Equatable {
    public var base: String?
    public var alpha = 5e-7
    public var keep = 0.5

    public init() {}

    static let fields: [SettingField<MergingSettings>] = [
        .text("merging-base", \.base, placeholder: "PATH", group: "Online merging",
            help: "merge every update with the step from this base to --model: what that step learned is kept (Qwen 2's optimizer)"),
        .number("merging-alpha", \.alpha, expected: "a number from 0 to 1, such as 5e-7", where: { (0...1).contains($0) }, group: "Online merging",
            help: "share of that step in every update"),
        .number("merging-keep", \.keep, expected: "a share above 0 and at most 1", where: { $0 > 0 && $0 <= 1 }, group: "Online merging",
            help: "probability with which an entry of either is kept"),
    ]

    func validate(adapts: Bool) throws(SettingError) {
        guard base == nil else {
            if adapts { throw .conflict(settings: ["merging-base", "lora"], reason: "an adapter has no base to be merged with") }
            return
        }
        if let field = Self.fields.first(where: { $0.value(in: self) != $0.value(in: Self()) }) {
            throw .conflict(settings: [field.name], reason: "there is nothing to merge with; give --merging-base PATH")
        }
    }
}
