import Checkpoints
import Foundation
import Tensors

/// A decoder-only transformer, one for all families: the architecture is data in `ModelConfig`.
///
///     x ← E[token];   per layer: x += Wo·attention(norm₁ x);   x += Wd·(act(Wg·norm₂ x) ∘ Wu·norm₂ x)
///     log π(token) = log softmax(W_head · norm x)
///
/// Weights, gradients and sums are fp32; matrix products take bf16 operands under `.bf16` and accumulate in fp32.
/// A row's bits depend on its own chain of tokens alone: not on the pack, the batch or the number of threads.
public final class Transformer: TrainablePolicy {
    /// Changes whenever the same weights and tokens may give other log-probs than before: part of every cache's key.
    public static let numericsVersion = 2

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
    let head: PackedLinear
    let headWeight: Matrix
    /// What trains where the model itself is frozen.
    let adapter: Adapter?
    /// Whether the adapter takes part: without it the model is its own reference.
    var adapterIsOn = true
    private(set) var rope: RotaryTable
    var workspace = Workspace()
    /// What the last `logProbs` left for `backward`.
    var pending: PendingBackward?
    let layout: ParameterLayout

    /// Reads a checkpoint's weights.
    /// - Parameters:
    ///   - trains: Whether gradients are allocated.
    ///   - recompute: Activation checkpointing: memory for one layer, a third more work.
    /// - Throws: `CheckpointError` for weights that cannot be read, `ModelError` for an architecture this build does not run.
    public convenience init(_ checkpoint: Checkpoint, compute: Compute, precision: Precision, trains: Bool = true, recompute: Bool = false) throws {
        try self.init(checkpoint.config, compute: compute, precision: precision, trains: trains, recompute: recompute) { parameter, values in
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
        headWeight = matrix(layout.head)
        head = PackedLinear(outputs: layout.head.rows, inputs: layout.head.columns, precision: precision, forwardOnly: !trains)
        layers = layout.layers.map { Layer($0, matrix: matrix, precision: precision, forwardOnly: !trains) }
        rope = RotaryTable(config)
        try Transformer.load(parameters, into: weights, on: compute, fill)
        weightsChanged()
    }

    /// A frozen model, its weights in the blocks that `loader` makes of them, with an adapter that trains.
    /// - Parameters:
    ///   - adapter: nil: nothing trains.
    ///   - seed: Of the adapter's first weights and of its dropout.
    init(
        frozen loader: StoredLoader, adapter adapterConfig: AdapterConfig?, seed: UInt64, compute: Compute, precision: Precision, trains: Bool, recompute: Bool
    ) throws {
        let config = loader.checkpoint.config
        try Transformer.check(config)
        (self.config, self.compute, self.precision, self.recompute) = (config, compute, precision, recompute)
        layout = ParameterLayout(config)
        let stored = try StoredMatrices(loader, on: compute)
        (embedding, storedEmbedding, finalNorm) = (Matrix(rows: 0, columns: config.hiddenSize), stored.embedding, stored.finalNorm)
        (head, headWeight) = (PackedLinear(stored.head, precision: precision), Matrix(rows: 0, columns: config.hiddenSize))
        let layers = zip(layout.layers, stored.layers).map { Layer($0, frozen: $1, precision: precision) }
        self.layers = layers
        rope = RotaryTable(config)
        adapter = try adapterConfig.map { adapterConfig in
            try Adapter(
                adapterConfig, model: config, base: { layers[$0].linear($1) }, seed: seed, precision: precision, trains: trains, on: compute)
        }
        (parameters, weights) = (adapter?.parameters ?? [], adapter?.weights ?? FloatBuffer(count: 0))
        gradients = adapter?.gradients ?? FloatBuffer(count: 0)
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
        head.pack(headWeight, on: compute)
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
        head.pack(headWeight, on: compute) { matrix(layout.head, $0) }
        guard !config.tiesEmbeddings else { return }
        compute.parallel((layout.embedding.rows + 31) / 32) { slab in
            matrix(layout.embedding, slab * 32..<min(slab * 32 + 32, layout.embedding.rows))
        }
    }

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

    public var description: String {
        switch self {
        case let .unsupported(modelType, feature): "model type \"\(modelType)\" with \(feature) is not among those this build runs (Llama and Mistral families)"
        case let .tokenOutOfRange(token, vocabulary): "token id \(token) is outside the model's vocabulary of \(vocabulary). The ids come from another tokenizer."
        case let .contextTooLong(tokens, limit): "\(tokens) tokens exceed the model's context of \(limit). Shorten the prompt or lower --max-new-tokens."
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
