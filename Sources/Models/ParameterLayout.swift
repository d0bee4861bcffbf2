import Checkpoints

/// Where every parameter lies in the flat buffers. Tensors that one product uses lie side by side (q, k, v; gate, up).
struct ParameterLayout {
    /// A matrix in the flat buffer, `[rows, columns]`, possibly several named tensors stacked by rows.
    struct Block {
        var offset: Int
        var rows: Int
        var columns: Int
    }

    struct LayerBlocks {
        var inputNorm, queryKeyValue, output, postNorm, gateUp, down: Block
    }

    private(set) var parameters: [ParameterInfo] = []
    private(set) var count = 0
    private(set) var embedding = Block(offset: 0, rows: 0, columns: 0)
    private(set) var finalNorm = Block(offset: 0, rows: 0, columns: 0)
    /// The language head; the embedding itself where tied, nil for a model that scores sequences.
    private(set) var head: Block?
    /// The score head, and grading heads below it.
    private(set) var score: Block?
    private(set) var layers: [LayerBlocks] = []

    init(_ c: ModelConfig) {
        let d = c.hiddenSize
        let (q, kv) = (c.heads * c.headDimension, c.keyValueHeads * c.headDimension)
        embedding = place([("model.embed_tokens.weight", c.vocabularySize)], columns: d)
        for l in 0..<c.layers {
            let prefix = "model.layers.\(l)."
            layers.append(
                LayerBlocks(
                    inputNorm: place(norm: prefix + "input_layernorm.weight", d),
                    queryKeyValue: place(
                        [(prefix + "self_attn.q_proj.weight", q), (prefix + "self_attn.k_proj.weight", kv), (prefix + "self_attn.v_proj.weight", kv)],
                        columns: d),
                    output: place([(prefix + "self_attn.o_proj.weight", d)], columns: q),
                    postNorm: place(norm: prefix + "post_attention_layernorm.weight", d),
                    gateUp: place([(prefix + "mlp.gate_proj.weight", c.intermediateSize), (prefix + "mlp.up_proj.weight", c.intermediateSize)], columns: d),
                    down: place([(prefix + "mlp.down_proj.weight", d)], columns: c.intermediateSize)))
        }
        finalNorm = place(norm: "model.norm.weight", d)
        if !c.scoresSequences { head = c.tiesEmbeddings ? embedding : place([("lm_head.weight", c.vocabularySize)], columns: d) }
        let heads = c.scoreHeads
        if !heads.isEmpty { score = place(heads.map { ($0.name, $0.outputs) }, columns: d) }
    }

    private mutating func place(norm name: String, _ width: Int) -> Block {
        let block = align()
        parameters.append(ParameterInfo(name: name, shape: [width], offset: block, count: width, decays: false))
        count = block + width
        return Block(offset: block, rows: 1, columns: width)
    }

    private mutating func place(_ tensors: [(name: String, rows: Int)], columns: Int) -> Block {
        let start = align()
        var offset = start
        for (name, rows) in tensors {
            parameters.append(ParameterInfo(name: name, shape: [rows, columns], offset: offset, count: rows * columns, decays: true))
            offset += rows * columns
        }
        count = offset
        return Block(offset: start, rows: tensors.reduce(0) { $0 + $1.rows }, columns: columns)
    }

    /// The next multiple of 16 floats: a cache line.
    private func align() -> Int { (count + 15) / 16 * 16 }
}
