import Checkpoints
import Foundation
import Tensors

/// A decoder-only transformer, one for all families: the architecture is data in `ModelConfig`.
///
///     x ← E[token];   per layer: x += Wo·attention(norm₁ x);   x += Wd·(act(Wg·norm₂ x) ∘ Wu·norm₂ x)
///     log π(token) = log softmax(W_head · norm x);   score = W_score · norm x, of a model with a score head
///
/// Weights, gradients and sums are fp32; matrix products take bf16 operands under `.bf16` and accumulate in fp32.
/// A row's bits depend on its own chain of tokens alone: not on the pack, the batch or the number of threads.
public final class Transformer: TrainablePolicy {
    /// Changes whenever the same weights and tokens may give other log-probs than before: part of every cache's key.
    public static let numericsVersion = 3

    public let config: ModelConfig
    public let compute: Compute
    public let precision: Precision
    /// Whether activations are dropped after a layer's forward and computed again in its backward.
    public let recompute: Bool
    /// All of the model's, or the adapter's alone where the model is frozen.
    public private(set) var parameters: [ParameterInfo] = []
    public let weights: FloatBuffer
    /// Empty when the model does not train.
    public let gradients: FloatBuffer

    let layers: [Layer]
    /// Empty where the model is frozen: `storedEmbedding` then has the rows.
    let embedding: Matrix
    let storedEmbedding: StoredLinear?
    let finalNorm: Matrix
    /// The language head; nil for a model that only scores.
    let head: PackedLinear?
    let headWeight: Matrix?
    /// The score head `[outputs, d]`, multiplied in fp32 whatever the precision; it trains also where the model is frozen.
    let scoreHead: Matrix?
    /// What trains where the model itself is frozen.
    let adapter: Adapter?
    /// Whether the adapter takes part: without it the model is its own reference.
    var adapterIsOn = true
    private(set) var rope: RotaryTable
    var workspace = Workspace()
    /// What the last `logProbs` left for `backward`.
    var pending: PendingBackward?
    /// What the last `beginDistributions` left.
    var distributions: PendingDistributions?
    let layout: ParameterLayout

    /// Reads a checkpoint's weights.
    /// - Parameters:
    ///   - config: Another configuration than the checkpoint's, such as one with a score head.
    ///   - trains: Whether gradients are allocated.
    ///   - recompute: Activation checkpointing: memory for one layer, a third more work.
    ///   - fillHead: Writes a score head that the checkpoint does not have, or whose weights are not to be used.
    /// - Throws: `CheckpointError` for weights that cannot be read, `ModelError` for an architecture this build does not run.
    public convenience init(
        _ checkpoint: Checkpoint, config: ModelConfig? = nil, compute: Compute, precision: Precision, trains: Bool = true, recompute: Bool = false,
        fillHead: ((ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void)? = nil
    ) throws {
        let config = config ?? checkpoint.config
        let heads = Set(config.scoreHeads.map(\.name))
        try self.init(config, compute: compute, precision: precision, trains: trains, recompute: recompute) { parameter, values in
            if let fillHead, heads.contains(parameter.name) { return try fillHead(parameter, values) }
            try checkpoint.read(parameter.name, into: values)
        }
    }

    /// A model whose weights are drawn: matrices from N(0, `deviation`²), norms 1.
    public convenience init(
        random config: ModelConfig, deviation: Double = 0.02, seed: UInt64, compute: Compute, precision: Precision, recompute: Bool = false
    ) throws {
        try self.init(config, compute: compute, precision: precision, trains: true, recompute: recompute) { parameter, values in
            var random = RandomStream(seed: seed, stream: 0x1417, index: UInt64(parameter.offset))
            for i in values.indices { values[i] = parameter.decays ? Float(random.normal() * deviation) : 1 }
        }
    }

    /// - Parameter fill: Writes one parameter's values; called for several parameters at a time.
    init(
        _ config: ModelConfig, compute: Compute, precision: Precision, trains: Bool, recompute: Bool,
        fill: (ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void
    ) throws {
        self.config = config
        self.compute = compute
        self.precision = precision
        self.recompute = recompute
        try Transformer.check(config)
        layout = ParameterLayout(config)
        parameters = layout.parameters
        weights = FloatBuffer(count: layout.count)
        gradients = FloatBuffer(count: trains ? layout.count : 0)
        let weights = weights
        func matrix(_ block: ParameterLayout.Block) -> Matrix {
            Matrix(buffer: weights, offset: block.offset, rows: block.rows, columns: block.columns, stride: block.columns)
        }
        embedding = matrix(layout.embedding)
        (storedEmbedding, adapter) = (nil, nil)
        finalNorm = matrix(layout.finalNorm)
        headWeight = layout.head.map(matrix)
        head = layout.head.map { PackedLinear(outputs: $0.rows, inputs: $0.columns, precision: precision, forwardOnly: !trains) }
        scoreHead = layout.score.map(matrix)
        layers = layout.layers.map { Layer($0, matrix: matrix, precision: precision, forwardOnly: !trains) }
        rope = RotaryTable(config)
        try Transformer.load(parameters, into: weights, on: compute, fill)
        weightsChanged()
    }

    /// A frozen model, its weights in the blocks that `loader` makes of them, with an adapter that trains, and with it a score head.
    /// - Parameters:
    ///   - adapter: nil: nothing trains.
    ///   - seed: Of the adapter's first weights and of its dropout.
    ///   - fillHead: Writes the score head.
    init(
        frozen loader: StoredLoader, config: ModelConfig, adapter adapterConfig: AdapterConfig?, seed: UInt64, compute: Compute, precision: Precision, trains: Bool,
        recompute: Bool, fillHead: (ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void
    ) throws {
        try Transformer.check(config)
        (self.config, self.compute, self.precision, self.recompute) = (config, compute, precision, recompute)
        layout = ParameterLayout(config)
        let stored = try StoredMatrices(loader, config: config, on: compute)
        (embedding, storedEmbedding, finalNorm) = (Matrix(rows: 0, columns: config.hiddenSize), stored.embedding, stored.finalNorm)
        (head, headWeight) = (stored.head.map { PackedLinear($0, precision: precision) }, nil)
        let layers = zip(layout.layers, stored.layers).map { Layer($0, frozen: $1, precision: precision) }
        self.layers = layers
        rope = RotaryTable(config)
        let adapter = try adapterConfig.map { adapterConfig in
            try Adapter(adapterConfig, model: config, base: { layers[$0].linear($1) }, seed: seed, precision: precision, trains: trains, on: compute)
        }
        self.adapter = adapter
        (parameters, weights) = (adapter?.parameters ?? [], adapter?.weights ?? FloatBuffer(count: 0))
        gradients = adapter?.gradients ?? FloatBuffer(count: 0)
        scoreHead = adapter?.scoreHead(adapter?.weights) ?? layout.score.map { Matrix(rows: $0.rows, columns: $0.columns) }
        guard let scoreHead else { return }
        var row = 0
        for (name, outputs) in config.scoreHeads {
            let own = scoreHead.rows(row..<row + outputs)
            let info = ParameterInfo(name: name, shape: [outputs, own.columns], offset: 0, count: outputs * own.columns, decays: true)
            try fillHead(info, UnsafeMutableBufferPointer(start: own.pointer, count: info.count))
            row += outputs
        }
    }

    /// Fills every parameter, several at a time; the first failure in checkpoint order is the one reported.
    private static func load(
        _ parameters: [ParameterInfo], into weights: FloatBuffer, on compute: Compute,
        _ fill: (ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void
    ) throws {
        var failures = [(any Error)?](repeating: nil, count: parameters.count)
        failures.withUnsafeMutableBufferPointer { failures in
            let failures = failures.baseAddress!
            compute.parallel(parameters.count) { i in
                do { try fill(parameters[i], UnsafeMutableBufferPointer(start: weights.base + parameters[i].offset, count: parameters[i].count)) } catch {
                    failures[i] = error
                }
            }
        }
        if let failure = failures.lazy.compactMap({ $0 }).first { throw failure }
    }

    /// Packs the weights for the matrix units: once after every update.
    public func weightsChanged() {
        guard storedEmbedding == nil else {
            adapter?.weightsChanged(on: compute)
            return
        }
        for layer in layers { layer.pack(on: compute) }
        if let head, let headWeight { head.pack(headWeight, on: compute) }
    }

    /// Weights are packed as soon as they have changed, a few rows at a time.
    public func changeWeights(on compute: Compute, _ change: (_ piece: Range<Int>, _ decays: Bool) -> Void) {
        guard storedEmbedding == nil else { return changePieces(on: compute, change) }
        func norm(_ block: ParameterLayout.Block) { change(block.offset..<block.offset + block.columns, false) }
        func matrix(_ block: ParameterLayout.Block, _ rows: Range<Int>) {
            change(block.offset + rows.lowerBound * block.columns..<block.offset + rows.upperBound * block.columns, true)
        }
        for layer in layers {
            norm(layer.blocks.inputNorm)
            norm(layer.blocks.postNorm)
            layer.pack(on: compute, afterChanging: matrix)
        }
        norm(layout.finalNorm)
        if let score = layout.score { for row in 0..<score.rows { matrix(score, row..<row + 1) } }
        if let head, let headWeight, let block = layout.head { head.pack(headWeight, on: compute) { matrix(block, $0) } }
        guard head == nil || !config.tiesEmbeddings else { return }
        compute.parallel((layout.embedding.rows + 31) / 32) { slab in
            matrix(layout.embedding, slab * 32..<min(slab * 32 + 32, layout.embedding.rows))
        }
    }

    /// ∂L/∂W of the score head.
    var scoreGradient: Matrix? { adapter?.scoreHead(gradients) ?? layout.score.flatMap { gradient($0) } }

    /// ∂L/∂W of a block of the model's own weights; nil where they are frozen.
    func gradient(_ block: ParameterLayout.Block) -> Matrix? {
        storedEmbedding != nil ? nil : Matrix(buffer: gradients, offset: block.offset, rows: block.rows, columns: block.columns, stride: block.columns)
    }

    func reserveRotations(_ positions: [Int32]) {
        if let last = positions.max() { reserveRotations(count: Int(last) + 1) }
    }

    /// Makes positions `0..<count` available.
    func reserveRotations(count: Int) { rope.reserve(count) }

    /// The parameter's current values, for saving.
    public func values(of parameter: ParameterInfo, into destination: UnsafeMutableBufferPointer<Float>) {
        precondition(destination.count == parameter.count, "\(destination.count) floats for \(parameter.name) of \(parameter.count)")
        destination.baseAddress?.update(from: weights.base + parameter.offset, count: parameter.count)
    }

    static func check(_ config: ModelConfig) throws {
        func refuse(_ feature: String) throws { throw ModelError.unsupported(modelType: config.modelType, feature: feature) }
        if config.attentionBias || config.outputBias || config.mlpBias { try refuse("biases in linear layers") }
        if config.finalSoftCap != nil { try refuse("a soft cap on the logits") }
        if config.embeddingScale != 1 { try refuse("scaled embeddings") }
        if config.headDimension % 2 != 0 { try refuse("an odd head size (\(config.headDimension))") }
        if config.activation == .gelu { try refuse("the exact GELU") }
    }
}

/// What a model cannot do.
public enum ModelError: Error, Equatable, CustomStringConvertible {
    case unsupported(modelType: String, feature: String)
    case tokenOutOfRange(token: Int, vocabulary: Int)
    case contextTooLong(tokens: Int, limit: Int)
    /// Log-probs or logits of a model that only scores.
    case noLanguageHead(architecture: String)
    /// Scores of a model without a score head.
    case noScoreHead(architecture: String)

    public var description: String {
        switch self {
        case let .unsupported(modelType, feature): "model type \"\(modelType)\" with \(feature) is not among those this build runs (Llama and Mistral families)"
        case let .tokenOutOfRange(token, vocabulary): "token id \(token) is outside the model's vocabulary of \(vocabulary). The ids come from another tokenizer."
        case let .contextTooLong(tokens, limit): "\(tokens) tokens exceed the model's context of \(limit). Shorten the prompt or lower --max-new-tokens."
        case let .noLanguageHead(architecture): "\(architecture) scores completions and predicts no tokens. Name a language model."
        case let .noScoreHead(architecture): "\(architecture) has no score head (score.weight). Name a reward model, such as one that `align reward` trains."
        }
    }
}

/// One decoder block's weights.
struct Layer {
    let inputNorm, postNorm: Matrix
    let blocks: ParameterLayout.LayerBlocks
    let packedQueryKeyValue, packedOutput, packedGateUp, packedDown: PackedLinear
    /// What is packed, by product; none of a frozen model.
    private let matrices: [(packed: PackedLinear, weight: Matrix, block: ParameterLayout.Block)]

    init(_ blocks: ParameterLayout.LayerBlocks, matrix: (ParameterLayout.Block) -> Matrix, precision: Precision, forwardOnly: Bool) {
        self.blocks = blocks
        inputNorm = matrix(blocks.inputNorm)
        postNorm = matrix(blocks.postNorm)
        func packed(_ block: ParameterLayout.Block) -> PackedLinear {
            PackedLinear(outputs: block.rows, inputs: block.columns, precision: precision, forwardOnly: forwardOnly)
        }
        packedQueryKeyValue = packed(blocks.queryKeyValue)
        packedOutput = packed(blocks.output)
        packedGateUp = packed(blocks.gateUp)
        packedDown = packed(blocks.down)
        matrices = [
            (packedQueryKeyValue, matrix(blocks.queryKeyValue), blocks.queryKeyValue), (packedOutput, matrix(blocks.output), blocks.output),
            (packedGateUp, matrix(blocks.gateUp), blocks.gateUp), (packedDown, matrix(blocks.down), blocks.down),
        ]
    }

    init(_ blocks: ParameterLayout.LayerBlocks, frozen stored: StoredMatrices.Layer, precision: Precision) {
        self.blocks = blocks
        (inputNorm, postNorm, matrices) = (stored.inputNorm, stored.postNorm, [])
        packedQueryKeyValue = PackedLinear(stored.queryKeyValue, precision: precision)
        packedOutput = PackedLinear(stored.output, precision: precision)
        packedGateUp = PackedLinear(stored.gateUp, precision: precision)
        packedDown = PackedLinear(stored.down, precision: precision)
    }

    func linear(_ product: Adapter.Product) -> PackedLinear {
        switch product {
        case .queryKeyValue: packedQueryKeyValue
        case .output: packedOutput
        case .gateUp: packedGateUp
        case .down: packedDown
        }
    }

    func pack(on compute: Compute, afterChanging change: (ParameterLayout.Block, Range<Int>) -> Void = { _, _ in }) {
        for entry in matrices { entry.packed.pack(entry.weight, on: compute) { change(entry.block, $0) } }
    }
}
