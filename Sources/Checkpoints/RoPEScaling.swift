import Serialization

/// How rotary frequencies `θ_i = ropeTheta^(−2i/d)`, `i` in `0..<d/2`, are changed to reach longer contexts.
///
/// Names and meaning follow `rope_scaling` (transformers 4) and `rope_parameters` (transformers 5).
public enum RoPEScaling: Sendable, Equatable {
    /// Frequencies as they are.
    case none
    /// `θ_i / factor`.
    case linear(factor: Double)
    /// A base that grows with the sequence beyond `maxPositions` ("dynamic NTK").
    case dynamic(factor: Double)
    /// YaRN (Peng et al. 2023): a ramp between `θ_i` and `θ_i / factor`, with an attention temperature.
    case yarn(YaRN)
    /// Llama 3.1: frequencies above `high` turns in `original` positions stay, below `low` are divided by `factor`, a ramp between.
    case llama3(factor: Double, low: Double, high: Double, original: Int)
    /// Per-pair divisors, one list up to `original` positions, another beyond.
    case longrope(LongRoPE)
    /// `θ_i / divisors[i]`, `d/2` of them: what GGUF stores as `rope_freqs.weight`.
    case divisors([Float])

    /// YaRN's settings; `nil` where the reference derives the value from the others.
    public struct YaRN: Sendable, Equatable {
        public var factor: Double
        public var original: Int
        public var betaFast: Double, betaSlow: Double
        public var attentionFactor: Double?, mscale: Double?, mscaleAllDimensions: Double?
        /// Whether the ramp's ends are rounded to whole dimensions.
        public var truncates: Bool
    }

    /// LongRoPE's settings; `attentionFactor` is derived from the context lengths where it is `nil`.
    public struct LongRoPE: Sendable, Equatable {
        public var shortFactors: [Double], longFactors: [Double]
        public var original: Int
        public var attentionFactor: Double?
    }

    static let supported = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"]
}

extension RoPEScaling {
    /// Reads `rope_scaling` or `rope_parameters`.
    /// - Parameter pairs: `d/2`, the length of lists of per-pair factors.
    init(_ values: ConfigValues, pairs: Int, maxPositions: Int) throws(CheckpointError) {
        let key = values.has("rope_type") ? "rope_type" : "type"
        let type = try values.text(key) ?? "default"
        func factor() throws(CheckpointError) -> Double { try values.number("factor", in: 1e-3...1e6) }
        func original() throws(CheckpointError) -> Int {
            try values.integer("original_max_position_embeddings", in: 1...ModelConfig.positionLimit, default: maxPositions)
        }
        switch type {
        case "default", "none": self = .none
        case "linear": self = .linear(factor: try factor())
        case "dynamic": self = .dynamic(factor: try factor())
        case "yarn":
            self = .yarn(
                YaRN(
                    factor: try factor(), original: try original(),
                    betaFast: try values.number("beta_fast", in: 0...1e6, default: 32),
                    betaSlow: try values.number("beta_slow", in: 0...1e6, default: 1),
                    attentionFactor: try values.optionalNumber("attention_factor", in: 1e-6...1e6),
                    mscale: try values.optionalNumber("mscale", in: 0...1e6),
                    mscaleAllDimensions: try values.optionalNumber("mscale_all_dim", in: 0...1e6),
                    truncates: try values.flag("truncate", default: true)))
        case "llama3":
            let low = try values.number("low_freq_factor", in: 1e-6...1e6)
            let high = try values.number("high_freq_factor", in: 1e-6...1e6)
            guard high > low else { throw values.fault("high_freq_factor", "more than low_freq_factor, \(low)") }
            self = .llama3(factor: try factor(), low: low, high: high, original: try original())
        case "longrope", "su":
            let short = try values.numbers("short_factor", count: pairs, in: 1e-6...1e9)
            let long = try values.numbers("long_factor", count: pairs, in: 1e-6...1e9)
            let attention = try values.optionalNumber("attention_factor", in: 1e-6...1e6)
            if short == long && attention == 1 {
                // The same divisors at every length, unscaled attention: how `.divisors` is written.
                self = .divisors(short.map { Float($0) })
            } else {
                self = .longrope(LongRoPE(shortFactors: short, longFactors: long, original: try original(), attentionFactor: attention))
            }
        default:
            throw .unsupported(file: values.file, line: values.line(key), key: values.name(key), found: type, supported: Self.supported)
        }
    }

    /// The members of `rope_scaling`, without the base; `nil` for `.none`.
    func members(maxPositions: Int) -> [(String, JSON)]? {
        switch self {
        case .none: return nil
        case let .linear(factor): return [("rope_type", "linear"), ("factor", .number(factor))]
        case let .dynamic(factor): return [("rope_type", "dynamic"), ("factor", .number(factor))]
        case let .yarn(yarn):
            var members: [(String, JSON)] = [
                ("rope_type", "yarn"), ("factor", .number(yarn.factor)),
                ("original_max_position_embeddings", .integer(yarn.original)),
                ("beta_fast", .number(yarn.betaFast)), ("beta_slow", .number(yarn.betaSlow)),
            ]
            if let value = yarn.attentionFactor { members.append(("attention_factor", .number(value))) }
            if let value = yarn.mscale { members.append(("mscale", .number(value))) }
            if let value = yarn.mscaleAllDimensions { members.append(("mscale_all_dim", .number(value))) }
            if !yarn.truncates { members.append(("truncate", false)) }
            return members
        case let .llama3(factor, low, high, original):
            return [
                ("rope_type", "llama3"), ("factor", .number(factor)), ("low_freq_factor", .number(low)),
                ("high_freq_factor", .number(high)), ("original_max_position_embeddings", .integer(original)),
            ]
        case let .longrope(long):
            var members: [(String, JSON)] = [
                ("rope_type", "longrope"), ("original_max_position_embeddings", .integer(long.original)),
                ("short_factor", .array(long.shortFactors.map { .number($0) })),
                ("long_factor", .array(long.longFactors.map { .number($0) })),
            ]
            if let value = long.attentionFactor { members.append(("attention_factor", .number(value))) }
            return members
        case let .divisors(divisors):
            let factors = JSON.array(divisors.map { .number(Double($0)) })
            return [
                ("rope_type", "longrope"), ("factor", 1.0), ("attention_factor", 1.0),
                ("original_max_position_embeddings", .integer(maxPositions)), ("short_factor", factors), ("long_factor", factors),
            ]
        }
    }
}
