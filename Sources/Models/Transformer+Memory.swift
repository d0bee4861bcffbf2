import Checkpoints
import Tensors

extension Transformer {
    /// Bytes that a model and its largest batch take, as this file allocates them.
    /// - Parameters:
    ///   - tokens: Of the largest micro-batch, shared prompts counted once.
    ///   - scoredTokens: Of the same batch.
    ///   - trains: With gradients, AdamW's two moments and kept activations.
    public static func memoryEstimate(
        config: ModelConfig, tokens: Int, scoredTokens: Int, trains: Bool, precision: Precision, recompute: Bool
    ) -> Int {
        let layout = ParameterLayout(config)
        let packed = precision == .bf16 ? layout.count * 2 * (trains ? 2 : 1) : 0
        return layout.count * 4 * (trains ? 4 : 1) + packed
            + activationBytes(config: config, tokens: tokens, scoredTokens: scoredTokens, trains: trains, precision: precision, recompute: recompute)
    }

    /// The same of a frozen model with an adapter: blocks, and four floats of every parameter of the adapter with its packed copies. Without an
    /// adapter nothing trains.
    public static func memoryEstimate(
        frozen checkpoint: Checkpoint, base: BasePrecision, adapter: AdapterConfig?, tokens: Int, scoredTokens: Int, precision: Precision, recompute: Bool
    ) throws -> Int {
        let config = checkpoint.config
        var (blocks, layout, packed, widest) = (0, AdapterLayout(), 0, 0)
        for (name, shape) in config.requiredTensors() {
            let stored = checkpoint.tensors[name].flatMap { ElementType(rawValue: $0.dtype) } ?? .f32
            let type = shape.count == 1 ? .f32 : Self.type(of: name, in: checkpoint, base: base, precision: precision) ?? (checkpoint.adapter == nil ? stored : .f32)
            blocks += shape.reduce(1, *) / type.blockElements * type.blockBytes
        }
        for layer in 0..<config.layers {
            guard let adapter else { break }
            for product in Adapter.Product.allCases {
                let tensors = Adapter.tensors(product, config)
                let outputs = tensors.reduce(0) { $0 + $1.rows }
                let inputs = product == .down ? config.intermediateSize : product == .output ? config.heads * config.headDimension : config.hiddenSize
                let ranks = try layout.place(adapter, layer: layer, tensors: tensors, inputs: inputs).last?.ranks.upperBound ?? 0
                guard ranks > 0 else { continue }
                // Both factors, packed for the forward and for the backward.
                packed += (inputs + outputs) * (precision == .bf16 ? 4 * ((ranks + 31) / 32 * 32) : 8 * ranks)
                widest = max(widest, outputs)
            }
        }
        let dora = adapter?.isDoRA == true ? tokens * widest * (precision == .bf16 ? 6 : 8) : 0
        let dropout = adapter.map { $0.dropout > 0 } == true ? tokens * config.intermediateSize * (precision == .bf16 ? 2 : 4) : 0
        return blocks + layout.count * 16 + packed + dora + dropout
            + activationBytes(config: config, tokens: tokens, scoredTokens: scoredTokens, trains: adapter != nil, precision: precision, recompute: recompute, isFrozen: true)
    }

    /// What the process takes besides: program, tokenizer, the threads' scratch memory.
    public static let processBytes = 80 << 20

    private static func activationBytes(
        config: ModelConfig, tokens: Int, scoredTokens: Int, trains: Bool, precision: Precision, recompute: Bool, isFrozen: Bool = false
    ) -> Int {
        let float = 4
        let d = config.hiddenSize
        let (attention, keyValue) = (config.heads * config.headDimension, config.keyValueHeads * config.headDimension)
        let qkv = attention + 2 * keyValue
        // Floats of a value that products take: half of one under bf16.
        func operand(_ count: Int) -> Int { precision == .bf16 ? count / 2 : count }
        let perLayer = (isFrozen ? 0 : d) + 2 + config.heads + operand(qkv + attention + 2 * config.intermediateSize)
        let layers = trains && !recompute ? config.layers : 1
        let residual = d * (trains ? config.layers + 1 : 2)
        // normed, hidden; in training dx, dNormed, dQkv, dAttended, a rounded dx and a recomputed output
        let backward = 2 * d + qkv + operand(attention) + (precision == .bf16 ? operand(d) : 0) + (recompute ? d : 0) + (isFrozen ? d : 0)
        let shared = operand(d + config.intermediateSize) + (trains ? backward : 0)
        let activations = tokens * (perLayer * layers + residual + shared)
        let kept = trains ? keptHeadRows(scoredTokens, vocabulary: config.vocabularySize, precision: precision, recompute: recompute || isFrozen) : 0
        let passing = min(scoredTokens - kept, headRows) * min(config.vocabularySize, headColumns)
        let head = scoredTokens * (d * (trains ? 3 : 1) + operand(d)) + operand(kept * config.vocabularySize + (trains ? passing : 0))
        return processBytes + (activations + head) * float
    }

    /// Floating-point operations of one forward over a batch: 2 per weight and token, attention's products, and the head on scored tokens.
    public static func forwardOperations(config: ModelConfig, batch: SegmentTree) -> Double {
        let d = Double(config.hiddenSize)
        let (attention, keyValue) = (Double(config.heads * config.headDimension), Double(config.keyValueHeads * config.headDimension))
        let (before, after) = (d * (attention + 2 * keyValue), attention * d + 3 * d * Double(config.intermediateSize))
        let pairs = batch.segments.reduce(0.0) { sum, segment in
            let n = Double(segment.range.count)
            return sum + n * Double(segment.firstPosition) + n * (n + 1) / 2
        }
        // The last layer is whole only for the rows that are read.
        let read = RowsRead(batch)?.rows
        let (lastRows, lastPairs) = (Double(read?.count ?? batch.tokenCount), read?.reduce(0.0) { $0 + Double(batch.positions[Int($1)] + 1) } ?? pairs)
        let (tokens, inner) = (Double(batch.tokenCount), Double(config.layers - 1))
        return 2 * before * tokens * (inner + 1) + 2 * after * (tokens * inner + lastRows) + 4 * attention * (pairs * inner + lastPairs)
            + 2 * d * Double(config.vocabularySize) * Double(batch.scoredTokenCount)
    }
}
