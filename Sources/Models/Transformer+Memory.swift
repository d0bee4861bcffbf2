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
        let float = 4
        let packed = precision == .bf16 ? layout.count * 2 * (trains ? 2 : 1) : 0
        let weights = layout.count * float * (trains ? 4 : 1) + packed
        let d = config.hiddenSize
        let (attention, keyValue) = (config.heads * config.headDimension, config.keyValueHeads * config.headDimension)
        let qkv = attention + 2 * keyValue
        // Floats of a value that products take: half of one under bf16.
        func operand(_ count: Int) -> Int { precision == .bf16 ? count / 2 : count }
        let perLayer = d + 2 + config.heads + operand(qkv + attention + 2 * config.intermediateSize)
        let layers = trains && !recompute ? config.layers : 1
        let residual = d * (trains ? config.layers + 1 : 2)
        // normed, hidden; in training dx, dNormed, dQkv, dAttended, a rounded dx and a recomputed output
        let backward = 2 * d + qkv + operand(attention) + (precision == .bf16 ? operand(d) : 0) + (recompute ? d : 0)
        let shared = operand(d + config.intermediateSize) + (trains ? backward : 0)
        let activations = tokens * (perLayer * layers + residual + shared)
        let kept = trains ? keptHeadRows(scoredTokens, vocabulary: config.vocabularySize, precision: precision, recompute: recompute) : 0
        let passing = min(scoredTokens - kept, headRows) * min(config.vocabularySize, headColumns)
        let head = scoredTokens * (d * (trains ? 3 : 1) + operand(d)) + operand(kept * config.vocabularySize + (trains ? passing : 0))
        return weights + (activations + head) * float
    }

    /// Floating-point operations of one forward over a batch: 2 per weight and token, attention's products, and the head on scored tokens.
    public static func forwardOperations(config: ModelConfig, batch: SegmentTree) -> Double {
        let d = Double(config.hiddenSize)
        let (attention, keyValue) = (Double(config.heads * config.headDimension), Double(config.keyValueHeads * config.headDimension))
        let linear = d * (attention + 2 * keyValue) + attention * d + 3 * d * Double(config.intermediateSize)
        let pairs = batch.segments.reduce(0.0) { sum, segment in
            let n = Double(segment.range.count)
            return sum + n * Double(segment.firstPosition) + n * (n + 1) / 2
        }
        return Double(config.layers) * (2 * linear * Double(batch.tokenCount) + 4 * attention * pairs)
            + 2 * d * Double(config.vocabularySize) * Double(batch.scoredTokenCount)
    }
}
