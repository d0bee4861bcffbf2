import Checkpoints
import Foundation
import Models
import Tensors
import Training

extension ModelSource {
    /// A checkpoint as stages see it: known at once, its weights read when asked for.
    init(_ checkpoint: Checkpoint, compute: Compute, precision: Precision, recompute: Bool) {
        self.init(checkpoint, saved: CheckpointWriter.Model(checkpoint), compute: compute, precision: precision, recompute: recompute)
        scoring = { try ModelSource(scoring: checkpoint, $0, compute: compute, precision: precision, recompute: recompute) }
    }

    /// - Parameters:
    ///   - saved: What is written beside the weights; its config is the model's.
    ///   - fillHead: Writes a score head in place of the checkpoint's.
    private init(
        _ checkpoint: Checkpoint, saved: CheckpointWriter.Model, compute: Compute, precision: Precision, recompute: Bool,
        fillHead: (@Sendable (ParameterInfo, UnsafeMutableBufferPointer<Float>) throws -> Void)? = nil
    ) {
        let config = saved.config
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
            memoryEstimate: { tokens, scoredTokens in
                Transformer.memoryEstimate(config: config, tokens: tokens, scoredTokens: scoredTokens, trains: true, precision: precision, recompute: recompute)
            })
        templateVariables = checkpoint.templateVariables
    }

    /// The checkpoint's backbone with a score head: of a file, its own, or drawn.
    /// - Throws: `CheckpointError` for a head of another size.
    private init(scoring checkpoint: Checkpoint, _ head: ScoreHead, compute: Compute, precision: Precision, recompute: Bool) throws {
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
        let deviation = base.raw["initializer_range"]?.double ?? 0.02
        self.init(checkpoint, saved: saved, compute: compute, precision: precision, recompute: recompute) { parameter, values in
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
