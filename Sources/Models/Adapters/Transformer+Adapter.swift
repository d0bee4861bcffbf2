import Checkpoints
import Tensors

/// In which type a frozen base's matrices lie in memory.
public enum BasePrecision: String, CaseIterable, Sendable, Codable {
    /// As stored where the file is quantized; else bf16 where products are bf16, as no bit of theirs would differ, and as stored where they are not.
    case auto
    /// The file's own types.
    case stored
    case bf16, fp32
}

extension Transformer {
    /// A frozen model with an adapter, which alone trains; or without one, then nothing does.
    ///
    /// The base's matrices stay in blocks and are dequantised a few panels at a time, in the forward and in the backward. The embedding is
    /// always as stored: its rows are not a product's operands, and rounding them would change the model.
    /// - Parameters:
    ///   - adapter: Which layers, of what rank; its weights are PEFT's start, or `initial`.
    ///   - config: Another configuration than the checkpoint's, such as one with a score head, which trains whole.
    ///   - initial: Values to start from.
    ///   - fillHead: Writes a score head that the checkpoint does not have, or whose weights are not to be used.
    /// - Throws: `CheckpointError`, `ModelError`, `AdapterError`.
    public convenience init(
        frozen checkpoint: Checkpoint, config: ModelConfig? = nil, base: BasePrecision = .auto, adapter: AdapterConfig?, initial: AdapterFile? = nil, seed: UInt64,
        compute: Compute, precision: Precision, trains: Bool = true, recompute: Bool = false,
        fillHead: ((ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void)? = nil
    ) throws {
        let loader = StoredLoader(checkpoint) { Self.type(of: $0, in: checkpoint, base: base, precision: precision) }
        try self.init(
            frozen: loader, config: config ?? checkpoint.config, adapter: adapter, seed: seed, compute: compute, precision: precision, trains: trains, recompute: recompute
        ) { parameter, values in
            if let fillHead { return try fillHead(parameter, values) }
            // A head that an adapter brings replaces the checkpoint's, where that has one at all.
            if let initial, initial.replaced[parameter.name] != nil { return try initial.readReplaced(parameter.name, shape: parameter.shape, into: values) }
            try checkpoint.read(parameter.name, into: values)
        }
        if let initial { try self.adapter?.load(initial, on: compute) }
    }

    /// Whether a model that stays as it is may lie in blocks: their products are our own, and where others multiply the bits would differ.
    public static func mayFreeze(_ compute: Compute, _ precision: Precision) -> Bool { compute.identity(precision) == compute.path.rawValue }

    /// A model that only says what it thinks of tokens: a reference, a teacher, a reward model. Its numbers are those of a model that could be
    /// trained, bit for bit; its matrices lie in bf16 or in their file's blocks where that can be.
    /// - Throws: `CheckpointError`, `ModelError`.
    public static func frozen(_ checkpoint: Checkpoint, compute: Compute, precision: Precision) throws -> Transformer {
        guard mayFreeze(compute, precision) else { return try Transformer(checkpoint, compute: compute, precision: precision, trains: false) }
        return try Transformer(frozen: checkpoint, adapter: nil, seed: 0, compute: compute, precision: precision, trains: false)
    }

    /// The type in memory of a frozen base's tensor; nil: as stored.
    static func type(of name: String, in checkpoint: Checkpoint, base: BasePrecision, precision: Precision) -> ElementType? {
        guard name.hasPrefix("model.layers.") || name == "lm_head.weight" else { return nil }
        switch base {
        case .stored: return nil
        case .bf16: return .bf16
        case .fp32: return .f32
        case .auto: return precision == .bf16 && !checkpoint.isQuantized ? .bf16 : nil
        }
    }

    public var isFrozen: Bool { storedEmbedding != nil }

    /// Bytes of the matrices of a frozen model.
    var storedBytes: Int {
        let matrices = layers.flatMap { [$0.packedQueryKeyValue, $0.packedOutput, $0.packedGateUp, $0.packedDown] } + [head].compactMap { $0 }
        return matrices.reduce(config.tiesEmbeddings ? 0 : storedEmbedding?.bytes ?? 0) { $0 + ($1.storedBytes ?? 0) }
    }

    /// Takes over a saved adapter's values.
    public func loadAdapter(_ file: AdapterFile) throws {
        guard let adapter else { preconditionFailure("a model without an adapter") }
        try adapter.load(file, on: compute)
    }

    public func beginStep(_ step: Int) { adapter?.step = step }

    public var reference: (any Policy)? { adapter == nil ? nil : FrozenReference(self) }

    /// The adapter's part in a product, if it has one.
    func adapted(_ layer: Int, _ product: Adapter.Product) -> AdaptedLinear? { adapterIsOn ? adapter?[layer, product] : nil }

    /// Rows of the embedding.
    func embed(_ tokens: [Int32], into x: Matrix) {
        guard let storedEmbedding else { return gatherRows(embedding, tokens, into: x, on: compute) }
        compute.phase(.embedding) {
            compute.parallel((tokens.count + 31) / 32) { block in
                for i in block * 32..<min(tokens.count, block * 32 + 32) { storedEmbedding.row(Int(tokens[i]), into: x.pointer + i * x.stride) }
            }
        }
    }
}

/// A frozen model without its adapter.
private final class FrozenReference: Policy {
    private let model: Transformer
    init(_ model: Transformer) { self.model = model }

    func scores(of batch: SegmentTree) throws -> TokenScores {
        model.adapterIsOn = false
        defer { model.adapterIsOn = true }
        return try model.scores(of: batch)
    }

    func logProbs(of batch: SegmentTree) throws -> TokenScores { try scores(of: batch) }
    func backward(_ gradient: ScoreGradient) throws { preconditionFailure("a reference does not train") }
}
