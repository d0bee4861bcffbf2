import Glibc
import Serialization
import Tokenizers

/// Checkpoints as GGUF files of architecture `llama`.
extension GGUFLlama {
    /// The name in the file of a tensor in the Hugging Face layout; `nil` for one that has none.
    static func storedName(_ name: String) -> String? {
        if let outer = outer.first(where: { $0.value == name }) { return outer.key }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 5, parts[0] == "model", parts[1] == "layers", let layer = Int(parts[2]), let ending = parts.last else { return nil }
        let middle = parts[3..<parts.count - 1].joined(separator: ".")
        return inner.first { $0.value == middle }.map { "blk.\(layer).\($0.key).\(ending)" }
    }

    /// Heads whose rows the file interleaves; nil for tensors in plain order.
    static func interleavedHeads(_ name: String, _ config: ModelConfig) -> Int? {
        guard name.hasPrefix("model.layers.") else { return nil }
        if name.contains(".self_attn.q_proj") { return config.heads }
        return name.contains(".self_attn.k_proj") ? config.keyValueHeads : nil
    }

    /// Rows of q and k in the order of the file: row `2i + j` of a head is the Hugging Face layout's `j·d/2 + i`.
    static func interleaved(_ values: [Float], rows: Int, heads: Int) -> [Float] {
        let (columns, d) = (values.count / rows, rows / heads)
        var result = [Float](repeating: 0, count: values.count)
        for row in 0..<rows {
            let local = row % d
            let source = row - local + local % 2 * (d / 2) + local / 2
            result.replaceSubrange(row * columns..<(row + 1) * columns, with: values[source * columns..<(source + 1) * columns])
        }
        return result
    }

    /// The opposite of `interleaved`.
    static func plain(_ values: [Float], rows: Int, heads: Int) -> [Float] {
        let (columns, d) = (values.count / rows, rows / heads)
        var result = [Float](repeating: 0, count: values.count)
        for row in 0..<rows {
            let local = row % d
            let target = row - local + local % 2 * (d / 2) + local / 2
            result.replaceSubrange(target * columns..<(target + 1) * columns, with: values[row * columns..<(row + 1) * columns])
        }
        return result
    }
}

extension Checkpoint {
    /// The types that weights can be written in.
    public static let ggufTypes: [ElementType] = [.f32, .f16, .bf16, .q8_0, .q4_0, .q4_1, .q5_0, .q5_1]

    /// llama.cpp's number of a file whose matrices are of a type.
    private static let fileTypes: [ElementType: UInt64] = [.f32: 0, .f16: 1, .q4_0: 2, .q4_1: 3, .q8_0: 7, .q5_0: 8, .q5_1: 9, .bf16: 32]

    /// Writes the model, as `read` gives it, with its tokenizer as a GGUF file.
    ///
    /// Norms are F32. Under blocks of four or five bits the embedding and the head are Q8_0, and rows that are not whole blocks F16.
    /// - Throws: `.unsupported` for what GGUF's `llama` cannot say (a score head, a rotary scaling, a tokenizer); `.alreadyExists`, `.system`.
    public func saveGGUF(_ type: ElementType, to target: String) throws(CheckpointError) {
        guard !config.scoresSequences else {
            throw .unsupported(file: path, line: 0, key: "architectures", found: config.architecture, supported: ["models that predict tokens; GGUF's llama has no score head"])
        }
        var tensors: [GGUFTensor] = []
        for (name, shape) in config.requiredTensors() {
            guard let stored = GGUFLlama.storedName(name) else {
                throw .unsupported(file: path, line: 0, key: "tensor", found: name, supported: ["the tensors of a dense llama"])
            }
            tensors.append(GGUFTensor(name: stored, shape: shape, type: Self.written(type, name: name, shape: shape), fill: rows(of: name, shape: shape)))
        }
        if let divisors = try ropeDivisors() {
            tensors.append(GGUFTensor(name: "rope_freqs.weight", shape: [divisors.count], type: .f32) { (range, buffer) throws(CheckpointError) in
                _ = buffer.update(fromContentsOf: divisors[range])
            })
        }
        try GGUFWriter.write(target, metadata: try metadata(type), tensors: tensors)
    }

    private static func written(_ type: ElementType, name: String, shape: [Int]) -> ElementType {
        if shape.count == 1 { return .f32 }
        if type.blockElements > 1, shape[1] % type.blockElements != 0 { return .f16 }
        let isTable = name.hasPrefix("model.embed_tokens") || name.hasPrefix("lm_head")
        return isTable && type.blockElements > 1 ? .q8_0 : type
    }

    /// A tensor's values piece by piece, in the file's order of rows; the tensor is in memory while they are asked for.
    private func rows(of name: String, shape: [Int]) -> (Range<Int>, UnsafeMutableBufferPointer<Float>) throws(CheckpointError) -> Void {
        var values: [Float] = []
        return { [self] (range, buffer) throws(CheckpointError) in
            if range.lowerBound == 0 {
                values = try floats(name)
                if let heads = GGUFLlama.interleavedHeads(name, config) { values = GGUFLlama.interleaved(values, rows: shape[0], heads: heads) }
            }
            _ = buffer.update(fromContentsOf: values[range])
            if range.upperBound == values.count { values = [] }
        }
    }

    /// A tensor's values.
    func floats(_ name: String) throws(CheckpointError) -> [Float] {
        guard let info = tensors[name] else { throw .missingTensor(file: path, tensor: name, shape: []) }
        var values = [Float](repeating: 0, count: info.count)
        var fault: CheckpointError?
        values.withUnsafeMutableBufferPointer { buffer in
            do throws(CheckpointError) { try read(name, into: buffer) } catch { fault = error }
        }
        if let fault { throw fault }
        return values
    }

    /// All tensors that the config implies, for `CheckpointWriter`; each is in memory while it is written.
    public var tensorSources: [TensorSource] {
        config.requiredTensors().map { name, shape in
            var values: [Float] = []
            return TensorSource(name: name, shape: shape) { [self] (range, buffer) throws(CheckpointError) in
                if range.lowerBound == 0 { values = try floats(name) }
                _ = buffer.update(fromContentsOf: values[range])
                if range.upperBound == values.count { values = [] }
            }
        }
    }

    // MARK: Metadata

    private func metadata(_ type: ElementType) throws(CheckpointError) -> [(String, GGUFValue)] {
        func count(_ value: Int) -> GGUFValue { .unsigned(UInt64(value)) }
        var metadata: [(String, GGUFValue)] = [
            ("general.architecture", .string("llama")), ("general.type", .string("model")), ("general.name", .string(Files.name(of: path))),
            ("general.file_type", .unsigned(Self.fileTypes[type] ?? 0)), ("general.quantization_version", .unsigned(2)),
            ("llama.vocab_size", count(config.vocabularySize)), ("llama.context_length", count(config.maxPositions)),
            ("llama.embedding_length", count(config.hiddenSize)), ("llama.block_count", count(config.layers)),
            ("llama.feed_forward_length", count(config.intermediateSize)), ("llama.rope.dimension_count", count(config.headDimension)),
            ("llama.attention.head_count", count(config.heads)), ("llama.attention.head_count_kv", count(config.keyValueHeads)),
            ("llama.attention.key_length", count(config.headDimension)), ("llama.attention.value_length", count(config.headDimension)),
            ("llama.attention.layer_norm_rms_epsilon", .float(config.normEpsilon)), ("llama.rope.freq_base", .float(config.ropeTheta)),
        ]
        if let window = config.slidingWindows.first ?? nil { metadata.append(("llama.attention.sliding_window", count(window))) }
        metadata += try scaling()
        return metadata + (try vocabulary())
    }

    private func scaling() throws(CheckpointError) -> [(String, GGUFValue)] {
        let prefix = "llama.rope.scaling."
        switch config.ropeScaling {
        case .none, .llama3, .divisors: return []
        case let .linear(factor): return [(prefix + "type", .string("linear")), (prefix + "factor", .float(factor))]
        case let .yarn(yarn):
            return [
                (prefix + "type", .string("yarn")), (prefix + "factor", .float(yarn.factor)),
                (prefix + "original_context_length", .unsigned(UInt64(yarn.original))), (prefix + "yarn_beta_fast", .float(yarn.betaFast)),
                (prefix + "yarn_beta_slow", .float(yarn.betaSlow)),
            ]
        case .dynamic, .longrope:
            throw .unsupported(file: path, line: 0, key: "rope_scaling", found: "dynamic or longrope", supported: ["linear", "yarn", "llama3"])
        }
    }

    /// `rope_freqs.weight`: by how much each pair's frequency is divided (Llama 3.1).
    private func ropeDivisors() throws(CheckpointError) -> [Float]? {
        switch config.ropeScaling {
        case let .divisors(divisors): return divisors
        case let .llama3(factor, low, high, original):
            let pairs = config.headDimension / 2
            return (0..<pairs).map { i in
                let turns = Double(original) * pow(config.ropeTheta, -Double(i) / Double(pairs)) / (2 * .pi)
                if turns > high { return 1 }
                if turns < low { return Float(factor) }
                let share = (turns - low) / (high - low)
                return Float(1 / ((1 - share) / factor + share))
            }
        default: return nil
        }
    }

    /// `tokenizer.*`: a GGUF file's own, word for word, else what says the same.
    private func vocabulary() throws(CheckpointError) -> [(String, GGUFValue)] {
        if case let .gguf(file, _) = weights {
            return file.metadata.keys.filter { $0.hasPrefix("tokenizer.") }.sorted().compactMap { key in file.metadata[key].map { (key, $0) } }
        }
        guard let tokenizer else { return [] }
        let vocabulary: GGUFVocabulary
        do throws(TokenizerError) { vocabulary = try tokenizer.ggufVocabulary(file: path) } catch { throw .tokenizer(file: path, reason: "\(error)") }
        let prefix = "tokenizer.ggml."
        var tokens = vocabulary.tokens, types = vocabulary.types
        while tokens.count < config.vocabularySize {  // rows that the tokenizer has no token for
            tokens.append("[PAD\(tokens.count)]")
            types.append(5)
        }
        var metadata: [(String, GGUFValue)] = [
            (prefix + "model", .string(vocabulary.model)), (prefix + "pre", .string(vocabulary.pre)), (prefix + "tokens", .strings(tokens)),
            (prefix + "token_type", .integers(types.map { Int64($0) })), (prefix + "merges", .strings(vocabulary.merges)),
        ]
        let ids = [("bos", config.bosID ?? vocabulary.bos), ("eos", vocabulary.eos ?? config.eosIDs.first), ("padding", config.padID ?? vocabulary.padding)]
        for (name, id) in ids { if let id { metadata.append(("\(prefix)\(name)_token_id", .unsigned(UInt64(id)))) } }
        metadata.append((prefix + "add_bos_token", .bool(vocabulary.addBOS ?? false)))
        metadata.append((prefix + "add_eos_token", .bool(vocabulary.addEOS ?? false)))
        if let template = chatTemplate { metadata.append(("tokenizer.chat_template", .string(template.source))) }
        return metadata
    }
}
