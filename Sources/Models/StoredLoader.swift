import Checkpoints
import Synchronization
import Tensors

/// Reads matrices of a checkpoint into blocks: of the types its file stores them in, or of one asked for.
struct StoredLoader {
    let checkpoint: Checkpoint
    /// The type in memory of a tensor; nil: the file's.
    let type: (_ name: String) -> ElementType?

    /// A matrix whose tensors are read once all memory is there.
    private struct Pending {
        var linear: StoredLinear
        var names: [String]
    }
    private var pending: [Pending] = []

    init(_ checkpoint: Checkpoint, type: @escaping (_ name: String) -> ElementType? = { _ in nil }) {
        (self.checkpoint, self.type) = (checkpoint, type)
    }

    /// The type that a tensor has in memory.
    private func memoryType(_ name: String) -> ElementType? {
        if let type = type(name) { return type }
        if let type = checkpoint.storedType(name) { return type }
        let stored = checkpoint.tensors[name].flatMap { ElementType(rawValue: $0.dtype) }
        // A merged weight is no longer what the file stores.
        return checkpoint.adapter == nil && stored?.ggml != nil && stored?.blockElements == 1 ? stored : .f32
    }

    /// Memory for tensors that one product takes, one under the other; `load` fills it.
    /// - Throws: `CheckpointError` for tensors that are not there, or of a type without a product.
    mutating func linear(_ names: [(name: String, rows: Int)], inputs: Int) throws(CheckpointError) -> StoredLinear {
        var parts: [(type: Int, rows: Int)] = []
        for (name, rows) in names {
            guard checkpoint.tensors[name] != nil, let type = memoryType(name)?.ggml else {
                throw CheckpointError.missingTensor(file: checkpoint.path, tensor: name, shape: [rows, inputs])
            }
            parts.append((type, rows))
        }
        guard let linear = StoredLinear(inputs: inputs, parts: parts) else {
            throw CheckpointError.unsupported(
                file: checkpoint.path, line: 0, key: "type of tensor '\(names[0].name)'", found: memoryType(names[0].name)?.rawValue ?? "none",
                supported: ["rows of whole blocks; give --precision fp32"])
        }
        pending.append(Pending(linear: linear, names: names.map(\.name)))
        return linear
    }

    /// A norm's weights, read at once.
    func norm(_ name: String) throws(CheckpointError) -> Matrix {
        let matrix = Matrix(rows: 1, columns: checkpoint.config.hiddenSize)
        try checkpoint.read(name, into: UnsafeMutableBufferPointer(start: matrix.pointer, count: matrix.columns))
        return matrix
    }

    /// Reads and packs every matrix, a few hundred rows a task; the first failure in the order of the weights is the one reported.
    func load(on compute: Compute) throws {
        struct Task { var linear: StoredLinear, part: Int, name: String, rows: Range<Int> }
        let step = 8 * StoredLinear.panel
        var tasks: [Task] = [], converted: [Task] = []
        for entry in pending {
            for (index, part) in entry.linear.parts.enumerated() {
                let whole = Task(linear: entry.linear, part: index, name: entry.names[index], rows: 0..<part.rows.count)
                guard checkpoint.storedType(whole.name)?.ggml == part.type else {
                    converted.append(whole)
                    continue
                }
                for start in stride(from: 0, to: part.rows.count, by: step) {
                    tasks.append(Task(linear: entry.linear, part: index, name: whole.name, rows: start..<min(start + step, part.rows.count)))
                }
            }
        }
        let failure = Mutex<(index: Int, error: CheckpointError)?>(nil)
        func attempt(_ index: Int, _ body: () throws(CheckpointError) -> Void) {
            do throws(CheckpointError) { try body() } catch { failure.withLock { if index < $0?.index ?? .max { $0 = (index, error) } } }
        }
        compute.parallel(tasks.count) { index in
            let task = tasks[index]
            guard let rowBytes = checkpoint.storedType(task.name).map({ $0.blockBytes * (task.linear.inputs / $0.blockElements) }) else { return }
            withUnsafeTemporaryAllocation(byteCount: rowBytes * task.rows.count, alignment: 64) { bytes in
                attempt(index) { () throws(CheckpointError) in
                    try checkpoint.readStored(task.name, rows: task.rows, into: bytes)
                    task.linear.pack(
                        part: task.part, firstPanel: task.rows.lowerBound / StoredLinear.panel, rows: UnsafeRawPointer(bytes.baseAddress!), count: task.rows.count,
                        rowBytes: rowBytes)
                }
            }
        }
        // One tensor's floats at a time: the blocks they become are what memory is for.
        for (index, task) in converted.enumerated() where failure.withLock({ $0 == nil }) {
            let inputs = task.linear.inputs
            let values = FloatBuffer(count: task.rows.count * inputs)
            attempt(tasks.count + index) { () throws(CheckpointError) in
                try checkpoint.read(task.name, into: UnsafeMutableBufferPointer(start: values.base, count: task.rows.count * inputs))
            }
            if failure.withLock({ $0 == nil }) { task.linear.pack(part: task.part, rounding: values.base, on: compute) }
        }
        if let (_, error) = failure.withLock({ $0 }) { throw error }
    }
}

/// All weights of a model in blocks; norms are floats.
struct StoredMatrices {
    struct Layer {
        var inputNorm, postNorm: Matrix
        var queryKeyValue, output, gateUp, down: StoredLinear
    }

    let layers: [Layer]
    let embedding: StoredLinear
    /// The embedding itself where tied; nil for a model that only scores.
    let head: StoredLinear?
    let finalNorm: Matrix

    init(layers: [Layer], embedding: StoredLinear, head: StoredLinear?, finalNorm: Matrix) {
        (self.layers, self.embedding, self.head, self.finalNorm) = (layers, embedding, head, finalNorm)
    }

    /// - Throws: `CheckpointError` for weights that cannot be read.
    init(_ loader: StoredLoader, config: ModelConfig? = nil, on compute: Compute) throws {
        var loader = loader
        let c = config ?? loader.checkpoint.config
        let (q, kv, d, m) = (c.heads * c.headDimension, c.keyValueHeads * c.headDimension, c.hiddenSize, c.intermediateSize)
        var layers: [Layer] = []
        for l in 0..<c.layers {
            let prefix = "model.layers.\(l)."
            layers.append(Layer(
                inputNorm: try loader.norm(prefix + "input_layernorm.weight"), postNorm: try loader.norm(prefix + "post_attention_layernorm.weight"),
                queryKeyValue: try loader.linear(
                    [(prefix + "self_attn.q_proj.weight", q), (prefix + "self_attn.k_proj.weight", kv), (prefix + "self_attn.v_proj.weight", kv)], inputs: d),
                output: try loader.linear([(prefix + "self_attn.o_proj.weight", d)], inputs: q),
                gateUp: try loader.linear([(prefix + "mlp.gate_proj.weight", m), (prefix + "mlp.up_proj.weight", m)], inputs: d),
                down: try loader.linear([(prefix + "mlp.down_proj.weight", d)], inputs: m)))
        }
        self.layers = layers
        embedding = try loader.linear([("model.embed_tokens.weight", c.vocabularySize)], inputs: d)
        head = c.scoresSequences ? nil : c.tiesEmbeddings ? embedding : try loader.linear([("lm_head.weight", c.vocabularySize)], inputs: d)
        finalNorm = try loader.norm("model.norm.weight")
        try loader.load(on: compute)
    }
}
