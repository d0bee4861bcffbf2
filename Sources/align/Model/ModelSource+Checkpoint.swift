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
        let frozen = try FrozenBase(checkpoint, settings, compute: compute, precision: precision)
        isAdapted = true
        kernels = compute.path.rawValue  // a frozen model's products are our own, whoever multiplies others
        // A base whose weights were rounded is another one.
        if frozen.rounds { self.precision += " of bf16 weights" }
        load = { try frozen.load(trains: $0) }
        save = { policy, dtype, folder in
            guard let type = WeightType(rawValue: dtype) else { preconditionFailure("\(dtype) is no type of weights") }
            try AdapterFile.save(frozen.config, base: checkpoint, tensors: policy.tensorSources, dtype: type, to: folder)
        }
        restore = { policy, folder in
            guard let model = policy as? Transformer else { preconditionFailure("an adapter is a transformer's") }
            try model.loadAdapter(AdapterFile(folder: folder))
        }
        memoryEstimate = { tokens, scoredTokens in frozen.memoryEstimate(tokens: tokens, scoredTokens: scoredTokens) }
    }

    init(_ checkpoint: Checkpoint, compute: Compute, precision: Precision, recompute: Bool) {
        let config = checkpoint.config
        self.init(
            path: checkpoint.path, tokenizer: checkpoint.tokenizer, template: checkpoint.chatTemplate, vocabularySize: config.vocabularySize,
            maxPositions: config.maxPositions, precision: precision.rawValue, kernels: compute.identity(precision),
            numericsVersion: Transformer.numericsVersion, contentHash: { try checkpoint.contentHash() },
            load: { trains in try Transformer(checkpoint, compute: compute, precision: precision, trains: trains, recompute: recompute) },
            save: { policy, dtype, folder in
                guard let type = WeightType(rawValue: dtype) else { preconditionFailure("\(dtype) is no type of weights") }
                try CheckpointWriter.save(CheckpointWriter.Model(checkpoint), tensors: policy.tensorSources, dtype: type, to: folder)
            },
            restore: { policy, folder in
                let saved = try Checkpoint.open(folder)
                for parameter in policy.parameters {
                    try saved.read(parameter.name, into: UnsafeMutableBufferPointer(start: policy.weights.base + parameter.offset, count: parameter.count))
                }
                policy.weightsChanged()
            },
            memoryEstimate: { tokens, scoredTokens in
                Transformer.memoryEstimate(config: config, tokens: tokens, scoredTokens: scoredTokens, trains: true, precision: precision, recompute: recompute)
            })
        templateVariables = checkpoint.templateVariables
    }
}

/// A model that stays as it is while an adapter trains.
private struct FrozenBase: Sendable {
    let checkpoint: Checkpoint
    let config: AdapterConfig
    let initial: AdapterFile?
    let settings: TrainingSettings
    let compute: Compute
    let precision: Precision

    init(_ checkpoint: Checkpoint, _ settings: TrainingSettings, compute: Compute, precision: Precision) throws {
        (self.checkpoint, self.settings, self.compute, self.precision) = (checkpoint, settings, compute, precision)
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

    /// A reference has no adapter.
    func load(trains: Bool) throws -> Transformer {
        try Transformer(
            frozen: checkpoint, base: settings.adapter.basePrecision, adapter: trains ? config : nil, initial: trains ? initial : nil,
            seed: UInt64(truncatingIfNeeded: settings.seed), compute: compute, precision: precision, trains: trains, recompute: settings.recompute)
    }

    func memoryEstimate(tokens: Int, scoredTokens: Int) -> Int? {
        try? Transformer.memoryEstimate(
            frozen: checkpoint, base: settings.adapter.basePrecision, adapter: config, tokens: tokens, scoredTokens: scoredTokens, precision: precision,
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
