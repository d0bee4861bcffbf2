import Checkpoints
import Foundation

/// Inverse frequencies of rotary position embedding, with the field's scalings for longer context.
///
///     inv_i = b^(−2i/d), i in 0..<d/2; a token at position p turns pair i by p·inv_i
///
/// Sources: Su et al. 2021 (RoPE); linear: Chen et al. 2023; dynamic NTK and the forms of YaRN (Peng et al. 2023),
/// Llama 3 and LongRoPE (Ding et al. 2024) as transformers computes them.
public struct RotaryFrequencies: Sendable {
    public var base: Double
    /// d: the head's rotated size.
    public var dimension: Int
    public var scaling: RoPEScaling
    public var maxPositions: Int

    public init(base: Double, dimension: Int, scaling: RoPEScaling, maxPositions: Int) {
        self.base = base
        self.dimension = dimension
        self.scaling = scaling
        self.maxPositions = maxPositions
    }

    public init(_ config: ModelConfig) {
        self.init(base: config.ropeTheta, dimension: config.headDimension, scaling: config.ropeScaling, maxPositions: config.maxPositions)
    }

    private func plain(base: Double) -> [Double] {
        (0..<dimension / 2).map { pow(base, -2 * Double($0) / Double(dimension)) }
    }

    /// inv_i for a sequence of the given length (nil: not longer than the model was made for).
    public func inverse(sequenceLength: Int?) -> [Double] {
        let d = Double(dimension)
        switch scaling {
        case .none: return plain(base: base)
        case let .linear(factor): return plain(base: base).map { $0 / factor }
        case let .dynamic(factor):
            let n = Double(max(sequenceLength ?? 0, maxPositions))
            return plain(base: base * pow(factor * n / Double(maxPositions) - (factor - 1), d / (d - 2)))
        case let .divisors(divisors): return zip(plain(base: base), divisors).map { $0 / Double($1) }
        case let .llama3(factor, low, high, original):
            return plain(base: base).map { inverse in
                let wavelength = 2 * Double.pi / inverse
                let n = Double(original)
                if wavelength < n / high { return inverse }
                if wavelength > n / low { return inverse / factor }
                let s = (n / wavelength - low) / (high - low)
                return (1 - s) * inverse / factor + s * inverse
            }
        case let .yarn(yarn):
            // Pair index at which a rotation completes r turns over the original context.
            func pair(_ turns: Double) -> Double { d * log(Double(yarn.original) / (2 * Double.pi * turns)) / (2 * log(base)) }
            let low = max((yarn.truncates ? pair(yarn.betaFast).rounded(.down) : pair(yarn.betaFast)), 0)
            var high = min((yarn.truncates ? pair(yarn.betaSlow).rounded(.up) : pair(yarn.betaSlow)), d - 1)
            if low == high { high += 0.001 }
            return plain(base: base).enumerated().map { i, inverse in
                let keeps = 1 - min(max((Double(i) - low) / (high - low), 0), 1)
                return inverse / yarn.factor * (1 - keeps) + inverse * keeps
            }
        case let .longrope(long):
            let factors = (sequenceLength ?? 0) > long.original ? long.longFactors : long.shortFactors
            return zip(plain(base: base), factors).map { $0 / $1 }
        }
    }

    /// Multiplies cosines and sines: the attention temperature of YaRN and LongRoPE.
    public var attentionFactor: Double {
        switch scaling {
        case let .yarn(yarn):
            if let given = yarn.attentionFactor { return given }
            func scale(_ m: Double) -> Double { yarn.factor > 1 ? 0.1 * m * log(yarn.factor) + 1 : 1 }
            if let m = yarn.mscale, let all = yarn.mscaleAllDimensions, m > 0, all > 0 { return scale(m) / scale(all) }
            return scale(1)
        case let .longrope(long):
            if let given = long.attentionFactor { return given }
            let factor = Double(maxPositions) / Double(long.original)
            return factor > 1 ? (1 + log(factor) / log(Double(long.original))).squareRoot() : 1
        default: return 1
        }
    }
}
