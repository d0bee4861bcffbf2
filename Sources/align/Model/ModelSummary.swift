import Checkpoints
import Models
import Serialization
import Tensors

/// What `align inspect` says of a checkpoint, as text and as JSON.
struct ModelSummary {
    let checkpoint: Checkpoint
    let contentHash: String?
    /// That of matrix products in training.
    let precision: Precision

    init(_ checkpoint: Checkpoint, contentHash: String?, precision: Precision) {
        self.checkpoint = checkpoint
        self.contentHash = contentHash
        self.precision = precision
    }

    private var config: ModelConfig { checkpoint.config }

    // MARK: What is there

    /// Tensors in the model's own order, others after them by name.
    var tensors: [TensorInfo] {
        let required = config.requiredTensors().map(\.name)
        let known = Set(required)
        return (required + checkpoint.tensors.keys.filter { !known.contains($0) }.sorted()).compactMap { checkpoint.tensors[$0] }
    }

    /// Tensors and numbers of each stored type, the type with the most numbers first.
    var types: [(dtype: String, tensors: Int, parameters: Int)] {
        var found: [String: (tensors: Int, parameters: Int)] = [:]
        for tensor in checkpoint.tensors.values {
            let before = found[tensor.dtype] ?? (0, 0)
            found[tensor.dtype] = (before.tensors + 1, before.parameters + tensor.count)
        }
        return found.map { ($0.key, $0.value.tensors, $0.value.parameters) }.sorted { ($1.parameters, $0.dtype) < ($0.parameters, $1.dtype) }
    }

    /// `<s>` by role; roles without a token are left out.
    var specialTokens: [(role: String, token: String, id: Int32)] {
        guard let tokenizer = checkpoint.tokenizer else { return [] }
        let roles = [("bos", tokenizer.bosID), ("eos", tokenizer.eosID), ("pad", tokenizer.padID), ("unk", tokenizer.unknownID)]
        return roles.compactMap { role, id in id.flatMap { id in tokenizer.token(id).map { (role, $0, id) } } }
    }

    var templateText: String {
        if let template = checkpoint.chatTemplate { return "present, \(template.source.utf8.count) bytes" }
        return checkpoint.chatTemplateFault.map { "there, but it cannot be used: \($0)" } ?? "absent: the files name none"
    }

    /// Tokens of the one row that memory is estimated for.
    var rowTokens: Int { min(1024, config.maxPositions) }

    func memory(trains: Bool, recompute: Bool) -> Int {
        Transformer.memoryEstimate(config: config, tokens: rowTokens, scoredTokens: rowTokens, trains: trains, precision: precision, recompute: recompute)
    }

    private var rope: (type: String, details: [(String, Double)]) {
        switch config.ropeScaling {
        case .none: ("default", [])
        case let .linear(factor): ("linear", [("factor", factor)])
        case let .dynamic(factor): ("dynamic", [("factor", factor)])
        case let .yarn(yarn): ("yarn", [("factor", yarn.factor), ("original_max_position_embeddings", Double(yarn.original))])
        case let .llama3(factor, low, high, original):
            ("llama3", [("factor", factor), ("low_freq_factor", low), ("high_freq_factor", high), ("original_max_position_embeddings", Double(original))])
        case let .longrope(long): ("longrope", [("original_max_position_embeddings", Double(long.original))])
        case let .divisors(divisors): ("divisors", [("pairs", Double(divisors.count))])
        }
    }

    // MARK: As text

    func text(tensors listsTensors: Bool) -> String {
        var rows: [(String, String)] = [("model", checkpoint.path), ("architecture", "\(config.architecture) (\(config.modelType))")]
        if let adapter = checkpoint.adapter, let base = checkpoint.base {
            rows.append(("adapter", "\(adapter.config.isDoRA ? "DoRA" : "LoRA") of rank \(adapter.config.rank) on \(adapter.modules.count) layers of \(base.path)"))
        }
        rows.append(("parameters", grouped(config.parameterCount)))
        for (number, type) in types.enumerated() {
            rows.append((number == 0 ? "types" : "", "\(type.dtype): \(type.tensors) tensors, \(grouped(type.parameters)) numbers"))
        }
        let files = checkpoint.weightFiles
        for (number, file) in files.prefix(20).enumerated() { rows.append((number == 0 ? "on disk" : "", "\(byteCount(file.bytes)) \(file.path)")) }
        if files.count > 1 { rows.append(("", "\(byteCount(files.reduce(0) { $0 + $1.bytes })) in \(files.count) files")) }
        rows.append(("layers", "\(config.layers), width \(config.hiddenSize), inner width \(config.intermediateSize) (\(config.activation.rawValue))"))
        let window = (config.slidingWindows.first ?? nil).map { ", each seeing \(grouped($0)) tokens back" } ?? ""
        rows.append(("attention", "\(config.heads) heads of \(config.headDimension) over \(config.keyValueHeads) keys and values\(window)"))
        rows.append(("context", "\(grouped(config.maxPositions)) tokens"))
        let details = rope.details.map { ", \($0.0) \(short($0.1))" }.joined()
        rows.append(("rotation", "base \(short(config.ropeTheta)), \(rope.type)\(details)"))
        let ties = config.scoresSequences ? "a score head" : config.tiesEmbeddings ? "the head is the embedding" : "a head of its own"
        rows.append(("vocabulary", "\(grouped(config.vocabularySize)) rows, \(ties)"))
        rows.append(("tokenizer", checkpoint.tokenizer.map { "\(grouped($0.vocabularySize)) tokens" } ?? "absent"))
        let special = specialTokens.map { "\($0.role) \($0.token) (\($0.id))" }.joined(separator: ", ")
        if !special.isEmpty { rows.append(("special", special)) }
        rows.append(("ends with", checkpoint.stopIDs.map { id in checkpoint.tokenizer?.token(id).map { "\($0) (\(id))" } ?? "\(id)" }.joined(separator: ", ")))
        rows.append(("template", templateText))
        if let contentHash { rows.append(("hash", contentHash)) }
        let training = byteCount(memory(trains: true, recompute: false))
        rows.append(("training", "about \(training) of memory with one row of \(grouped(rowTokens)) tokens (\(precision.rawValue), AdamW)"))
        rows.append(("", "about \(byteCount(memory(trains: true, recompute: true))) with --recompute"))
        rows.append(("scoring", "about \(byteCount(memory(trains: false, recompute: false)))"))
        let width = rows.map(\.0.count).max() ?? 0
        var text = rows.map { padded($0.0, width) + "  " + $0.1 + "\n" }.joined()
        if listsTensors {
            let all = tensors
            let widths = (all.map(\.name.count).max() ?? 0, all.map { "\($0.shape)".count }.max() ?? 0)
            text += "\n" + all.map { padded($0.name, widths.0) + "  " + padded("\($0.shape)", widths.1) + "  \($0.dtype)\n" }.joined()
        }
        return text
    }

    private func short(_ value: Double) -> String { Int(exactly: value).map { grouped($0) } ?? "\(value)" }

    // MARK: As JSON

    func json(tensors listsTensors: Bool) -> JSON {
        let files = checkpoint.weightFiles
        let special = specialTokens.map { ($0.role, JSON.object(JSONObject([("token", .string($0.token)), ("id", .integer(Int($0.id)))]))) }
        var object = JSONObject([
            ("path", .string(checkpoint.path)), ("architecture", .string(config.architecture)), ("model_type", .string(config.modelType)),
            ("parameters", .integer(config.parameterCount)),
            ("dtypes", .object(JSONObject(types.map { ($0.dtype, ["tensors": .integer($0.tensors), "parameters": .integer($0.parameters)]) }))),
            ("files", .array(files.map { ["path": .string($0.path), "bytes": .integer($0.bytes)] })),
            ("bytes", .integer(files.reduce(0) { $0 + $1.bytes })), ("layers", .integer(config.layers)), ("hidden_size", .integer(config.hiddenSize)),
            ("intermediate_size", .integer(config.intermediateSize)), ("heads", .integer(config.heads)),
            ("key_value_heads", .integer(config.keyValueHeads)), ("head_dim", .integer(config.headDimension)),
            ("activation", .string(config.activation.rawValue)), ("context_length", .integer(config.maxPositions)),
            ("sliding_window", (config.slidingWindows.first ?? nil).map { .integer($0) } ?? .null),
            ("rope", .object(JSONObject([("theta", .number(config.ropeTheta)), ("type", .string(rope.type))] + rope.details.map { ($0.0, .number($0.1)) }))),
            ("vocabulary_size", .integer(config.vocabularySize)), ("ties_embeddings", .bool(config.tiesEmbeddings)),
            ("scores_sequences", .bool(config.scoresSequences)),
            ("tokenizer_size", checkpoint.tokenizer.map { .integer($0.vocabularySize) } ?? .null), ("special_tokens", .object(JSONObject(special))),
            ("stop_ids", .array(checkpoint.stopIDs.map { .integer(Int($0)) })),
        ])
        object["chat_template"] = [
            "usable": .bool(checkpoint.chatTemplate != nil), "reason": checkpoint.chatTemplate == nil ? .string(templateText) : .null,
            "source": checkpoint.chatTemplate.map { .string($0.source) } ?? .null,
        ]
        object["content_hash"] = contentHash.map { .string($0) } ?? .null
        object["memory"] = [
            "row_tokens": .integer(rowTokens), "precision": .string(precision.rawValue), "training": .integer(memory(trains: true, recompute: false)),
            "training_recompute": .integer(memory(trains: true, recompute: true)), "scoring": .integer(memory(trains: false, recompute: false)),
        ]
        if listsTensors {
            object["tensors"] = .array(tensors.map { ["name": .string($0.name), "shape": .array($0.shape.map { .integer($0) }), "dtype": .string($0.dtype)] })
        }
        return .object(object)
    }
}
