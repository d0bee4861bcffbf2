import Checkpoints
import Foundation
import Models
import Tensors
import Training

extension ModelSource {
    /// A checkpoint as stages see it: known at once, its weights read when asked for.
    /// - Throws: `CheckpointError` for an adapter to start from that is none of this model.
    init(_ checkpoint: Checkpoint, compute: Compute, precision: Precision, settings: TrainingSettings) throws {
        self.init(checkpoint, compute: compute, precision: precision, recompute: settings.recompute)
        guard settings.adapter.adapts else { return }
        adapt(try FrozenBase(checkpoint, settings, compute: compute, precision: precision))
        scoring = { head in
            let scored = try ScoredBackbone(checkpoint, head)
            var source = ModelSource(checkpoint, saved: scored.saved, compute: compute, precision: precision, recompute: settings.recompute, fillHead: scored.fill)
            source.adapt(try FrozenBase(checkpoint, scored: scored, settings, compute: compute, precision: precision))
            return source
        }
    }

    /// An adapter of the model trains, and a score head; the model itself stays as it is.
    private mutating func adapt(_ frozen: FrozenBase) {
        isAdapted = true
        kernels = frozen.compute.path.rawValue  // a frozen model's products are our own, whoever multiplies others
        // A base whose weights were rounded is another one.
        if frozen.rounds { precision += " of bf16 weights" }
        load = { try frozen.load(trains: $0) }
        loadFrozen = { try frozen.load(trains: false) }
        save = { policy, dtype, folder in
            guard let type = WeightType(rawValue: dtype) else { preconditionFailure("\(dtype) is no type of weights") }
            try AdapterFile.save(frozen.config, base: frozen.checkpoint, tensors: policy.tensorSources, dtype: type, to: folder)
        }
        restore = { policy, folder in
            guard let model = policy as? Transformer else { preconditionFailure("an adapter is a transformer's") }
            try model.loadAdapter(AdapterFile(folder: folder))
        }
        memoryEstimate = { frozen.memoryEstimate(adapter: $0 == .frozen ? nil : frozen.config, tokens: $1, scoredTokens: $2) }
    }

    init(_ checkpoint: Checkpoint, compute: Compute, precision: Precision, recompute: Bool) {
        self.init(checkpoint, saved: CheckpointWriter.Model(checkpoint), compute: compute, precision: precision, recompute: recompute)
        scoring = { head in
            let scored = try ScoredBackbone(checkpoint, head)
            return ModelSource(checkpoint, saved: scored.saved, compute: compute, precision: precision, recompute: recompute, fillHead: scored.fill)
        }
    }

    /// - Parameters:
    ///   - saved: What is written beside the weights; its config is the model's.
    ///   - fillHead: Writes a score head in place of the checkpoint's.
    private init(
        _ checkpoint: Checkpoint, saved: CheckpointWriter.Model, compute: Compute, precision: Precision, recompute: Bool,
        fillHead: ScoredBackbone.Fill? = nil
    ) {
        let config = saved.config
        let canFreeze = fillHead == nil && Transformer.mayFreeze(compute, precision)  // a new score head comes with floats
        self.init(
            path: checkpoint.path, tokenizer: checkpoint.tokenizer, template: checkpoint.chatTemplate, vocabularySize: config.vocabularySize,
            maxPositions: config.maxPositions, precision: precision.rawValue, kernels: compute.identity(precision),
            numericsVersion: Transformer.numericsVersion, contentHash: { try checkpoint.contentHash() },
            load: { trains in
                try Transformer(
                    checkpoint, config: config, compute: compute, precision: precision, trains: trains, recompute: recompute, fillHead: fillHead)
            },
            save: { policy, dtype, folder in
                guard let type = WeightType(rawValue: dtype) else { preconditionFailure("\(dtype) is no type of weights") }
                try CheckpointWriter.save(saved, tensors: policy.tensorSources, dtype: type, to: folder)
            },
            restore: { policy, folder in
                let saved = try Checkpoint.open(folder)
                for parameter in policy.parameters {
                    try saved.read(parameter.name, into: UnsafeMutableBufferPointer(start: policy.weights.base + parameter.offset, count: parameter.count))
                }
                policy.weightsChanged()
            },
            memoryEstimate: { use, tokens, scoredTokens -> Int? in
                guard use == .frozen, canFreeze else {
                    return Transformer.memoryEstimate(
                        config: config, tokens: tokens, scoredTokens: scoredTokens, trains: use == .training, precision: precision, recompute: recompute)
                }
                return try? Transformer.memoryEstimate(
                    frozen: checkpoint, base: .auto, adapter: nil, tokens: tokens, scoredTokens: scoredTokens, precision: precision, recompute: recompute)
            })
        if canFreeze { loadFrozen = { try Transformer.frozen(checkpoint, compute: compute, precision: precision) } }
        templateVariables = checkpoint.templateVariables
        stopIDs = checkpoint.stopIDs
        predictsTokens = !config.scoresSequences
    }
}

/// A checkpoint's backbone with a score head: of a file, its own, or drawn.
private struct ScoredBackbone: Sendable {
    typealias Fill = @Sendable (ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void
    /// What is written beside the weights; its config is the model's.
    let saved: CheckpointWriter.Model
    /// Writes the head.
    let fill: Fill

    /// - Throws: `CheckpointError` for a head of another size.
    init(_ checkpoint: Checkpoint, _ head: ScoreHead) throws {
        let base = checkpoint.config
        var config = base.scoring(outputs: head.outputs, gradingOutputs: head.gradingOutputs)
        if base.scoresSequences && base.scoreOutputs != head.outputs {
            throw CheckpointError.shapeMismatch(
                file: checkpoint.path, tensor: "score.weight", expected: [head.outputs, base.hiddenSize], found: [base.scoreOutputs, base.hiddenSize])
        }
        let file = try head.file.map { try SafetensorsFile(path: $0) }
        if let file, let path = head.file {
            guard let info = file.info("score.weight") else {
                throw CheckpointError.missingTensor(file: path, tensor: "score.weight", shape: [head.outputs, base.hiddenSize])
            }
            guard info.shape == [head.outputs, base.hiddenSize] else {
                throw CheckpointError.shapeMismatch(file: path, tensor: info.name, expected: [head.outputs, base.hiddenSize], found: info.shape)
            }
        }
        var saved = CheckpointWriter.Model(checkpoint)
        // Readers that look for the last token before the padding must not take a row's own end for padding.
        if let padding = Self.padding(checkpoint, finalTokens: head.finalTokens) {
            config.padID = Int(padding)
            saved.paddingToken = checkpoint.tokenizer?.token(padding)
        }
        saved.config = config
        self.saved = saved
        let deviation = base.raw["initializer_range"]?.double ?? 0.02
        fill = { parameter, values in
            if let file, file.info(parameter.name)?.shape == parameter.shape { return try file.read(parameter.name, into: values) }
            if base.scoreHeads.contains(where: { $0.name == parameter.name && $0.outputs == parameter.shape[0] }) {
                return try checkpoint.read(parameter.name, into: values)
            }
            head.draw(parameter.name, width: base.hiddenSize, initializerRange: deviation, into: values)
        }
    }

    /// A special token for padding where the model has none, or one that ends rows; nil where its own is good or there is no other.
    private static func padding(_ checkpoint: Checkpoint, finalTokens: Set<Int32>) -> Int32? {
        guard checkpoint.config.padID.map({ finalTokens.contains(Int32($0)) }) ?? true, let tokenizer = checkpoint.tokenizer else { return nil }
        let named = [tokenizer.padID, tokenizer.unknownID] + ["<pad>", "<|pad|>", "[PAD]", "<|endoftext|>"].map { tokenizer.id(of: $0) }
        let special = (0..<Int32(min(tokenizer.vocabularySize, checkpoint.config.vocabularySize))).lazy.filter { tokenizer.isSpecial($0) }
        return (named.compactMap { $0 } + special).first { !finalTokens.contains($0) && Int($0) < checkpoint.config.vocabularySize }
    }
}

/// A model that stays as it is while an adapter trains.
private struct FrozenBase: Sendable {
    let checkpoint: Checkpoint
    let config: AdapterConfig
    /// Set where a score head trains with the adapter.
    let scored: ScoredBackbone?
    let initial: AdapterFile?
    let settings: TrainingSettings
    let compute: Compute
    let precision: Precision

    init(_ checkpoint: Checkpoint, scored: ScoredBackbone? = nil, _ settings: TrainingSettings, compute: Compute, precision: Precision) throws {
        (self.checkpoint, self.scored, self.settings, self.compute, self.precision) = (checkpoint, scored, settings, compute, precision)
        initial = try settings.adapter.initial.map { try AdapterFile(folder: $0) }
        if let initial {
            _ = try Checkpoint(base: checkpoint, adapter: initial)  // do they fit?
            var config = try initial.config(for: checkpoint.config)
            config.dropout = settings.adapter.dropout
            self.config = config
        } else {
            config = settings.adapter.config
        }
    }

    var rounds: Bool { settings.adapter.basePrecision == .bf16 && precision == .fp32 }

    /// Without training: the model as it is, an adapter of its own beside it with the bits it was trained with, and no new one.
    func load(trains: Bool) throws -> Transformer {
        if !trains, let below = checkpoint.base, let own = checkpoint.adapter {
            return try Transformer(
                frozen: below, config: checkpoint.config, base: settings.adapter.basePrecision, adapter: own.config(for: below.config), initial: own, seed: 0,
                compute: compute, precision: precision, trains: false, recompute: settings.recompute)
        }
        return try make(trains: trains)
    }

    private func make(trains: Bool) throws -> Transformer {
        let adapter: AdapterConfig? = trains ? config : nil
        let start: AdapterFile? = trains ? initial : nil
        let bringsHead = initial?.replaced["score.weight"] != nil
        let fillHead: ScoredBackbone.Fill? = bringsHead ? nil : scored?.fill
        return try Transformer(
            frozen: checkpoint, config: scored?.saved.config, base: settings.adapter.basePrecision, adapter: adapter, initial: start,
            seed: UInt64(truncatingIfNeeded: settings.seed), compute: compute, precision: precision, trains: trains, recompute: settings.recompute,
            fillHead: fillHead)
    }

    func memoryEstimate(adapter: AdapterConfig?, tokens: Int, scoredTokens: Int) -> Int? {
        try? Transformer.memoryEstimate(
            frozen: checkpoint, base: settings.adapter.basePrecision, adapter: adapter, tokens: tokens, scoredTokens: scoredTokens, precision: precision,
            recompute: settings.recompute)
    }
}

extension TrainablePolicy {
    /// Its parameters for `CheckpointWriter`, values read when they are written.
    var tensorSources: [TensorSource] {
        parameters.map { parameter in
            TensorSource(name: parameter.name, shape: parameter.shape) { [weights] range, destination throws(CheckpointError) in
                destination.baseAddress?.update(from: weights.base + parameter.offset + range.lowerBound, count: range.count)
            }
        }
    }
}
